"""Captures become images in Aurabox: each transport end to end against the sandbox, from webhook to delivered."""

import hashlib
import io

import pytest
from PIL import Image

from app.config.settings import Settings
from app.states import ExamState
from app.store.exam_view import describe_exam
from sandbox.exam_shapes import SHAPES
from tests.delivery.images.scene import TRANSPORTS, image_scene, objects_in, served

MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_images_arrive_and_are_confirmed(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        submitted, exam = await scene.delivered("jpeg", "png", "mp4")
        made = await scene.instances(submitted)
        assert {one.sop_instance_uid for one in made} == {one.sop_instance_uid for one in scene.received}
        assert {one.sha256 for one in made} == {one.sha256 for one in scene.received}
        async with scene.bridge.resources.sessions() as session:
            shown = (await describe_exam(session, exam)).model_dump()
        # the uploader offers nothing to count by; QIDO does
        assert (shown["sent"], shown["seen"]) == (3, 3 if transport == "dicomweb" else None)
        uids = {capture["sop_instance_uid"] for capture in shown["captures"]}
        assert uids == {one.sop_instance_uid for one in scene.received}
        await scene.staging_is_empty()


async def test_every_kind_arrives_and_an_untouched_still_byte_for_byte(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted, _ = await scene.delivered(shape="every-kind")
        kinds = SHAPES["every-kind"].captures
        assert len(scene.received) == len(kinds)
        by_uid = {one.sop_instance_uid: one for one in scene.received}
        recorded = await scene.captures(submitted)
        compared = 0
        for source, capture in zip(submitted.captures, recorded, strict=True):
            received = by_uid[capture.sop_instance_uid]
            original = served(source)
            assert capture.sha256 == hashlib.sha256(original).hexdigest()
            if source.kind in {"jpeg", "jpeg-grey"}:
                assert received.pixel_sha256 == capture.sha256
                compared += 1
            elif source.kind == "png":
                pixels = Image.open(io.BytesIO(original)).convert("RGB").tobytes()
                assert received.pixel_sha256 == hashlib.sha256(pixels).hexdigest()
                compared += 1
        assert compared == 3
        # a viewer picks its way of showing by the first object of a series: no series may hold both kinds
        classes: dict[str, set[str]] = {}
        for one in scene.received:
            classes.setdefault(one.series_instance_uid, set()).add(one.sop_class_uid)
        assert all(len(found) == 1 for found in classes.values())
        assert sum(one.sop_class_uid == MULTI_FRAME for one in scene.received) == 2


async def test_the_archive_names_the_study_and_the_subject(settings: Settings) -> None:
    async with image_scene(settings, timezone="Pacific/Auckland") as scene:
        held = scene.hold_archives()
        submitted = await scene.submit("jpeg", "mp4")
        objects = objects_in(await scene.archive(held))
        await scene.reaches(submitted, ExamState.DELIVERED)
        (init,) = scene.sandbox.aurabox.uploads.values()
        (uid, summary), *_ = init.studies.items()
        assert {str(one.StudyInstanceUID) for one in objects} == {uid}
        # announced and written on the same day, in the clinic's time
        assert {one.StudyDate for one in objects} == {summary["study_date"]}
        assert summary["images"] == 2
        assert {one.TimezoneOffsetFromUTC for one in objects} <= {"+1200", "+1300"}
        assert init.patient_id in scene.sandbox.team().people
