"""The lease on an exam: fenced writes, renewal, the heartbeat, and results recorded under it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.config.settings import Settings
from app.delivery.outcome import Done, GiveBack, Rest, Wait
from app.delivery.runner import GIVE_BACKS_TO_FAIL, record, run_exam
from app.delivery.work import LeaseLost, Work, heartbeat
from app.resources import Resources, open_resources
from app.states import ExamState, Reason, Step
from app.store.base import in_seconds
from app.store.exam_leases import lease_exam
from app.store.exams import Exam, StaleMove, move
from tests.support.exams import add_exam, history, hold, reread
from tests.support.linked import add_clinic
from tests.support.wait import until


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings.model_copy(update={"lease_seconds": 30})) as opened:
        yield opened


async def claim(resources: Resources, exam: Exam, *, host: str = "here") -> bool:
    async with resources.sessions.begin() as session:
        return await lease_exam(session, exam.id, owner="me", host=host, seconds=30) is not None


async def test_one_lease_at_a_time(resources: Resources) -> None:
    exam = await add_exam(resources)
    taken = await asyncio.gather(*(claim(resources, exam) for _ in range(10)))
    assert taken.count(True) == 1
    assert not await run_exam(resources, exam.id)


async def test_no_epoch_is_given_twice(resources: Resources) -> None:
    """A whole turn of somebody else lies between what a session saw of the exam and its own claim."""
    exam = await add_exam(resources)
    async with resources.sessions.begin() as session:
        seen = await session.get_one(Exam, exam.id)
        assert seen.lease_epoch == 0
        work = await hold(resources, exam)
        await record(work, Step.VERIFY, GiveBack(0.0))
        await time_goes_by(resources, exam, minutes=1)
        claimed = await lease_exam(session, exam.id, owner="me", host="here", seconds=30)
    assert claimed is not None
    assert (work.epoch, claimed.epoch) == (1, 2)


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


async def time_goes_by(resources: Resources, exam: Exam, **delta: float) -> None:
    """Every moment noted at the exam's row moves into the past, as if so much time had gone by."""
    past = timedelta(**delta)
    async with resources.sessions.begin() as session:
        await session.execute(
            update(Exam)
            .where(Exam.id == exam.id)
            .values(due_at=Exam.due_at - past, trying_since=Exam.trying_since - past)
        )


HICCUP = Wait(Reason.RETRY, 0.0, counted=True, code="clarius_unavailable", message="503")
PAUSED = Wait(Reason.PAUSED, 0.0, code="account_paused", message="401")


async def test_when_the_retry_budget_is_over_the_exam_fails_with_its_last_error(resources: Resources) -> None:
    exam = await add_exam(resources, attempts=50)
    work = await hold(resources, exam)
    await record(work, Step.FETCH, HICCUP)
    work = await hold(resources, exam)
    await time_goes_by(resources, exam, hours=resources.settings.retry_budget_hours, seconds=1)
    await record(work, Step.FETCH, Wait(Reason.RETRY, 5.0, counted=True, code="clarius_unavailable"))
    failed = await reread(resources, exam.id)
    assert (failed.state, failed.error_code, failed.due_at) == (ExamState.FAILED, "clarius_unavailable", None)


@pytest.mark.row(44)
async def test_a_pause_uses_up_nothing_of_the_retry_budget(resources: Resources) -> None:
    """Fault row 44: trouble, four days of pause, trouble again is not 72 hours of trying."""
    exam = await add_exam(resources)
    await record(await hold(resources, exam), Step.FETCH, HICCUP)
    await record(await hold(resources, exam), Step.FETCH, PAUSED)
    await time_goes_by(resources, exam, days=4)
    await record(await hold(resources, exam), Step.FETCH, HICCUP)
    assert (await reread(resources, exam.id)).state == ExamState.WAITING


async def test_time_in_which_nobody_could_take_it_is_no_trying(resources: Resources) -> None:
    """No worker ran, or its organisation was at its limit: it was due and nobody tried."""
    exam = await add_exam(resources)
    await record(await hold(resources, exam), Step.FETCH, HICCUP)
    await time_goes_by(resources, exam, days=4)
    await record(await hold(resources, exam), Step.FETCH, HICCUP)
    assert (await reread(resources, exam.id)).state == ExamState.WAITING


@pytest.mark.row(44)
async def test_tries_on_both_sides_of_a_pause_add_up(resources: Resources) -> None:
    exam = await add_exam(resources)
    for _ in range(2):
        await record(await hold(resources, exam), Step.FETCH, HICCUP)
        work = await hold(resources, exam)
        await time_goes_by(resources, exam, hours=resources.settings.retry_budget_hours * 0.6)
        await record(work, Step.FETCH, PAUSED)
        assert (await reread(resources, exam.id)).state == ExamState.WAITING
    await record(await hold(resources, exam), Step.FETCH, HICCUP)
    assert (await reread(resources, exam.id)).state == ExamState.FAILED


async def test_what_no_host_can_do_fails_in_the_end_and_says_so(resources: Resources) -> None:
    exam = await add_exam(resources)
    given = GiveBack(0.0, "local_trouble", "this host met an OSError")
    for _ in range(GIVE_BACKS_TO_FAIL - 1):
        await record(await hold(resources, exam), Step.FETCH, given)
    assert (await reread(resources, exam.id)).state == ExamState.QUEUED
    await record(await hold(resources, exam), Step.FETCH, given)
    failed = await reread(resources, exam.id)
    assert (failed.state, failed.error_code, failed.due_at) == (ExamState.FAILED, "local_trouble", None)
    assert "OSError" in (failed.error_message or "")


async def test_each_kind_is_counted_apart_and_none_outlives_its_step(resources: Resources) -> None:
    exam = await add_exam(resources)
    work = await hold(resources, exam)
    assert [await work.count("refusals"), await work.count("looks"), await work.count("refusals")] == [
        1,
        1,
        2,
    ]
    await record(work, Step.VERIFY, Done())
    assert await work.count("refusals") == 1
    assert (await reread(resources, exam.id)).attempts == 0


async def test_a_finished_step_forgets_its_troubles_and_goes_on(resources: Resources) -> None:
    exam = await add_exam(
        resources, attempts=3, deaths=2, counts={"given_back": 4}, error_code="x", error_message="y"
    )
    work = await hold(resources, exam)
    assert await record(work, Step.VERIFY, Done("looked")) is Step.FETCH
    exam = await reread(resources, exam.id)
    assert (exam.attempts, exam.deaths, exam.error_code, exam.step) == (0, 0, None, Step.FETCH)
    assert (exam.counts, exam.tried_seconds) == ({}, 0.0)
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


@pytest.mark.row(22)
async def test_leases_end_by_the_databases_clock(resources: Resources) -> None:
    """Row 22: what this host's clock says is never asked."""
    exam = await add_exam(resources)
    await hold(resources, exam)
    assert not await claim(resources, exam, host=resources.host)
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(lease_until=in_seconds(-0.001), state=ExamState.QUEUED))
    assert await claim(resources, exam, host=resources.host)
