"""What lies in staging, and for how long; a host that is gone takes nothing with it that can't be had again."""

import pytest
from sqlalchemy import update

from app.config.settings import Settings
from app.delivery.actions import CANCEL, RETRY, act_on
from app.states import ExamState, Step
from app.store.audit import By
from app.store.exams import Exam
from app.upkeep.sweep import sweep
from sandbox import faults
from sandbox.media import make_capture
from tests.delivery.images.scene import image_scene
from tests.support.wait import until


async def test_captures_stay_for_their_time_and_what_was_made_goes_at_once(settings: Settings) -> None:
    async with image_scene(settings, given={"capture_retention_hours": 1}) as scene:
        submitted, exam = await scene.delivered("jpeg", "png")
        names = {f"capture-{one.id}" for one in await scene.captures(submitted)}
        folder = scene.bridge.resources.staging.folder(exam.id)
        await until(lambda: {one.name for one in folder.iterdir()} == names)


@pytest.mark.parametrize("step", [Step.DOWNLOAD, Step.CONVERT, Step.SEND])
async def test_a_host_that_is_gone_sends_its_exams_back_to_download(settings: Settings, step: Step) -> None:
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.answer(422), server="aurabox", path="*/upload/init")
        submitted = await scene.submit("jpeg", "mp4")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        await scene.bridge.resources.staging.discard(exam.id)
        async with scene.bridge.resources.sessions.begin() as session:
            await session.execute(
                update(Exam).where(Exam.id == exam.id).values(staging_host="gone", step=step)
            )
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await sweep(scene.bridge.resources)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.sent_count == 2
        assert len(scene.received) == 2
        await scene.staging_is_empty()


async def test_an_older_file_on_a_host_that_comes_back_is_not_taken_for_the_capture(
    settings: Settings,
) -> None:
    """The exam was here once, went on elsewhere, and comes back: what lies here is read again, not believed."""
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.answer(422), server="aurabox", path="*/upload/init")
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        resources = scene.bridge.resources
        (staged,) = [path for path in resources.staging.folder(exam.id).iterdir() if path.is_file()]
        other = make_capture("png", seed=99)
        staged.write_bytes(other.content)
        await resources.staging.discard_made(exam.id)
        async with resources.sessions.begin() as session:
            await session.execute(
                update(Exam).where(Exam.id == exam.id).values(staging_host="gone", step=Step.CONVERT)
            )
        await act_on(resources, exam.request_uuid, RETRY, by=By("test"))
        await sweep(resources)
        await scene.reaches(submitted, ExamState.DELIVERED)
        (capture,) = await scene.captures(submitted)
        assert (capture.kind, len(scene.received)) == ("jpeg", 1)
        served = scene.sandbox.clarius.captures[
            scene.sandbox.clarius.exams[submitted.request_uuid].capture_ids[0]
        ]
        assert capture.sha256 == served.sha256
        assert scene.received[0].transfer_syntax_uid == "1.2.840.10008.1.2.4.50", (
            "the JPEG, not the older file"
        )


async def test_a_cancelled_exam_leaves_nothing_behind(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted = await scene.submit("jpeg", "empty")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert scene.bridge.resources.staging.held() == [exam.id]
        await act_on(scene.bridge.resources, exam.request_uuid, CANCEL, by=By("test"))
        await scene.staging_is_empty()
