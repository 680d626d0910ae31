"""What lies in staging, and for how long; a host that is gone takes nothing with it that can't be had again."""

import pytest
from sqlalchemy import update

from app.delivery.actions import cancel_exam, retry_exam
from app.inbox.sweep import sweep
from app.settings import Settings
from app.states import ExamState, Step
from app.store.exams import Exam
from sandbox import faults
from tests.delivery.images.scene import image_scene
from tests.support.wait import until


async def test_captures_stay_for_their_time_and_what_was_made_goes_at_once(settings: Settings) -> None:
    async with image_scene(settings, given={"capture_retention_hours": 1}) as scene:
        _, exam = await scene.delivered("jpeg", "png")
        folder = scene.bridge.resources.staging.folder(exam.id)
        await until(lambda: sorted(one.name for one in folder.iterdir()) == ["capture-0000", "capture-0001"])


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
        await retry_exam(scene.bridge.resources, exam.request_uuid, actor="test")
        await sweep(scene.bridge.resources)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.sent_count == 2
        assert len(scene.received) == 2
        await scene.staging_is_empty()


async def test_a_cancelled_exam_leaves_nothing_behind(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted = await scene.submit("jpeg", "empty")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert scene.bridge.resources.staging.held() == [exam.id]
        await cancel_exam(scene.bridge.resources, exam.request_uuid, actor="test")
        await scene.staging_is_empty()
