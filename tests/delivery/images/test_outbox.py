"""One outbox per study: whoever asks and however often, each image is sent once, and none that is new is lost."""

from uuid import UUID

import pytest

from app.config.settings import Settings
from app.delivery.actions import CANCEL, RETRY, act_on
from app.states import ExamState, Step
from app.store.audit import By
from app.store.exam_staging import forget_staging
from app.store.exams import Exam
from app.store.instances import InstanceState
from sandbox import faults
from sandbox.clarius.captures import keep_capture
from sandbox.media import make_capture
from sandbox.submitting import Submitted
from tests.delivery.images.scene import Scene, image_scene
from tests.support.wait import until

COMPLETE = "*/upload/complete"


async def waits_at_send(scene: Scene, request_uuid: str) -> Exam:
    async def waits() -> Exam | None:
        exam = await scene.bridge.exam(request_uuid)
        there = (exam.step, exam.state) == (Step.SEND, ExamState.WAITING)
        return exam if there and exam.lease_until is None else None

    return await until(waits, timeout=60)


def sent(scene: Scene) -> list[int]:
    """How many objects each completed upload brought."""
    return [one.detail["instances"] for one in scene.sandbox.journal.effects_of("bounce.upload.complete")]


@pytest.mark.parametrize("ended", [ExamState.FAILED, ExamState.CANCELLED])
async def test_a_retry_sends_nothing_that_a_later_submission_has_delivered(
    settings: Settings, ended: ExamState
) -> None:
    async with image_scene(settings) as scene:
        answer = faults.answer(422 if ended == ExamState.FAILED else 503, {"message": "no"})
        scene.sandbox.faults.arm(answer, path="*/upload/init", times=None)
        first = await scene.submit("jpeg", "png")
        if ended == ExamState.FAILED:
            exam = await scene.reaches(first, ExamState.FAILED, timeout=60)
        else:
            exam = await waits_at_send(scene, first.request_uuid)
            await act_on(scene.bridge.resources, exam.request_uuid, CANCEL, by=By("test"))
        scene.sandbox.faults.clear()
        second = await scene.submit(again=first.request_uuid)
        assert (await scene.reaches(second, ExamState.DELIVERED, timeout=60)).sent_count == 2
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        again = await scene.reaches(first, ExamState.DELIVERED, timeout=60)
        assert sent(scene) == [2]
        assert again.sent_count == 0
        assert [one.already_delivered for one in await scene.captures(first)] == [True, True]


async def test_what_was_sent_but_not_confirmed_is_not_sent_again(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(
            faults.answer(422, {"message": "no"}), method="GET", path="*/patients/*/studies/*"
        )
        first = await scene.submit("jpeg", "png")
        exam = await scene.reaches(first, ExamState.FAILED, timeout=60)
        assert exam.step == Step.CONFIRM
        second = await scene.submit(again=first.request_uuid)
        await scene.reaches(second, ExamState.DELIVERED, timeout=60)
        assert sent(scene) == [2]


async def test_a_capture_that_came_after_the_archive_was_sent_arrives_too(settings: Settings) -> None:
    """All bytes are sent, `complete` is not answered, the host goes, and by then the exam has one capture more."""
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.answer(503), path=COMPLETE, times=None)
        submitted = await scene.submit("jpeg", "png")
        exam = await waits_at_send(scene, submitted.request_uuid)
        more = keep_capture(scene.sandbox, make_capture("jpeg", seed=4711))
        scene.sandbox.clarius.exams[submitted.request_uuid].capture_ids.append(more.id)
        scene.sandbox.clarius.expire_links()
        await scene.bridge.resources.staging.discard(exam.id)
        await until(lambda: host_goes(scene, exam.id))
        await read_again(scene, submitted, captures=3)
        scene.sandbox.faults.clear()
        exam = await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert len(scene.received) == exam.sent_count == 3
        # the first upload brought what its archive held, and the new one went in another
        assert sent(scene) == [2, 1]
        assert scene.sandbox.journal.bytes_sent_twice() == []
        made = await scene.instances(submitted)
        assert {one.state for one in made} == {InstanceState.STORED}
        assert len({one.upload_id for one in made}) == 2


async def host_goes(scene: Scene, exam_id: UUID) -> bool:
    """The host is taken to be gone; False while the exam is just being tried, which leaves it as it is."""
    async with scene.bridge.resources.sessions.begin() as session:
        await forget_staging(session, scene.bridge.resources.host)
        return (await session.get_one(Exam, exam_id)).staging_host is None


async def read_again(scene: Scene, submitted: Submitted, *, captures: int) -> None:
    async def known() -> bool:
        there = [one for one in await scene.captures(submitted) if one.bytes is not None]
        return len(there) == captures

    await until(known, timeout=60)


async def test_a_submission_cancelled_while_complete_is_asked_leaves_its_images_to_the_next(
    settings: Settings,
) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), path=COMPLETE)
        first = await scene.submit("jpeg", "png")
        await until(lambda: held.waiting == 1, timeout=60)
        exam = await scene.bridge.exam(first.request_uuid)
        await act_on(scene.bridge.resources, exam.request_uuid, CANCEL, by=By("test"))
        second = await scene.submit(again=first.request_uuid)
        await scene.reaches(second, ExamState.DELIVERED, timeout=60)
        held.release()
        assert sent(scene) == [2]
        assert scene.effects("bounce.upload.cancel") == 1
        assert (await scene.bridge.exam(first.request_uuid)).state == ExamState.CANCELLED


@pytest.mark.row(29)
async def test_an_archive_that_was_accepted_without_an_answer_is_not_sent_again(settings: Settings) -> None:
    """The answer to `complete` is lost and Aurabox has forgotten the upload: the study's own number is looked at."""
    async with image_scene(settings, given={"aurabox_image_count_field": "images_held"}) as scene:
        scene.sandbox.aurabox.image_count_field = "images_held"
        scene.sandbox.faults.arm(faults.cut_after(), path=COMPLETE)
        forgotten = scene.sandbox.faults.arm(faults.answer(404), path=COMPLETE, nth=2, times=None)
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert forgotten.hits == 1
        assert scene.effects("bounce.upload.init") == 1
        assert (exam.sent_count, exam.seen_count) == (2, 2)


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_where_nothing_can_be_counted_a_lost_answer_is_no_failure(
    settings: Settings, status: int
) -> None:
    """Sent once more under the same UIDs, so that Aurabox has each image once, whatever became of the first."""
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.cut_after(), path=COMPLETE)
        refused = scene.sandbox.faults.arm(faults.answer(status, {"message": "no"}), path=COMPLETE, nth=2)
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert refused.hits == 1
        assert len(scene.received) == exam.sent_count == 1
        assert scene.effects("aurabox.instance.create") == 1


async def test_many_conversions_at_once_are_all_counted(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted, _ = await scene.delivered(*(f"jpeg#{seed}" for seed in range(1, 9)))
        assert "8 images made of 8 captures" in await scene.told(submitted)


async def test_an_organisation_that_changes_its_transport_midway_sends_by_the_new_one(
    settings: Settings,
) -> None:
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.answer(503), path="*/upload/start", times=None)
        submitted = await scene.submit("jpeg", "png")
        await waits_at_send(scene, submitted.request_uuid)
        await scene.change(
            images="dicomweb",
            dicomweb_url=scene.sandbox.dicomweb_url,
            dicomweb_token=scene.sandbox.team().key,
        )
        exam = await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert (exam.sent_count, exam.seen_count) == (2, 2)
        assert scene.effects("bounce.upload.error") == 1
        assert scene.effects("bounce.upload.complete") == 0
