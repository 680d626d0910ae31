"""What an exam is filed by changes between any two of its steps: rows 33 and 34 of docs/faults.md, I11 at each end.

Each step is stopped by its own first call, so that what changes does so after the step before it and before this one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from app.config.settings import Settings
from app.delivery.actions import decide
from app.linking.links import UnderWay, move_link, unlink
from app.organizations.changes import set_organization
from app.states import ExamState, Reason, Step
from app.store.audit import By
from app.store.exams import Exam
from app.store.links import Link
from sandbox import faults
from sandbox.submitting import Submitted
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import SHORT, image_credentials
from tests.support.wait import until

pytestmark = pytest.mark.slow

# by which call each step is stopped: server, method, path
STEPS = {
    Step.FETCH: ("clarius", "GET", "*/download-requests/*"),
    Step.DOWNLOAD: ("media", "GET", "*"),
    Step.MATCH: ("aurabox", "GET", "/api/v1/[pc]a[ts][ie]*s"),
    Step.STUDY: ("aurabox", "GET", "*/studies"),
    Step.SEND: ("aurabox", "POST", "*/upload/init"),
    Step.CONFIRM: ("aurabox", "GET", "*/studies/*"),
}
# from here on something is in Aurabox that can't be taken back
IMAGES_LEFT = {Step.CONFIRM}
IDENTIFIED = {"identity": "identified", "burned_in": "no"}
DEIDENTIFIED = {"identity": "deidentified", "burned_in": "no"}
NAMES = ("Milo", "Hazelton-7", "SB-000007")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Bridge]:
    async with Sandbox(teams=("Team One", "Team Two")) as sandbox:
        wanted = {**SHORT, **image_credentials(sandbox), "lease_seconds": 6.0}
        async with open_bridge(settings_for(settings, sandbox, **wanted), sandbox) as bridge:
            yield bridge


@asynccontextmanager
async def stopped(
    bridge: Bridge, customer: str, step: Step
) -> AsyncIterator[tuple[Submitted, Callable[[], Awaitable[None]]]]:
    """An exam that waits at this step, tried again and again; and a call that lets it go on."""
    server, method, path = STEPS[step]
    bridge.sandbox.faults.arm(faults.answer(503), server=server, method=method, path=path, times=None)
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg",), number=7)

    async def waits() -> Exam:
        exam = await bridge.exam(submitted.request_uuid)
        assert (exam.step, exam.state, exam.reason) == (step, ExamState.WAITING, Reason.RETRY)
        return exam

    async def go_on() -> None:
        # an attempt that was under way when things changed goes by what it read before: it ends as it began
        epoch = (await bridge.exam(submitted.request_uuid)).lease_epoch

        async def is_over() -> bool:
            exam = await bridge.exam(submitted.request_uuid)
            return exam.lease_until is None or exam.lease_epoch > epoch

        await until(is_over)
        bridge.sandbox.faults.clear()

    await until(waits, timeout=60)
    yield submitted, go_on


async def rests(bridge: Bridge, submitted: Submitted, *states: ExamState) -> Exam:
    """Wait until it is in one of these states and nobody has it."""

    async def there() -> Exam:
        exam = await bridge.exam(submitted.request_uuid)
        assert exam.state in states, f"{exam.state}/{exam.reason} at {exam.step}: {exam.error_code}"
        assert exam.lease_until is None
        return exam

    return await until(there, timeout=60)


# row 33


@pytest.mark.row(33)
@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize(
    ("begun", "then"), [(IDENTIFIED, DEIDENTIFIED), (DEIDENTIFIED, IDENTIFIED)], ids=["hiding", "showing"]
)
async def test_a_policy_that_changes_before_a_step(
    settings: Settings, step: Step, begun: dict[str, str], then: dict[str, str]
) -> None:
    async with opened(settings) as bridge:
        organization = await bridge.organization(images="uploader", **begun)
        customer = await bridge.customer(organization)
        async with stopped(bridge, customer, step) as (submitted, go_on):
            await set_policy(bridge, organization.name, then)
            told = len(bridge.sandbox.journal.effects)
            await go_on()
        hides = then is DEIDENTIFIED
        if hides and step in IMAGES_LEFT:
            exam = await rests(bridge, submitted, ExamState.REVIEW)
            assert exam.error_code == "policy_changed"
        else:
            exam = await rests(bridge, submitted, ExamState.DELIVERED)
        later = bridge.sandbox.journal.effects[told:]
        named = [one.kind for one in later if any(word in str(one.detail) for word in NAMES)]
        # what was begun under a pseudonym, and had left, stays that; nothing new goes out by the old promise
        shows = not hides and step not in IMAGES_LEFT
        assert bool(named) == shows, named
        await bridge.ends_well()


async def set_policy(bridge: Bridge, name: str, policy: dict[str, str]) -> None:
    await set_organization(bridge.resources, name, policy, by=By("test"))


# row 34


@pytest.mark.row(34)
@pytest.mark.parametrize("step", STEPS, ids=str)
@pytest.mark.parametrize("how", ["moved", "ended"])
async def test_a_link_that_moves_or_ends_before_a_step(settings: Settings, step: Step, how: str) -> None:
    async with opened(settings) as bridge:
        old = await bridge.organization("Old Clinic", images="uploader")
        team = bridge.sandbox.team("Team Two")
        await bridge.organization("New Clinic", team=team, images="uploader")
        customer = await bridge.customer(old)
        async with stopped(bridge, customer, step) as (submitted, go_on):
            async with bridge.resources.sessions() as session:
                link = (await session.scalars(select(Link))).one()
            told = len(bridge.sandbox.journal.effects)
            if how == "moved":
                await move_link(
                    bridge.resources,
                    link.id,
                    organization="New Clinic",
                    under_way=UnderWay.HOLD,
                    by=By("test"),
                )
            else:
                await unlink(bridge.resources, link.id, by=By("test"))
            await go_on()
        exam = await rests(bridge, submitted, ExamState.REVIEW)
        assert exam.error_code == "link_changed"
        assert [one for one in bridge.sandbox.journal.effects[told:] if one.who == "Team One"] == []
        if how == "ended":
            # linked again it goes on, by itself
            await bridge.link(customer, old)
        else:
            await decide(bridge.resources, exam.request_uuid, "refile", by=By("test"))
        await rests(bridge, submitted, ExamState.DELIVERED)
        assert len(bridge.sandbox.team("Team Two").instances) == (1 if how == "moved" else 0)
        await bridge.ends_well()
