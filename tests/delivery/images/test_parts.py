"""A zip of which one file is broken: its other images are delivered, and a person reads which and why."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.config.settings import Settings
from app.delivery.actions import RELEASE, RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from sandbox import faults
from sandbox.clarius.captures import keep_capture
from sandbox.media import Made
from sandbox.submitting import Submitted
from tests.delivery.images.scene import TRANSPORTS, Scene, image_scene
from tests.imaging.samples import scanner_dicom
from tests.support.wait import until


def zip_of(*members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, content in enumerate(members, 1):
            archive.writestr(f"US{number}.dcm", content)
    return buffer.getvalue()


def scans(folder: Path) -> list[bytes]:
    return [
        scanner_dicom(
            folder / f"{number}", SOPInstanceUID=f"1.2.826.0.1.99.7.{number}", InstanceNumber=number
        ).read_bytes()
        for number in (1, 2, 3)
    ]


def serve(scene: Scene, submitted: Submitted, content: bytes) -> None:
    """What the link of the exam's second capture leads to from now on."""
    made = Made("zip", content, "application/zip", "zip")
    keep_capture(scene.sandbox, made, capture_id=submitted.captures[1].id)


async def with_a_broken_member(scene: Scene, folder: Path) -> tuple[Submitted, Any]:
    """An exam of a still and a zip of three, of which the second is cut; it rests in review."""
    one, two, three = scans(folder)
    held = scene.sandbox.faults.arm(faults.hold(), server="media")
    submitted = await scene.submit("jpeg", "png")
    await until(lambda: held.waiting == 1)
    serve(scene, submitted, zip_of(one, two[:-200], three))
    held.release()
    return submitted, await scene.reaches(submitted, ExamState.REVIEW, timeout=60)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_one_bad_member_of_a_zip_costs_only_itself_and_is_said(
    settings: Settings, tmp_path: Path, transport: str
) -> None:
    async with image_scene(settings, transport) as scene:
        submitted, exam = await with_a_broken_member(scene, tmp_path)
        assert exam.error_code == "captures_missing"
        said = "1 of the 3 files in this zip was left out: file 2 by name: The DICOM file ends before it is complete."
        assert f"1 of 2 captures could not be delivered whole: capture 2: {said}" in exam.error_message
        assert len(scene.received) == 3
        images = await scene.images(submitted)
        assert (images["wanted"], images["accepted"], images["missing"]) == (4, 3, 1)
        assert said in images["why"]
        shown = (await scene.shown(submitted))["captures"][1]
        assert shown["problem"]["code"] == "capture_incomplete"
        assert not shown["there"]

        await act_on(scene.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.sent_count == 3
        await scene.staging_is_empty()
        await scene.bridge.ends_well()


async def test_a_mended_zip_brings_only_what_was_missing(settings: Settings, tmp_path: Path) -> None:
    async with image_scene(settings) as scene:
        submitted, exam = await with_a_broken_member(scene, tmp_path)
        before = {one.sop_instance_uid for one in await scene.instances(submitted)}
        serve(scene, submitted, zip_of(*scans(tmp_path)))
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.error_code is None
        assert len(scene.received) == 4
        brought = scene.sandbox.journal.effects_of("bounce.upload.complete")
        assert [effect.detail["instances"] for effect in brought] == [3, 1]
        assert before < {one.sop_instance_uid for one in await scene.instances(submitted)}
        images = await scene.images(submitted)
        assert (images["wanted"], images["accepted"], images["missing"]) == (4, 4, 0)
        await scene.staging_is_empty()


async def test_a_zip_that_stays_broken_is_said_again(settings: Settings, tmp_path: Path) -> None:
    async with image_scene(settings) as scene:
        submitted, exam = await with_a_broken_member(scene, tmp_path)
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.bridge.reaches(submitted.request_uuid, ExamState.RUNNING, ExamState.REVIEW)
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "captures_missing"
        assert len(scene.received) == 3
        assert scene.effects("bounce.upload.complete") == 1
        # nor does another submission of it, which has nothing new, say that all is there
        again = await scene.submit("jpeg", "png", again=submitted.request_uuid, notify_times=0)
        serve(scene, again, zip_of(*[scans(tmp_path)[0], scans(tmp_path)[1][:-200], scans(tmp_path)[2]]))
        await scene.sandbox.notify(again.request_uuid)
        exam = await scene.reaches(again, ExamState.REVIEW)
        assert exam.error_code == "captures_missing"
        assert len(scene.received) >= 3
