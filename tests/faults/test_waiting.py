"""What takes long, or is away for long, is waited for: rows 43 and 44 of docs/faults.md; nobody healthy is given up."""

import pytest
from sqlalchemy import select

from app.config.settings import Settings
from app.organizations.changes import set_organization
from app.states import ExamState, Reason
from app.store.audit import By
from app.store.base import in_seconds
from app.store.upstreams import upstream
from sandbox import faults
from sandbox.submitting import Submitted
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.exams import history
from tests.support.rig import SHORT
from tests.support.wait import until


@pytest.mark.row(43)
async def test_a_search_longer_than_every_hold(settings: Settings) -> None:
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


BUDGET_SECONDS = 4.0


async def paused(bridge: Bridge, submitted: Submitted) -> bool:
    return (await bridge.exam(submitted.request_uuid)).reason == Reason.PAUSED


@pytest.mark.row(44)
async def test_a_pause_longer_than_the_whole_budget_with_trouble_before_and_after(
    settings: Settings,
) -> None:
    """A hiccup, a key that is refused for longer than exams are tried at all, its new key, another hiccup."""
    wanted = {**SHORT, "retry_budget_hours": BUDGET_SECONDS / 3600, "credentials_probe_seconds": 1.0}
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox, **wanted), sandbox) as bridge,
    ):
        clinic = await bridge.organization(images="none")
        customer = await bridge.customer(clinic)
        hiccup = sandbox.faults.arm(faults.answer(503), server="aurabox", method="GET")
        refused = sandbox.faults.arm(faults.answer(401), server="aurabox", times=None)
        exams = [await sandbox.submit_exam(customer=customer, captures=()) for _ in range(4)]
        account = f"aurabox:{clinic.id}"

        async def paused_for_long() -> bool:
            async with bridge.resources.sessions() as session:
                known = await upstream(session, account)
                long_ago = await session.scalar(select(in_seconds(-2 * BUDGET_SECONDS)))
            return bool(known and known.refused_since and long_ago and known.refused_since < long_ago)

        await until(paused_for_long, timeout=60)
        assert (hiccup.hits, refused.hits > 0) == (1, True)
        for one in exams:
            # one of them may be asking whether the key is taken again
            await until(lambda one=one: paused(bridge, one), timeout=30)
        sandbox.faults.clear()
        again = sandbox.faults.arm(faults.answer(503), server="aurabox", path="*/studies")
        await set_organization(
            bridge.resources, clinic.name, {"aurabox_key": sandbox.team().key}, by=By("test")
        )
        for one in exams:
            await bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60)
        assert again.hits == 1
        await bridge.ends_well()
