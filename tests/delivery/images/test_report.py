"""The receipt on the Clarius exam (C5): it comes once, and whatever becomes of it the exam is delivered."""

import re

import pytest

from app.config.settings import Settings
from app.delivery.actions import RELEASE, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from app.store.exams import Exam
from sandbox import faults
from sandbox.faults import Fault
from sandbox.submitting import Submitted
from tests.delivery.images.scene import Scene, image_scene
from tests.support.wait import until

REPORTS = {"server": "clarius", "method": "POST", "path": "*/reports/"}


async def reported(scene: Scene, submitted: Submitted, *states: str) -> Exam:
    """Wait until the receipt rests."""

    async def rests() -> Exam | None:
        exam = await scene.bridge.exam(submitted.request_uuid)
        return exam if exam.report_state in states and exam.due_at is None else None

    return await until(rests)


async def test_it_comes_once_and_says_what_was_delivered(settings: Settings) -> None:
    async with image_scene(settings, report=True) as scene:
        submitted, _ = await scene.delivered("jpeg", "png", "mp4")
        await reported(scene, submitted, "sent")
        (effect,) = scene.sandbox.journal.effects_of("clarius.report")
        assert submitted.request_uuid in str(effect)
        assert await scene.reaches(submitted, ExamState.DELIVERED)


@pytest.mark.parametrize("fault", [faults.answer(503), faults.too_many(1), faults.cut_before()])
async def test_trouble_without_an_effect_is_got_over(settings: Settings, fault: Fault) -> None:
    async with image_scene(settings, report=True) as scene:
        rule = scene.sandbox.faults.arm(fault, **REPORTS)
        submitted, _ = await scene.delivered("jpeg")
        exam = await reported(scene, submitted, "sent", "unclear")
        assert rule.hits == 1
        # a connection that broke before the answer may have carried it: nobody can tell
        assert exam.report_state == ("unclear" if fault.kind == "cut_before" else "sent")
        assert scene.effects("clarius.report") == (0 if fault.kind == "cut_before" else 1)
        assert exam.state == ExamState.DELIVERED


async def test_a_lost_answer_is_not_sent_again(settings: Settings) -> None:
    async with image_scene(settings, report=True) as scene:
        scene.sandbox.faults.arm(faults.cut_after(), **REPORTS)
        submitted, _ = await scene.delivered("jpeg")
        exam = await reported(scene, submitted, "unclear")
        assert exam.error_code == "receipt_unclear"
        assert exam.state == ExamState.DELIVERED
        assert scene.effects("clarius.report") == 1


async def test_a_refusal_is_shown_and_may_be_retried(settings: Settings) -> None:
    async with image_scene(settings, report=True) as scene:
        scene.sandbox.faults.arm(faults.answer(400, {"file": ["Not wanted."]}), **REPORTS)
        submitted, _ = await scene.delivered("jpeg")
        exam = await reported(scene, submitted, "failed")
        assert exam.state == ExamState.DELIVERED
        assert exam.error_message
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        exam = await reported(scene, submitted, "sent")
        assert exam.error_code is None
        assert scene.effects("clarius.report") == 1


async def receipt_of(scene: Scene, submitted: Submitted) -> tuple[str, str]:
    """The name under which Clarius shows it, and what it says."""
    await reported(scene, submitted, "sent")
    (report,) = scene.sandbox.clarius.reports
    lines = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", report.content)
    return report.name, " ".join(line.decode("latin-1") for line in lines)


async def test_without_images_it_says_filed_and_claims_none(settings: Settings) -> None:
    async with image_scene(settings, images="none", report=True) as scene:
        submitted, _ = await scene.delivered("jpeg", "png", "mp4")
        name, text = await receipt_of(scene, submitted)
        assert name == "Filed in Aurabox"
        assert "Its images are not sent there." in text
        for claim in ("received", "read back", "Still images", "Clips", "accepted", "counted"):
            assert claim not in text
        assert scene.received == []


async def test_it_says_how_many_of_how_many_and_why_the_others_are_missing(settings: Settings) -> None:
    async with image_scene(settings, report=True) as scene:
        submitted = await scene.submit("jpeg", "jpeg-truncated", "png", "empty", "html")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        await act_on(scene.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        _, text = await receipt_of(scene, submitted)
        assert "2 of 5" in text
        for capture in (2, 4, 5):
            assert f"capture {capture}: " in text


@pytest.mark.parametrize(
    ("transport", "word", "never"),
    [("uploader", "accepted", "counted there"), ("dicomweb", "counted there", "accepted")],
)
async def test_only_what_was_counted_is_called_counted(
    settings: Settings, transport: str, word: str, never: str
) -> None:
    async with image_scene(settings, transport, report=True) as scene:
        submitted, _ = await scene.delivered("jpeg", "mp4")
        name, text = await receipt_of(scene, submitted)
        assert name == "Delivered to Aurabox"
        assert word in text
        assert never not in text
        assert "read back" not in text
