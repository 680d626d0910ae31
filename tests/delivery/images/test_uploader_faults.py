"""The uploader on bad days (docs/faults.md, row 29): it resumes or starts over, and Aurabox holds each image once."""

import pytest

from app.config.settings import Settings
from app.delivery.actions import CANCEL, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from app.store.uploads import open_uploads
from sandbox import faults
from sandbox.faults import Fault
from tests.delivery.images.scene import Scene, image_scene
from tests.support.wait import until

# more than two PATCH requests' worth; a PNG, for a JPEG of that size is walked for seconds
BIG_BYTES = 12_000_000


async def sent_once(scene: Scene, captures: int) -> None:
    """What must hold however the bytes came over."""
    assert len(scene.received) == captures
    assert scene.sandbox.journal.bytes_sent_twice() == []
    (complete,) = scene.sandbox.journal.effects_of("bounce.upload.complete")
    assert complete.detail["new"] == captures
    await scene.staging_is_empty()


@pytest.mark.row(29)
async def test_tokens_that_expire_during_the_upload_are_renewed(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="lift", method="PATCH", nth=2)
        submitted = await scene.submit("png", capture_bytes=BIG_BYTES)
        await until(lambda: held.waiting)
        scene.sandbox.aurabox.expire_tokens()
        held.release()
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert scene.effects("bounce.exchange") == 2
        assert scene.effects("lift.upload.create") == 1
        assert exam.attempts == 0
        await sent_once(scene, 1)


CASES: dict[str, tuple[str, str, Fault, int]] = {
    "409 on a part": ("lift", "PATCH", faults.answer(409), 1),
    "locked": ("lift", "PATCH", faults.answer(423), 2),
    "cut within a part": ("lift", "PATCH", faults.cut_request(2_000_000), 2),
    "answer to a part lost": ("lift", "PATCH", faults.cut_after(), 2),
    "answer to the creation lost": ("lift", "POST", faults.cut_after(), 1),
    "503 on a part": ("lift", "PATCH", faults.answer(503), 2),
    "answer to init lost": ("aurabox", "*/upload/init", faults.cut_after(), 1),
    "answer to start lost": ("aurabox", "*/upload/start", faults.cut_after(), 1),
    "answer to complete lost": ("aurabox", "*/upload/complete", faults.cut_after(), 1),
    "500 on complete": ("aurabox", "*/upload/complete", faults.answer(500), 1),
    "complete throttled": ("aurabox", "*/upload/complete", faults.too_many(1), 1),
    "config throttled": ("aurabox", "*/uploader/config", faults.too_many(1), 1),
}


@pytest.mark.row(29)
@pytest.mark.parametrize("case", CASES)
async def test_trouble_on_the_way_changes_nothing(settings: Settings, case: str) -> None:
    server, what, fault, nth = CASES[case]
    async with image_scene(settings) as scene:
        where = {"method": what} if server == "lift" else {"path": what}
        rule = scene.sandbox.faults.arm(fault, server=server, nth=nth, **where)
        submitted = await scene.submit("png", capture_bytes=BIG_BYTES)
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert rule.hits == 1
        await sent_once(scene, 1)


@pytest.mark.row(29)
@pytest.mark.parametrize("gone", [False, True])
async def test_an_upload_that_vanished_is_begun_anew(settings: Settings, gone: bool) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="lift", method="PATCH", nth=2)
        submitted = await scene.submit("png", capture_bytes=BIG_BYTES)
        await until(lambda: held.waiting)
        assert scene.sandbox.lift.drop(gone=gone) == 1
        held.release()
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert scene.effects("lift.upload.create") == 2
        await sent_once(scene, 1)


async def test_an_upload_that_aurabox_forgot_is_planned_anew(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        rule = scene.sandbox.faults.arm(faults.answer(404), server="aurabox", path="*/upload/complete")
        submitted = await scene.submit("jpeg")
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert rule.hits == 1
        assert scene.effects("bounce.upload.init") == 2
        assert len(scene.received) == 1


async def test_a_refusal_is_told_to_aurabox_and_a_retry_starts_over(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        rule = scene.sandbox.faults.arm(
            faults.answer(422, {"error": {"message": "The archive is not wanted."}}),
            server="aurabox",
            path="*/upload/complete",
        )
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        assert rule.hits == 1
        assert exam.error_message.endswith("answered 422")
        assert "not wanted" in scene.bridge.resources.unseal_text(exam.upstream_words_sealed)
        (upload,) = scene.sandbox.aurabox.uploads.values()
        assert (upload.state, upload.message) == ("failed", exam.error_code)
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        await sent_once(scene, 1)


async def test_a_refusal_stands_though_it_could_not_be_told(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        scene.sandbox.faults.arm(faults.answer(422), server="aurabox", path="*/upload/complete")
        deaf = scene.sandbox.faults.arm(faults.answer(503), server="aurabox", path="*/upload/error")
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        assert deaf.hits == 1
        assert exam.error_code == "aurabox_rejected"


async def test_a_cancelled_exam_calls_its_upload_off(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(faults.hold(), server="lift", method="PATCH", nth=2)
        submitted = await scene.submit("png", capture_bytes=BIG_BYTES)
        await until(lambda: held.waiting)
        exam = await scene.bridge.exam(submitted.request_uuid)
        await act_on(scene.bridge.resources, exam.request_uuid, CANCEL, by=By("test"))
        await until(lambda: scene.effects("bounce.upload.cancel"))
        held.release()
        assert scene.received == []
        await scene.staging_is_empty()
        async with scene.bridge.resources.sessions() as session:
            assert await open_uploads(session, exam_id=exam.id) == []
        # taking it back begins from the start, with an upload of its own
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert scene.effects("bounce.upload.cancel") == 1
        assert scene.effects("bounce.upload.init") == 2
        assert len(scene.received) == 1


async def test_the_archive_is_made_once_however_often_it_is_tried(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.sandbox.faults.arm(
            faults.answer(500), server="aurabox", path="*/upload/init", times=None
        )
        submitted = await scene.submit("jpeg")
        exam = await scene.bridge.reaches(submitted.request_uuid, ExamState.WAITING)
        (zip_of,) = scene.bridge.resources.staging.folder(exam.id).glob("upload-*.zip")
        made = zip_of.stat()
        await until(lambda: held.hits >= 3)
        scene.sandbox.faults.clear()
        assert (zip_of.stat().st_ino, zip_of.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
        await scene.reaches(submitted, ExamState.DELIVERED)
        await sent_once(scene, 1)
