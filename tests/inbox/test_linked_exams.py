"""A clinician links an account for which thousands of exams wait."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from sqlalchemy import event, func, select, text

from app.config.settings import Settings
from app.linking.links import start_link
from app.linking.runner import run_link
from app.resources import Resources, open_resources
from app.states import ExamState, LinkState
from app.store.audit import By
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.store.linked_exams import AT_ONCE, queue_linked
from app.store.links import Link
from app.upkeep.sweep import sweep
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.linked import add_clinic

MANY = 2 * AT_ONCE + 10


@pytest.fixture
async def resources(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    async with open_resources(settings_for(settings, sandbox, lease_seconds=60)) as opened:
        yield opened


async def wait_for_a_link(resources: Resources, customer: str, count: int) -> None:
    """Verified exams of a customer without a link."""
    async with resources.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason, customer_hash, verified_at)"
                " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'poll', 'waiting', 'verify', 'link',"
                " :customer, now() FROM generate_series(1, :count)"
            ),
            {"customer": await resources.hash_customer(customer), "count": count},
        )


@contextmanager
def loaded() -> Iterator[list[UUID]]:
    """The exams whose rows are brought here within the block."""
    seen: list[UUID] = []

    def note(exam: Exam, *_: object) -> None:
        seen.append(exam.id)

    event.listen(Exam, "load", note)
    try:
        yield seen
    finally:
        event.remove(Exam, "load", note)


async def released(resources: Resources, clinic_id: UUID) -> tuple[int, int]:
    """How many exams are queued for the organisation, and how many histories say why."""
    async with resources.sessions() as session:
        queued = await session.scalar(
            select(func.count()).where(Exam.state == ExamState.QUEUED, Exam.organization_id == clinic_id)
        )
        told = await session.scalar(select(func.count()).where(ExamEvent.event == "linked"))
    return int(queued or 0), int(told or 0)


async def test_a_link_releases_thousands_and_brings_no_row_of_them_here(
    resources: Resources, sandbox: Sandbox
) -> None:
    clinic, token, stranger = await add_clinic(resources), sandbox.add_customer(), sandbox.add_customer()
    await wait_for_a_link(resources, token, MANY)
    await wait_for_a_link(resources, stranger, 1)
    link = await start_link(resources, token=token, organization_id=clinic.id, user_id=None, by=By("test"))
    with loaded() as seen:
        assert await run_link(resources, link.id)
    assert seen == []
    assert await released(resources, clinic.id) == (MANY, MANY)
    async with resources.sessions() as session:
        assert (await session.get_one(Link, link.id)).state == LinkState.CONFIRMED


async def test_what_a_death_left_waiting_is_released_by_the_sweep(
    resources: Resources, sandbox: Sandbox
) -> None:
    clinic, token = await add_clinic(resources), sandbox.add_customer()
    await wait_for_a_link(resources, token, MANY)
    customer = await resources.hash_customer(token)
    async with resources.sessions.begin() as session:
        session.add(
            Link(
                organization_id=clinic.id,
                token_sealed=resources.seal_text(token),
                customer_hash=customer,
                customer_hint=token[-4:],
                state=LinkState.CONFIRMED,
            )
        )
        await session.flush()
        first = await queue_linked(session, customer_hash=customer, organization_id=clinic.id)
    # the one who confirmed dies here
    assert len(first) == AT_ONCE
    await sweep(resources)
    assert await released(resources, clinic.id) == (MANY, MANY)
