"""The lease on an exam: fenced writes, renewal, the heartbeat, and results recorded under it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.delivery.outcome import Done, GiveBack, Rest, Wait
from app.delivery.runner import record, run_exam
from app.delivery.work import LeaseLost, Work, heartbeat
from app.resources import Resources, open_resources
from app.settings import Settings
from app.states import ExamState, Reason, Step
from app.store.base import clock, in_seconds
from app.store.exams import Exam, StaleMove, claim_exam, move
from tests.support.exams import add_exam, history, hold, reread
from tests.support.linked import add_clinic
from tests.support.wait import until


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings.model_copy(update={"lease_seconds": 30})) as opened:
        yield opened


async def claim(resources: Resources, exam: Exam, *, host: str = "here") -> bool:
    async with resources.sessions.begin() as session:
        return await claim_exam(session, exam.id, owner="me", host=host, seconds=30) is not None


async def test_one_lease_at_a_time(resources: Resources) -> None:
    exam = await add_exam(resources)
    taken = await asyncio.gather(*(claim(resources, exam) for _ in range(10)))
    assert taken.count(True) == 1
    assert not await run_exam(resources, exam.id)


@pytest.mark.parametrize(
    "columns",
    [
        {"due_in": 60},
        {"due_in": None},
        {"state": ExamState.FAILED},
        {"state": ExamState.CANCELLED},
        {"state": ExamState.DELIVERED, "step": Step.CONFIRM},
        {"staging_host": "elsewhere"},
    ],
)
async def test_what_is_not_to_be_had(resources: Resources, columns: dict) -> None:
    assert not await claim(resources, await add_exam(resources, **columns))


async def test_an_organisation_runs_no_more_than_its_limit(resources: Resources) -> None:
    clinic = await add_clinic(resources, concurrency=2)
    exams = [await add_exam(resources, organization_id=clinic.id) for _ in range(3)]
    assert [await claim(resources, exam) for exam in exams] == [True, True, False]


async def test_writes_of_an_older_epoch_hit_nothing(resources: Resources) -> None:
    exam = await add_exam(resources)
    work = await hold(resources, exam)
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(lease_epoch=Exam.lease_epoch + 1))
    assert not await work.renew()
    with pytest.raises(LeaseLost):
        async with work.tx():
            raise AssertionError("the body of a fenced transaction ran")
    with pytest.raises(LeaseLost):
        await record(work, Step.VERIFY, Done())


@pytest.mark.parametrize("state", [ExamState.CANCELLED, ExamState.FAILED])
async def test_a_cancelled_exam_is_nobodys(resources: Resources, state: ExamState) -> None:
    exam = await add_exam(resources)
    work = await hold(resources, exam)
    async with resources.sessions.begin() as session:
        await move(session, await session.get_one(Exam, exam.id), state)
    assert not await work.renew()


ENDS = {
    "delivered": (Step.CONFIRM, Done(), ExamState.DELIVERED),
    "waits": (Step.VERIFY, Wait(Reason.RETRY, 60.0, counted=True), ExamState.WAITING),
    "rests": (Step.FETCH, Rest(ExamState.GONE, "gone", "gone"), ExamState.GONE),
    "given back": (Step.FETCH, GiveBack(5.0), ExamState.QUEUED),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_lease_that_was_given_back_stays_given_back(resources: Resources, end: str) -> None:
    """A heartbeat may be on its way while the last result is written; it must not lease the exam anew."""
    step, outcome, state = ENDS[end]
    clinic = await add_clinic(resources)
    work = await hold(resources, await add_exam(resources, step=step, organization_id=clinic.id))
    assert await record(work, step, outcome) is None
    assert not await work.renew()
    with pytest.raises(LeaseLost):
        await work.read()
    exam = await reread(resources, work.exam_id)
    assert (exam.state, exam.lease_until, exam.lease_owner) == (state, None, None)


async def test_a_counted_wait_uses_an_attempt_and_an_uncounted_one_does_not(resources: Resources) -> None:
    for counted in (True, False):
        work = await hold(resources, await add_exam(resources))
        await record(work, Step.VERIFY, Wait(Reason.RETRY, 60.0, counted=counted, code="x", message="y"))
        exam = await reread(resources, work.exam_id)
        assert (exam.attempts, exam.error_code) == (int(counted), "x")
        assert exam.due_at is not None


async def test_when_the_retry_budget_is_over_the_exam_fails_with_its_last_error(resources: Resources) -> None:
    exam = await add_exam(resources, attempts=50)
    async with resources.sessions.begin() as session:
        budget = timedelta(hours=resources.settings.retry_budget_hours, seconds=1)
        row = await session.get_one(Exam, exam.id)
        row.trying_since = await clock(session) - budget
    work = await hold(resources, exam)
    await record(work, Step.FETCH, Wait(Reason.RETRY, 5.0, counted=True, code="clarius_unavailable"))
    failed = await reread(resources, exam.id)
    assert (failed.state, failed.error_code, failed.due_at) == (ExamState.FAILED, "clarius_unavailable", None)


async def test_a_finished_step_forgets_its_troubles_and_goes_on(resources: Resources) -> None:
    exam = await add_exam(resources, attempts=3, deaths=2, error_code="x", error_message="y")
    work = await hold(resources, exam)
    assert await record(work, Step.VERIFY, Done("looked")) is Step.FETCH
    exam = await reread(resources, exam.id)
    assert (exam.attempts, exam.deaths, exam.error_code, exam.step) == (0, 0, None, Step.FETCH)
    assert exam.lease_until is not None
    assert await record(work, Step.FETCH, Done(), stop=True) is None
    assert (await reread(resources, exam.id)).state == ExamState.QUEUED
    assert "budget_over" in await history(resources, exam.id)


async def test_an_odd_move_is_refused_and_written_nowhere(resources: Resources) -> None:
    exam = await add_exam(resources)
    with pytest.raises(StaleMove):
        async with resources.sessions.begin() as session:
            await move(session, await session.get_one(Exam, exam.id), ExamState.DELIVERED)
    assert await history(resources, exam.id) == []


async def test_an_effect_that_nobody_registered_is_refused(resources: Resources) -> None:
    work = await hold(resources, await add_exam(resources))
    with pytest.raises(KeyError):
        async with work.effect("fetch:read_minds", "clarius"):
            raise AssertionError("an unregistered effect ran")


async def sleeping_body(work: Work, began: asyncio.Event) -> None:
    async with heartbeat(work):
        began.set()
        await asyncio.Event().wait()


async def test_the_heartbeat_keeps_the_lease_and_ends_the_body_when_it_is_lost(settings: Settings) -> None:
    async with open_resources(settings.model_copy(update={"lease_seconds": 1.5})) as resources:
        work = await hold(resources, await add_exam(resources))
        first = (await reread(resources, work.exam_id)).lease_until
        began = asyncio.Event()
        body = asyncio.create_task(sleeping_body(work, began))
        await began.wait()

        async def renewed() -> bool:
            return (await reread(resources, work.exam_id)).lease_until != first

        await until(renewed)
        async with resources.sessions.begin() as session:
            await session.execute(update(Exam).values(lease_epoch=Exam.lease_epoch + 1))
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(body, 30)


async def test_a_cancelled_body_is_cancelled_and_no_lease_is_lost(resources: Resources) -> None:
    work = await hold(resources, await add_exam(resources))
    began = asyncio.Event()
    body = asyncio.create_task(sleeping_body(work, began))
    await began.wait()
    body.cancel()
    with pytest.raises(asyncio.CancelledError):
        await body
    assert await work.renew()


async def test_leases_end_by_the_databases_clock(resources: Resources) -> None:
    """Row 22: what this host's clock says is never asked."""
    exam = await add_exam(resources)
    await hold(resources, exam)
    assert not await claim(resources, exam, host=resources.host)
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(lease_until=in_seconds(-0.001), state=ExamState.QUEUED))
    assert await claim(resources, exam, host=resources.host)
