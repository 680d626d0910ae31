"""One organisation without images and its linked customer over a whole bridge, for tests of who an exam is filed as."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from app.config.settings import Settings
from app.states import ExamState
from app.store.exams import Exam
from app.store.organizations import Organization
from sandbox.aurabox.state import Person
from sandbox.submitting import Submitted
from tests.support.bridge import Bridge
from tests.support.rig import open_short_bridge
from tests.support.wait import until

RESTS = (ExamState.DELIVERED, ExamState.REVIEW, ExamState.FAILED, ExamState.GONE, ExamState.CANCELLED)

ANN = {
    "identifier": "P-1",
    "date_of_birth": "1980-01-02",
    "gender": "F",
    "first_name": "Ann",
    "last_name": "Ash",
}


@dataclass
class Clinic:
    """What a test holds of it."""

    bridge: Bridge
    organization: Organization
    customer: str

    async def submit(self, patient: dict[str, Any] | None, **more: Any) -> Submitted:
        """An exam of this patient, without captures."""
        return await self.bridge.sandbox.submit_exam(
            customer=self.customer, patient=patient, captures=(), **more
        )

    async def rests(self, submitted: Submitted, *, besides: int = 0) -> Exam:
        """Wait until the exam has come to an end for now and nobody works on it. `besides`: filings it had before."""

        async def ended() -> Exam:
            exam = await self.bridge.exam(submitted.request_uuid)
            over = exam.state in RESTS and exam.lease_until is None and exam.due_at is None
            assert over, f"{exam.state} at {exam.step}"
            assert (exam.filing or 0) > besides, f"filing {exam.filing}"
            return exam

        return await until(ended, timeout=60)

    async def filed(self, patient: dict[str, Any] | None, **more: Any) -> Exam:
        """Submit and wait for what comes of it."""
        return await self.rests(await self.submit(patient, **more))

    @property
    def people(self) -> list[Person]:
        """Who is in Aurabox, patients and cases."""
        return list(self.bridge.sandbox.team().people.values())


@asynccontextmanager
async def open_clinic(
    settings: Settings, *, timing: Mapping[str, float] = MappingProxyType({}), **options: Any
) -> AsyncIterator[Clinic]:
    """`timing` are settings that differ from `SHORT`, `options` are the organisation's."""
    async with open_short_bridge(settings, **timing) as bridge:
        organization = await bridge.organization(**{"images": "none", **options})
        yield Clinic(bridge, organization, await bridge.customer(organization))
