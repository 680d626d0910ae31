"""The sweep: leases that ran out, poison, what waits for a link that is there, bytes on hosts that are gone, rings."""

import pytest
from sqlalchemy import update

from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.base import in_seconds
from app.store.claims import add_claim
from app.store.exam_leases import due_exams
from app.store.exams import Exam
from app.store.workers import HOST_GONE_SECONDS, Worker, beat
from app.upkeep.sweep import DEATHS_TO_POISON, ring_due, sweep
from tests.support.exams import add_exam, history, hold, reread
from tests.support.linked import add_clinic, add_link


async def lease_runs_out(resources: Resources) -> None:
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(lease_until=in_seconds(-1)))


async def test_a_lease_that_ran_out_is_taken_back_and_fenced(resources: Resources) -> None:
    exam = await add_exam(resources, step=Step.FETCH)
    work = await hold(resources, exam)
    assert (await sweep(resources))["taken_back"] == 0
    await lease_runs_out(resources)
    assert (await sweep(resources))["taken_back"] == 1
    back = await reread(resources, exam.id)
    assert (back.state, back.step, back.deaths, back.lease_owner) == (ExamState.QUEUED, Step.FETCH, 1, None)
    assert back.lease_epoch > work.epoch
    assert not await work.renew()
    assert await history(resources, exam.id) == ["lease_expired"]


async def test_the_third_death_is_poison(resources: Resources) -> None:
    exam = await add_exam(resources, step=Step.FETCH)
    for _ in range(DEATHS_TO_POISON):
        await hold(resources, exam)
        await lease_runs_out(resources)
        await sweep(resources)
    dead = await reread(resources, exam.id)
    assert (dead.state, dead.error_code, dead.due_at) == (ExamState.FAILED, "poison", None)


async def test_a_delivery_is_not_undone_by_deaths_over_its_receipt(resources: Resources) -> None:
    exam = await add_exam(resources, state=ExamState.DELIVERED, step=Step.REPORT)
    for _ in range(DEATHS_TO_POISON):
        await hold(resources, exam)
        await lease_runs_out(resources)
        await sweep(resources)
    kept = await reread(resources, exam.id)
    assert (kept.state, kept.due_at) == (ExamState.DELIVERED, None)


@pytest.mark.parametrize("verified", [True, False])
async def test_who_waits_for_a_link_that_is_there_is_released(resources: Resources, verified: bool) -> None:
    """It was put to wait at the very moment in which the link was confirmed, so the confirming did not see it."""
    customer = "a-customer-of-clarius"
    clinic = await add_clinic(resources)
    await add_link(resources, customer, clinic)
    customer_hash = await resources.hash_customer(customer)
    exam = await add_exam(
        resources,
        state=ExamState.WAITING,
        reason=Reason.LINK,
        due_in=None,
        customer_hash=customer_hash if verified else None,
    )
    async with resources.sessions.begin() as session:
        if not verified:
            await add_claim(
                session,
                exam_id=exam.id,
                customer_hash=customer_hash,
                exam_uuid=exam.exam_uuid,
                download_url="https://cloud.example/1",
            )
    stranger = await add_exam(resources, state=ExamState.WAITING, reason=Reason.LINK, due_in=None)
    await sweep(resources)
    assert (await reread(resources, exam.id)).state == ExamState.QUEUED
    assert (await reread(resources, stranger.id)).state == ExamState.WAITING


@pytest.mark.parametrize(
    ("step", "then"),
    [
        (Step.DOWNLOAD, Step.DOWNLOAD),
        (Step.MATCH, Step.DOWNLOAD),
        (Step.SEND, Step.DOWNLOAD),
        (Step.CONFIRM, Step.CONFIRM),
    ],
)
async def test_bytes_on_a_host_that_is_gone_are_given_up(
    resources: Resources, step: Step, then: Step
) -> None:
    async with resources.sessions.begin() as session:
        await beat(session, "gone-host:1:x", "gone-host")
        await session.execute(
            update(Worker)
            .where(Worker.host == "gone-host")
            .values(heartbeat_at=in_seconds(-HOST_GONE_SECONDS - 1))
        )
        await beat(session, "living-host:1:x", "living-host")
    gone = await add_exam(resources, step=step, staging_host="gone-host")
    elsewhere = await add_exam(resources, step=step, staging_host="living-host")
    await sweep(resources)
    moved = await reread(resources, gone.id)
    assert (moved.step, moved.staging_host) == (then, None)
    await hold(resources, gone)
    assert (await reread(resources, elsewhere.id)).staging_host == "living-host"


async def test_whatever_is_due_is_rung_and_nothing_else(resources: Resources) -> None:
    due = await add_exam(resources)
    await add_exam(resources, due_in=60)
    await add_exam(resources, state=ExamState.FAILED)
    leased = await add_exam(resources)
    await hold(resources, leased)
    assert await ring_due(resources) == 1
    async with resources.sessions() as session:
        assert [row_id for row_id, _ in await due_exams(session, limit=10)] == [due.id]


@pytest.mark.row(26)
async def test_organisations_take_turns(resources: Resources) -> None:
    busy, quiet = await add_clinic(resources, "Busy"), await add_clinic(resources, "Quiet")
    for _ in range(10):
        await add_exam(resources, due_in=-100, organization_id=busy.id)
    for _ in range(2):
        await add_exam(resources, due_in=-1, organization_id=quiet.id)
    async with resources.sessions() as session:
        first = [row_id for row_id, _ in await due_exams(session, limit=4)]
    owners = [(await reread(resources, row_id)).organization_id for row_id in first]
    assert owners.count(quiet.id) == 2


async def test_one_at_its_limit_stands_in_nobodys_way(resources: Resources) -> None:
    full = await add_clinic(resources, "Full", concurrency=2)
    other = await add_clinic(resources, "Other")
    exams = [await add_exam(resources, due_in=-100, organization_id=full.id) for _ in range(4)]
    await hold(resources, exams[0])
    waiting = await add_exam(resources, due_in=-1, organization_id=other.id)
    async with resources.sessions() as session:
        due = [row_id for row_id, _ in await due_exams(session, limit=10)]
    assert waiting.id in due
    assert len(due) == 2
    await hold(resources, exams[1])
    async with resources.sessions() as session:
        assert [row_id for row_id, _ in await due_exams(session, limit=1)] == [waiting.id]


async def test_bytes_on_another_host_stand_in_nobodys_way(resources: Resources) -> None:
    elsewhere = await add_exam(resources, due_in=-100, staging_host="elsewhere")
    here = await add_exam(resources, due_in=-1, staging_host="here")
    async with resources.sessions() as session:
        assert [row_id for row_id, _ in await due_exams(session, limit=1, host="here")] == [here.id]
        assert {row_id for row_id, _ in await due_exams(session, limit=2)} == {elsewhere.id, here.id}
