"""What takes long, or is away for long, is waited for: row 43 of faults.md; nobody healthy is given up meanwhile."""

from app.settings import Settings
from app.states import ExamState
from sandbox import faults
from sandbox.server import Sandbox
from tests.support.bridge import open_bridge, settings_for
from tests.support.exams import history
from tests.support.rig import SHORT


async def test_row_43_a_search_longer_than_every_hold(settings: Settings) -> None:
    """Six exams of one new patient, and a search that takes several times as long as a hold."""
    async with Sandbox() as sandbox, open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as bridge:
        customer = await bridge.customer(await bridge.organization(images="none"))
        slow = 3 * SHORT["lease_seconds"]
        sandbox.faults.arm(faults.delay(slow), server="aurabox", method="GET", path="*/patients", times=None)
        exams = [await sandbox.submit_exam(customer=customer, number=9, captures=()) for _ in range(6)]
        for one in exams:
            exam = await bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=90)
            assert "lease_expired" not in await history(bridge.resources, exam.id)
        assert len(sandbox.journal.requests_to("aurabox", "GET", "*/patients")) == 1
        await bridge.ends_well()
