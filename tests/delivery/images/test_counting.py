"""`delivered` means that it shows now: the whole study is read back, and what is counted is said, no more."""

import pytest

from app.config.settings import Settings
from app.delivery.actions import RELEASE, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from app.store.instances import InstanceState, study_gone
from sandbox import faults
from tests.delivery.images.scene import Scene, image_scene
from tests.support.wait import until

COUNTED = {"aurabox_image_count_field": "images_held"}


def counting(scene: Scene) -> None:
    scene.sandbox.aurabox.image_count_field = "images_held"


@pytest.mark.row(37)
@pytest.mark.parametrize("transport", ["dicomweb", "uploader"])
async def test_images_deleted_in_aurabox_are_sent_again_by_the_next_submission(
    settings: Settings, transport: str
) -> None:
    async with image_scene(settings, transport, given=COUNTED) as scene:
        counting(scene)
        first, exam = await scene.delivered("jpeg", "png")
        assert (exam.sent_count, exam.seen_count) == (2, 2)
        scene.sandbox.team().instances.clear()
        again, exam = await scene.delivered(again=first.request_uuid)
        assert len(scene.received) == 2
        assert (exam.sent_count, exam.seen_count) == (2, 2)
        shown = await scene.images(again)
        assert (shown["wanted"], shown["seen"], shown["missing"]) == (2, 2, 0)


async def test_one_image_deleted_in_aurabox_is_all_that_is_sent_again(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        first, _ = await scene.delivered("jpeg", "png")
        lost = scene.sandbox.team().instances.pop(scene.received[0].sop_instance_uid)
        _, exam = await scene.delivered(again=first.request_uuid)
        assert exam.sent_count == 1
        assert lost in scene.received
        assert scene.effects("aurabox.instance.create") == 3


async def test_an_image_that_this_submission_does_not_have_is_a_persons_matter_once(
    settings: Settings,
) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        first, _ = await scene.delivered("jpeg", "png")
        scene.sandbox.team().instances.clear()
        # the clinician took the first capture off the exam, and then submitted it again
        scene.sandbox.clarius.exams[first.request_uuid].capture_ids.pop(0)
        again = await scene.submit(again=first.request_uuid)
        exam = await scene.reaches(again, ExamState.REVIEW)
        assert exam.error_code == "images_not_listed"
        assert len(scene.received) == 1
        await act_on(scene.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        await scene.reaches(again, ExamState.DELIVERED)
        shown = await scene.images(first)
        assert (shown["wanted"], shown["seen"], shown["missing"]) == (2, 1, 1)
        third = await scene.submit(again=again.request_uuid)
        await scene.reaches(third, ExamState.DELIVERED)


async def test_an_upload_that_did_not_bring_all_is_noticed_where_the_study_shows_a_number(
    settings: Settings,
) -> None:
    async with image_scene(settings, given=COUNTED) as scene:
        counting(scene)
        held = scene.sandbox.faults.arm(faults.hold(), method="GET", path="*/patients/*/studies/*")
        submitted = await scene.submit("jpeg", "png")
        await until(lambda: held.waiting)
        del scene.sandbox.team().instances[scene.received[0].sop_instance_uid]
        held.release()
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "images_not_listed"


async def test_where_nothing_can_be_counted_nothing_is_called_seen(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted, exam = await scene.delivered("jpeg", "png")
        assert exam.seen_count is None
        assert await scene.images(submitted) == {
            "wanted": 2,
            "accepted": 2,
            "seen": None,
            "missing": 0,
            "why": None,
        }
        assert "filed; 2 of 2 images accepted" in await scene.told(submitted)
        assert not [line for line in await scene.told(submitted) if "seen" in line or "read back" in line]


async def test_what_a_study_that_is_gone_held_is_sent_again(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        first, exam = await scene.delivered("jpeg", "png")
        scene.sandbox.team().instances.clear()
        async with scene.bridge.resources.sessions.begin() as session:
            await study_gone(session, exam.study_id)
        assert {one.state for one in await scene.instances(first)} == {InstanceState.GONE}
        _, exam = await scene.delivered(again=first.request_uuid)
        assert exam.sent_count == len(scene.received) == 2


async def test_refusals_are_not_counted_with_other_troubles(settings: Settings) -> None:
    """Three outages at send, and then one refusal of one image: it is sent again, not given up."""
    async with image_scene(settings, "dicomweb") as scene:
        scene.sandbox.faults.arm(
            faults.answer(503), server="aurabox", method="POST", path="/dicomweb/*", times=3
        )
        scene.sandbox.aurabox.refuse_next_instances = 1
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert (exam.sent_count, exam.seen_count) == (2, 2)
        assert len(scene.received) == 2


async def test_looks_are_not_counted_with_other_troubles(settings: Settings) -> None:
    """Five outages of the list and then an empty one: it is looked at again, not left to a person."""
    async with image_scene(settings, "dicomweb") as scene:
        where = {"server": "aurabox", "method": "GET", "path": "*/instances"}
        scene.sandbox.faults.arm(faults.answer(503), **where, times=5)
        scene.sandbox.faults.arm(faults.answer(204), **where, nth=6)
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert exam.seen_count == 1


@pytest.mark.parametrize("transport", ["dicomweb", "uploader"])
async def test_a_retry_after_images_were_refused_sends_them_alone(settings: Settings, transport: str) -> None:
    """What was stored stays stored when the exam is taken up again."""
    async with image_scene(settings, transport) as scene:
        submitted = await scene.submit("jpeg", "empty")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.bridge.reaches(submitted.request_uuid, ExamState.RUNNING, ExamState.REVIEW)
        await scene.reaches(submitted, ExamState.REVIEW)
        assert scene.effects("aurabox.instance.create") == 1
