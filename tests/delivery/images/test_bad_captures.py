"""Captures that can't become images: the others are delivered, and a person reads what is missing and why."""

import multiprocessing
import os
from pathlib import Path

import pytest

from app.config.settings import Settings
from app.delivery.actions import CANCEL, RELEASE, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from app.store.exams import Exam
from sandbox import faults
from sandbox.clarius.captures import keep_capture
from sandbox.media import Made
from tests.corpus.clips import make, trimmed
from tests.delivery.images.scene import TRANSPORTS, Scene, image_scene
from tests.imaging.samples import scanner_dicom
from tests.support.wait import until

BAD = {
    "jpeg-truncated": "capture_truncated",
    "mp4-truncated": "capture_truncated",
    "empty": "capture_empty",
    "html": "capture_wrong_kind",
    "text": "capture_wrong_kind",
}


def request_of(exam: Exam) -> dict[str, object]:
    return {"request_uuid": exam.request_uuid, "by": By("test")}


async def in_review(scene: Scene, *captures: str, **more: object) -> tuple[object, Exam]:
    submitted = await scene.submit(*captures, **more)
    return submitted, await scene.reaches(submitted, ExamState.REVIEW)


@pytest.mark.row(46)
async def test_damage_that_a_library_calls_a_fault_of_the_disk_is_the_captures(
    settings: Settings, tmp_path: Path
) -> None:
    async with image_scene(settings, "uploader") as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="media")
        submitted = await scene.submit("jpeg", "png")
        await until(lambda: held.waiting == 1)
        # it ends within the header of a sequence's item, which pydicom reports as OSError
        whole = scanner_dicom(tmp_path / "d").read_bytes()
        cut = whole.index(b"\xfe\xff\x00\xe0") + 4
        made = Made("dicom", whole[:cut], "application/dicom", "dcm")
        keep_capture(scene.sandbox, made, capture_id=submitted.captures[1].id)
        held.release()
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        assert exam.error_code == "captures_missing"
        assert [one.problem_code for one in await scene.captures(submitted)] == [None, "capture_truncated"]
        assert len(scene.received) == 1
        await scene.bridge.ends_well()


def minutes_of_work(folder: Path) -> Made:
    """A small clip: ten pictures, each shown forty times."""
    long = make(folder / "c", frames=10, size=(4096, 2160), options={"preset": "ultrafast", "bf": "0"})
    return Made("mp4", trimmed(long, *[(1000, 0)] * 40).read_bytes(), "video/mp4", "mp4")


async def test_a_capture_that_takes_too_long_is_named_and_the_others_arrive(
    settings: Settings, tmp_path: Path
) -> None:
    made = minutes_of_work(tmp_path)
    async with image_scene(settings, given={"conversion_seconds": 12}) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="media")
        submitted = await scene.submit("jpeg", "png")
        await until(lambda: held.waiting == 1)
        keep_capture(scene.sandbox, made, capture_id=submitted.captures[1].id)
        held.release()
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=80)
        assert exam.error_code == "captures_missing"
        assert [one.problem_code for one in await scene.captures(submitted)] == [None, "capture_too_large"]
        assert "longer than the 12 seconds" in exam.error_message
        assert len(scene.received) == 1
        await scene.bridge.ends_well()


async def test_a_conversion_ends_when_its_exam_is_cancelled(settings: Settings, tmp_path: Path) -> None:
    made = minutes_of_work(tmp_path)
    async with image_scene(settings, given={"lease_seconds": 3}) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="media")
        submitted = await scene.submit("png")
        await until(lambda: held.waiting == 1)
        keep_capture(scene.sandbox, made, capture_id=submitted.captures[0].id)
        held.release()

        def frames() -> list[str]:
            # not rglob, which minds a folder that goes while it looks
            walked = os.walk(scene.bridge.resources.settings.data_dir)
            return [name for _, _, names in walked for name in names if name.endswith(".frames")]

        await until(frames, timeout=60)
        busy = {process.pid for process in multiprocessing.active_children()}
        assert busy
        await act_on(
            scene.bridge.resources, act=CANCEL, **request_of(await scene.bridge.exam(submitted.request_uuid))
        )
        await until(
            lambda: not frames() and not busy & {one.pid for one in multiprocessing.active_children()}
        )
        await scene.delivered("jpeg")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_good_ones_are_delivered_and_bad_ones_named(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        submitted, exam = await in_review(scene, "jpeg", *BAD, "png")
        assert exam.error_code == "captures_missing"
        assert len(scene.received) == 2
        captures = await scene.captures(submitted)
        assert [one.problem_code for one in captures] == [None, *BAD.values(), None]
        for capture in captures[1:-1]:
            assert capture.problem_message
            assert capture.problem_message in exam.error_message
            assert f"capture {capture.index + 1}:" in exam.error_message
        assert "5 of 7 captures" in exam.error_message

        await act_on(scene.bridge.resources, act=RELEASE, **request_of(exam))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.sent_count == 2
        assert len(scene.received) == 2
        await scene.staging_is_empty()


@pytest.mark.row(15)
async def test_over_large_and_endless_captures_are_refused(settings: Settings) -> None:
    async with image_scene(settings, given={"max_capture_bytes": 100_000}) as scene:
        submitted, exam = await in_review(scene, "jpeg", "endless", "jpeg#5")
        captures = await scene.captures(submitted)
        assert [one.problem_code for one in captures] == [None, "capture_too_large", None]
        assert "larger than this bridge accepts" in exam.error_message
        assert len(scene.received) == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_retry_sends_only_what_was_missing(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        rule = scene.sandbox.faults.arm(
            faults.answer(200, "<html>sign in</html>"), server="media", nth=2, times=None
        )
        submitted, exam = await in_review(scene, "jpeg", "png")
        # so often, and on fresh links, that it is no passing trouble of a proxy
        assert rule.hits >= 3
        scene.sandbox.faults.clear()
        (first,) = scene.received
        await act_on(scene.bridge.resources, act=RETRY, **request_of(exam))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 2
        assert exam.error_code is None
        assert [one.problem_code for one in await scene.captures(submitted)] == [None, None]
        # the first image went once
        brought = scene.sandbox.journal.effects_of("bounce.upload.complete")
        if transport == "uploader":
            assert [effect.detail["instances"] for effect in brought] == [1, 1]
        assert first in scene.received
        await scene.staging_is_empty()


async def test_a_retry_that_changes_nothing_comes_back_to_review(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted, exam = await in_review(scene, "jpeg", "jpeg-truncated")
        asked = len(scene.sandbox.journal.requests_to("media"))
        await act_on(scene.bridge.resources, act=RETRY, **request_of(exam))
        await scene.bridge.reaches(submitted.request_uuid, ExamState.RUNNING, ExamState.REVIEW)

        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "captures_missing"
        assert len(scene.sandbox.journal.requests_to("media")) > asked
        assert len(scene.received) == 1


async def test_nothing_good_at_all_is_reviewed_and_sends_nothing(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        _, exam = await in_review(scene, "html", "empty")
        assert exam.error_code == "captures_missing"
        assert scene.received == []
        assert scene.effects("bounce.upload.*") == 0


async def test_the_same_bytes_under_two_links_share_their_fate(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted, exam = await in_review(scene, "jpeg", "jpeg#0", "jpeg-truncated#7", "jpeg-truncated#7")
        captures = await scene.captures(submitted)
        assert len({one.sha256 for one in captures}) == 2
        assert captures[0].sop_instance_uid == captures[1].sop_instance_uid is not None
        assert not any(one.already_delivered for one in captures)
        assert [one.problem_code for one in captures[2:]] == ["capture_truncated"] * 2
        assert len(scene.received) == 1
        assert "2 of 4 captures" in exam.error_message


async def test_a_release_for_another_reason_accepts_no_missing_capture(settings: Settings) -> None:
    async with image_scene(settings, given={"clarius_verify_window": 0.5}) as scene:
        submitted = await scene.submit("jpeg", "empty", listed=False)
        exam = await scene.reaches(submitted, ExamState.UNVERIFIED)
        await act_on(scene.bridge.resources, act=RELEASE, **request_of(exam))
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "captures_missing"


@pytest.mark.row(15)
async def test_content_that_changed_before_it_was_sent_is_sent_as_it_is_now(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(
            faults.answer(422), server="aurabox", path="*/upload/init", times=None
        )
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        (before,) = await scene.instances(submitted)
        held.release()
        scene.sandbox.faults.clear()
        # staging was lost with its host, and Clarius serves other bytes by now
        await scene.bridge.resources.staging.discard(exam.id)
        await scene.sandbox.change_capture(submitted.captures[0].id, seed=4711)
        await act_on(scene.bridge.resources, act=RETRY, **request_of(exam))
        await scene.reaches(submitted, ExamState.DELIVERED)
        (received,) = scene.received
        assert received.sop_instance_uid != before.sop_instance_uid
        assert [one.sop_instance_uid for one in await scene.instances(submitted)] == [
            received.sop_instance_uid
        ]
