"""The receipt on the Clarius exam (C5): it comes once, and whatever becomes of it the exam is delivered."""

import pytest

from app.delivery.actions import retry_exam
from app.settings import Settings
from app.states import ExamState
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
        await retry_exam(scene.bridge.resources, exam.request_uuid, actor="test")
        exam = await reported(scene, submitted, "sent")
        assert exam.error_code is None
        assert scene.effects("clarius.report") == 1
