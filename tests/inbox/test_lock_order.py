"""Many exams in one transaction: whoever locks them keeps to one order, so that nobody's work ends in a deadlock."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from app.clients.clarius import ExamNotice
from app.config.settings import Settings
from app.delivery.steps.verify import verify
from app.errors import Misuse
from app.inbox.reconcile import take_in
from app.linking.links import start_link
from app.linking.runner import run_link
from app.organizations.changes import remove_organization
from app.resources import Resources, open_resources
from app.states import ExamState, LinkState, Reason, Step
from app.store.audit import By
from app.store.claims import Claim
from app.store.exam_staging import forget_staging
from app.store.exam_waiting import wake_account
from app.store.exams import Exam
from app.store.links import Link
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam, hold, reread
from tests.support.linked import add_clinic, add_link
from tests.support.wait import until


@pytest.fixture
async def resources(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    async with open_resources(settings_for(settings, sandbox, lease_seconds=60)) as opened:
        yield opened


async def waiting(resources: Resources) -> int:
    """How many transactions wait for a lock."""
    async with resources.sessions() as session:
        found = await session.scalar(text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"))
    return int(found or 0)


async def test_the_poll_and_a_look_at_the_same_exams_wait_for_each_other(
    resources: Resources, sandbox: Sandbox
) -> None:
    customer = sandbox.add_customer()
    await add_link(resources, customer, await add_clinic(resources))
    sent = [await sandbox.submit_exam(customer=customer, captures=(), notify_times=0) for _ in range(4)]
    requests = sorted(UUID(one.request_uuid) for one in sent)
    # the later the request, the lower the id: who goes by requests meets who goes by ids half-way
    ids = [UUID(int=number) for number in (4, 3, 2, 1)]
    for exam_id, request in zip(ids, requests, strict=True):
        await add_exam(
            resources,
            id=exam_id,
            request_uuid=request,
            state=ExamState.WAITING,
            reason=Reason.RETRY,
            due_in=60 if request != requests[-1] else -1,
        )
        await add_claim(resources, exam_id, customer)
    work = await hold(resources, await reread(resources, ids[-1]))
    listed = [await listed_as(sandbox, request) for request in requests[:3]]
    async with resources.sessions.begin() as session:
        await session.execute(select(Exam).where(Exam.id == ids[1]).with_for_update())
        polling = asyncio.create_task(take_in(resources, listed))
        await until(lambda: first_waits(resources))
        looking = asyncio.create_task(verify(work))
        await until(lambda: both_wait(resources))
    await polling
    await looking
    assert [(await reread(resources, exam_id)).verified_at is not None for exam_id in ids] == [True] * 4


async def first_waits(resources: Resources) -> bool:
    return await waiting(resources) == 1


async def both_wait(resources: Resources) -> bool:
    return await waiting(resources) == 2


async def listed_as(sandbox: Sandbox, request: UUID) -> ExamNotice:
    return ExamNotice.model_validate(sandbox.submitted(str(request)).notification)


async def add_claim(resources: Resources, exam_id: UUID, customer: str) -> None:
    async with resources.sessions.begin() as session:
        session.add(
            Claim(
                exam_id=exam_id,
                customer_hash=await resources.hash_customer(customer),
                exam_uuid=uuid.uuid4(),
                download_url="https://cloud.example/1",
            )
        )


async def test_two_that_wake_and_move_many_exams_wait_for_each_other(resources: Resources) -> None:
    """Rows lie in one order in the table and in another by their ids; each statement goes by the ids."""
    clinic = await add_clinic(resources)
    ids = [UUID(int=number) for number in (3, 2, 1)]
    for exam_id in ids:
        await add_exam(
            resources,
            id=exam_id,
            organization_id=clinic.id,
            step=Step.MATCH,
            state=ExamState.WAITING,
            reason=Reason.PAUSED,
            staging_host="gone",
            due_in=60,
        )

    async def wake() -> None:
        async with resources.sessions.begin() as session:
            await wake_account(session, f"aurabox:{clinic.id}")

    async def forget() -> None:
        async with resources.sessions.begin() as session:
            await forget_staging(session, "gone")

    for one in (wake, forget):
        async with resources.sessions.begin() as session:
            await session.execute(select(Exam).where(Exam.id == ids[1]).with_for_update())
            going = asyncio.create_task(one())
            await until(lambda: first_waits(resources))
            # it has the lowest id, and stands before the middle one: the highest is still free
            async with resources.sessions.begin() as other:
                free = await other.scalars(select(Exam.id).with_for_update(skip_locked=True))
                assert list(free) == [ids[0]]
        await going
    async with resources.sessions() as session:
        moved = await session.scalar(
            select(func.count()).where(Exam.step == Step.DOWNLOAD, Exam.staging_host.is_(None))
        )
    assert moved == 3


async def test_removing_an_organisation_waits_for_a_link_of_it_that_is_being_confirmed(
    resources: Resources, sandbox: Sandbox
) -> None:
    clinic = await add_clinic(resources)
    token = sandbox.add_customer()
    exam = await add_exam(
        resources,
        state=ExamState.WAITING,
        reason=Reason.LINK,
        due_in=None,
        customer_hash=await resources.hash_customer(token),
    )
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(verified_at=exam.received_at))
    link = await start_link(resources, token=token, organization_id=clinic.id, user_id=None, by=By("test"))
    async with resources.sessions.begin() as session:
        await session.execute(select(Exam).where(Exam.id == exam.id).with_for_update())
        confirming = asyncio.create_task(run_link(resources, link.id))
        await until(lambda: first_waits(resources))
        removing = asyncio.create_task(remove_organization(resources, str(clinic.id), by=By("test")))
        await until(lambda: both_wait(resources))
    assert await confirming
    with pytest.raises(Misuse, match="under way"):
        await removing
    async with resources.sessions() as session:
        assert (await session.get_one(Link, link.id)).state == LinkState.CONFIRMED
    assert (await reread(resources, exam.id)).organization_id == clinic.id
