"""STOW-RS on bad days (docs/faults.md, row 30): what was refused goes again, and only that; QIDO-RS has the last word."""

import pytest

from app.config.settings import Settings
from app.delivery.actions import RELEASE, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from sandbox import faults
from tests.delivery.images.scene import Scene, image_scene

STORE = {"server": "aurabox", "method": "POST", "path": "/dicomweb/*"}


def sizes_sent(scene: Scene) -> list[int]:
    """The bytes of each store request, in order."""
    return [one.request_bytes for one in scene.sandbox.journal.requests_to("aurabox", "POST", "/dicomweb/*")]


@pytest.mark.row(30)
async def test_only_the_refused_ones_go_again(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        scene.sandbox.aurabox.refuse_next_instances = 2
        submitted = await scene.submit("jpeg", "jpeg#5", "jpeg#6", "png")
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert (exam.sent_count, exam.seen_count) == (4, 4)
        made = sorted(await scene.instances(submitted), key=lambda one: one.sop_instance_uid)
        first, second = sizes_sent(scene)
        # the second request holds the two that were refused, the first of the batch, and no more
        assert first > sum(one.bytes for one in made)
        again = sum(one.bytes for one in made[:2])
        assert again < second < again + 2_000
        assert scene.effects("aurabox.instance.create") == 4


@pytest.mark.row(30)
async def test_a_409_that_refuses_all_is_tried_again(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        scene.sandbox.aurabox.refuse_next_instances = 2
        submitted = await scene.submit("jpeg", "png")
        await scene.reaches(submitted, ExamState.DELIVERED)
        answers = scene.sandbox.journal.requests_to("aurabox", "POST", "/dicomweb/*")
        assert [one.status for one in answers] == [409, 200]


async def test_one_that_is_refused_for_good_is_missing_and_the_others_are_delivered(
    settings: Settings,
) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        rule = scene.sandbox.faults.arm(
            faults.replace(
                **{
                    "00081198": {
                        "vr": "SQ",
                        "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}],
                    },
                    "00081199": {"vr": "SQ", "Value": []},
                }
            ),
            **STORE,
            times=4,
        )
        submitted = await scene.submit("png")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert rule.hits == 4
        assert exam.error_code == "captures_missing"
        assert "refused this image" in exam.error_message
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.seen_count == 1


@pytest.mark.row(30)
async def test_a_request_that_is_cut_goes_again(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        cut = scene.sandbox.faults.arm(faults.cut_request(2_000_000), **STORE)
        lost = scene.sandbox.faults.arm(faults.cut_after(), **STORE, nth=2)
        submitted = await scene.submit("png", capture_bytes=4_000_000)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert (cut.hits, lost.hits) == (1, 1)
        assert exam.seen_count == 1
        assert scene.effects("aurabox.instance.create") == 1


async def test_a_server_that_lists_late_is_asked_again(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        rule = scene.sandbox.faults.arm(
            faults.answer(204), server="aurabox", method="GET", path="*/instances", times=3
        )
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert rule.hits == 3
        assert (exam.sent_count, exam.seen_count) == (1, 1)
        assert len(sizes_sent(scene)) == 1


async def test_a_server_that_never_lists_is_a_persons_matter(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        scene.sandbox.faults.arm(
            faults.answer(204), server="aurabox", method="GET", path="*/instances", times=None
        )
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "images_not_listed"
        assert exam.seen_count == 0
        await act_on(scene.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert (exam.sent_count, exam.seen_count) == (1, 0)
