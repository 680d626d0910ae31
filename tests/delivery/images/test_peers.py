"""The whole bridge against real peers: Orthanc by DICOMweb, and @tus/server behind a proxy that cuts and a worker
that is killed.
"""

import hashlib
import io
import shutil
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from PIL import Image
from sqlalchemy import select

from app.config.settings import Settings
from app.states import ExamState
from app.store.uploads import Upload
from sandbox import faults
from tests.delivery.images.scene import also_allowing, image_scene, served
from tests.imaging.reading import mean_difference
from tests.support.peers.orthanc import Orthanc, running_orthanc
from tests.support.peers.tus import TusServer, running_tus_server
from tests.support.processes import open_zygote
from tests.support.proxy import proxied
from tests.support.rig import open_rig
from tests.support.wait import until

pytestmark = pytest.mark.peers

CREDENTIALS = ("bridge", "invented-password")
TUS_TOKEN = "letmein"
ARCHIVE_BYTES = 60_000_000
BREAKS = (12_000_000, 27_000_000, 42_000_000)


def listed(orthanc: Orthanc, study_uid: str) -> set[str]:
    """QIDO-RS: the SOP instance UIDs of a study."""
    found = httpx.get(
        f"{orthanc.dicomweb_url}/studies/{study_uid}/instances",
        auth=CREDENTIALS,
        headers={"Accept": "application/dicom+json"},
        timeout=30,
        trust_env=False,
    ).raise_for_status()
    return {entry["00080018"]["Value"][0] for entry in found.json()}


def preview(orthanc: Orthanc, sop_instance_uid: str) -> Image.Image:
    instance = orthanc.find_instance(sop_instance_uid)
    shown = orthanc.get(f"/instances/{instance}/frames/0/preview").content
    return Image.open(io.BytesIO(shown)).convert("RGB")


async def test_orthanc_takes_an_exam_once_and_shows_it(settings: Settings, tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc", credentials=CREDENTIALS) as orthanc:
        options = {
            "dicomweb_url": orthanc.dicomweb_url,
            "dicomweb_user": CREDENTIALS[0],
            "dicomweb_token": CREDENTIALS[1],
        }
        host = orthanc.url.removeprefix("http://")
        async with image_scene(settings, "dicomweb", also_allowed=host, **options) as scene:
            first, exam = await scene.delivered("jpeg", "png", "mp4")
            assert (exam.sent_count, exam.seen_count) == (3, 3)
            captures = await scene.captures(first)
            (study,) = {one.fields["study_instance_uid"] for one in scene.studies}
            made = await scene.instances(first)
            assert listed(orthanc, study) == {one.sop_instance_uid for one in made}
            for source, capture in zip(first.captures[:2], captures[:2], strict=True):
                shown = preview(orthanc, capture.sop_instance_uid)
                original = Image.open(io.BytesIO(served(source))).convert("RGB")
                if source.kind == "png":
                    assert shown.tobytes() == original.tobytes()
                assert mean_difference(shown, original) <= 2

            _, exam = await scene.delivered(again=first.request_uuid)
            assert exam.sent_count == 0
            assert orthanc.instance_count() == 3

            third, exam = await scene.delivered("jpeg-grey", again=first.request_uuid)
            assert (exam.sent_count, exam.seen_count) == (1, 1)
            assert orthanc.instance_count() == 4
            assert listed(orthanc, study) == {one.sop_instance_uid for one in await scene.captures(third)}


async def test_a_real_tus_server_gets_every_byte_once(settings: Settings, tmp_path: Path) -> None:
    with open_zygote() as zygote, running_tus_server(tmp_path / "tus", token=TUS_TOKEN) as tus:
        async with (
            proxied(tus.url) as (proxy, through),
            open_rig(settings, zygote, tmp_path, lease_seconds=4.0, request_seconds=20.0) as rig,
        ):
            rig.settings = also_allowing(rig.settings, f"127.0.0.1:{proxy.port}")
            rig.sandbox.aurabox.lift_elsewhere = (through, TUS_TOKEN)
            await rig.api()
            worker = rig.worker()
            customer = await rig.customer(await rig.organization(images="uploader"))
            complete = rig.sandbox.faults.arm(faults.hold(), server="aurabox", path="*/upload/complete")
            # each within a part, whose ends are 5 MiB apart from where the last break was
            proxy.hold_at, *later = BREAKS
            submitted = await rig.sandbox.submit_exam(
                customer=customer, captures=("png",) * 4, capture_bytes=ARCHIVE_BYTES // 4
            )
            for following in (*later, None):
                await until(lambda: proxy.holds, timeout=60)
                if following is None:
                    await worker.kill()
                proxy.hold_at = following
                proxy.cut()
                proxy.release()
            assert not complete.waiting
            rig.worker()
            await until(lambda: complete.waiting, timeout=60)

            (upload,) = tus.uploads()
            size = upload.stat().st_size
            assert size > ARCHIVE_BYTES
            async with rig.resources.sessions() as session:
                (row,) = await session.scalars(select(Upload))
            assert hashlib.sha256(upload.read_bytes()).hexdigest() == row.sha256
            await until(lambda: brought(tus)[-1][1] == size)
            ranges = brought(tus)
            assert ranges[0][0] == 0
            assert all(later[0] >= earlier[1] for earlier, later in pairwise(ranges))
            broken = [entry for entry in tus.entries() if entry["method"] == "PATCH" and not entry["whole"]]
            assert len(broken) == len(BREAKS)

            # what the real server holds is what Aurabox opens
            shutil.copyfile(upload, rig.sandbox.folder / f"{row.upload_id}.whole")
            complete.release()
            await rig.reaches(submitted.request_uuid, ExamState.DELIVERED)
            assert len(rig.sandbox.team().instances) == 4


def brought(tus: TusServer) -> list[tuple[int, int]]:
    """(first byte, end) of what each PATCH request brought, in order of the bytes."""
    return sorted((start, end) for _, start, end in tus.ranges())
