"""A bridge with an organisation that takes images, for the tests of images; holds no test."""

import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from app.config.settings import Settings
from app.organizations.changes import set_organization
from app.states import ExamState
from app.store.audit import By
from app.store.captures import Capture, captures_of
from app.store.exam_view import describe_exam
from app.store.exams import Exam
from app.store.instances import Instance, instances_of
from app.store.organizations import Organization
from sandbox import faults
from sandbox.aurabox.state import Instance as Received
from sandbox.aurabox.state import Study
from sandbox.clarius.state import Capture as ServedCapture
from sandbox.faults import Rule
from sandbox.submitting import Submitted
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import image_credentials
from tests.support.wait import until

TRANSPORTS = ("uploader", "dicomweb")


def settings_for_images(settings: Settings, sandbox: Sandbox, **more: object) -> Settings:
    """Settings with the credentials that images need; nothing is retained after delivery."""
    return settings_for(
        settings,
        sandbox,
        **{
            **image_credentials(sandbox),
            "capture_retention_hours": 0,
            # vendors, bridge and large captures share one process here: a short lease would be lost for nothing
            "lease_seconds": 20,
            **more,
        },
    )


def transport_options(sandbox: Sandbox, transport: str) -> dict[str, object]:
    """The organisation's options for one transport to the sandbox."""
    if transport == "uploader":
        return {"images": "uploader"}
    return {"images": "dicomweb", "dicomweb_url": sandbox.dicomweb_url, "dicomweb_token": sandbox.team().key}


@dataclass
class Scene:
    """A running bridge, its sandbox, and one linked customer of one organisation."""

    bridge: Bridge
    sandbox: Sandbox
    clinic: Organization
    customer: str

    async def submit(self, *captures: str, **more: Any) -> Submitted:
        """One exam with these captures."""
        return await self.sandbox.submit_exam(
            customer=self.customer, **({"captures": captures} if captures else {}), **more
        )

    async def reaches(self, submitted: Submitted, state: ExamState, **more: Any) -> Exam:
        """Wait until the exam rests in this state and its worker has let go of it."""
        await self.bridge.reaches(submitted.request_uuid, state, **more)

        async def free() -> Exam | None:
            exam = await self.bridge.exam(submitted.request_uuid)
            return exam if exam.lease_until is None and exam.state == state else None

        return await until(free)

    async def delivered(self, *captures: str, **more: Any) -> tuple[Submitted, Exam]:
        """Submit, and wait for the delivery."""
        submitted = await self.submit(*captures, **more)
        return submitted, await self.reaches(submitted, ExamState.DELIVERED)

    async def captures(self, submitted: Submitted) -> list[Capture]:
        """The exam's captures as they are recorded."""
        exam = await self.bridge.exam(submitted.request_uuid)
        async with self.bridge.resources.sessions() as session:
            return list(await captures_of(session, exam.id))

    async def instances(self, submitted: Submitted) -> list[Instance]:
        """The exam's images as they are recorded."""
        exam = await self.bridge.exam(submitted.request_uuid)
        async with self.bridge.resources.sessions() as session:
            return list(await instances_of(session, exam))

    async def shown(self, submitted: Submitted) -> dict[str, Any]:
        """The exam as pages, commands and the admin API have it."""
        exam = await self.bridge.exam(submitted.request_uuid)
        async with self.bridge.resources.sessions() as session:
            return (await describe_exam(session, exam)).model_dump()

    async def images(self, submitted: Submitted) -> dict[str, Any]:
        """What is said of its images."""
        shown: dict[str, Any] = (await self.shown(submitted))["images"]
        return shown

    async def told(self, submitted: Submitted) -> list[str]:
        """What its history says."""
        return [line["detail"] for line in (await self.shown(submitted))["timeline"] if line["detail"]]

    async def change(self, **options: object) -> None:
        """`org set`."""
        await set_organization(self.bridge.resources, self.clinic.name, options, by=By("test"))

    @property
    def studies(self) -> list[Study]:
        """The studies of the team."""
        return [study for person in self.sandbox.team().people.values() for study in person.studies.values()]

    @property
    def received(self) -> list[Received]:
        """What Aurabox holds."""
        return list(self.sandbox.team().instances.values())

    def effects(self, kind: str) -> int:
        """How many effects of this kind a vendor has accepted."""
        return len(self.sandbox.journal.effects_of(kind))

    async def staging_is_empty(self) -> None:
        """The files of a delivered exam go just after its delivery is recorded."""
        await until(lambda: not self.bridge.resources.staging.held())

    def hold_archives(self) -> Rule:
        """From now on `complete` waits, so that the archive can be looked at."""
        return self.sandbox.faults.arm(faults.hold(), server="aurabox", path="*/upload/complete")

    async def archive(self, held: Rule) -> bytes:
        """The bytes that were sent, once `complete` is asked; then it may go on."""
        await until(lambda: held.waiting, timeout=60)
        (path,) = self.sandbox.folder.glob("*.whole")
        content = path.read_bytes()
        held.release()
        return content


def objects_in(archive: bytes) -> list[Dataset]:
    """The DICOM objects of an archive, in its order."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [pydicom.dcmread(io.BytesIO(opened.read(name))) for name in opened.namelist()]


@asynccontextmanager
async def image_scene(
    settings: Settings,
    transport: str = "uploader",
    *,
    given: dict[str, object] | None = None,
    also_allowed: str = "",
    **options: object,
) -> AsyncIterator[Scene]:
    """`given` are settings, `options` the organisation's; `also_allowed` is one more `host:port` upstream."""
    async with Sandbox() as sandbox:
        wanted = settings_for_images(settings, sandbox, **(given or {}))
        if also_allowed:
            wanted = also_allowing(wanted, also_allowed)
        async with open_bridge(wanted, sandbox) as bridge:
            clinic = await bridge.organization(**{**transport_options(sandbox, transport), **options})
            yield Scene(bridge, sandbox, clinic, await bridge.customer(clinic))


def also_allowing(settings: Settings, upstream: str) -> Settings:
    """Settings that let one more `host:port` on loopback be called."""
    return settings.model_copy(update={"allowed_upstreams": settings.allowed_upstreams | {upstream}})


def served(source: ServedCapture) -> bytes:
    """What a capture's link serves."""
    return Path(source.path or "").read_bytes()
