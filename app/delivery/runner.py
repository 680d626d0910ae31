"""Claims an exam, runs its steps until it rests, waits, or the time budget ends, and records each result."""

import asyncio
import random
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, select
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.config.sealing import CannotUnseal
from app.delivery.outcome import (
    FORBIDDEN,
    GIVEN_BACK,
    LOCAL_SECONDS,
    Done,
    GiveBack,
    Outcome,
    Rest,
    Wait,
    decide,
)
from app.delivery.pipeline import STEPS, following
from app.delivery.work import LeaseLost, Work, heartbeat
from app.errors import Forbidden, LocalTrouble, NotAllowed, SonobridgeError, upstream_words
from app.faultpoints import fault_point
from app.observing.metrics import attempts as attempts_metric
from app.observing.metrics import steps as steps_metric
from app.observing.tracing import span
from app.resources import Resources
from app.states import UNREADABLE, ExamState, Reason, Step, earlier
from app.store.audit import SYSTEM, audit
from app.store.base import clock, in_seconds
from app.store.captures import captures_of
from app.store.exam_events import record_event
from app.store.exam_leases import Lease, has_room, lease_exam, lease_nobodys
from app.store.exams import Exam, move
from app.store.filed import AS_FILED, pass_on
from app.store.studies import Study

log = structlog.get_logger(__name__)

# A job ends after the step in which this is over and goes on as a new one, so that deploys need not wait for it.
BUDGET_SECONDS = 60.0
GIVE_BACK_TRIES = 5
# A host's own trouble is over, or another host has the exam, long before: so often at one step, it is the exam.
GIVE_BACKS_TO_FAIL = 20


async def run_exam(resources: Resources, exam_id: UUID) -> bool:
    """Work on this exam if it is due and free. Never raises for the exam's own troubles; True when it was ours."""
    lease = await _lease(resources, exam_id)
    if lease is None:
        return False
    fault_point("runner:after_claim")
    if lease.trace is not None:
        # the id of the request that brought the exam is on every line about it, up to the delivery
        structlog.contextvars.bind_contextvars(request_id=lease.trace)
    work = Work(resources=resources, exam_id=exam_id, epoch=lease.epoch)
    try:
        async with heartbeat(work):
            await _run_steps(work, Step(lease.step))
    except LeaseLost:
        log.warning("lease_lost", lease_epoch=lease.epoch)
    except asyncio.CancelledError:
        await _give_back(work)
        raise
    except (SQLAlchemyError, OSError) as error:
        log.warning("database_trouble", error_type=type(error).__name__)
        await _give_back(work, seconds=LOCAL_SECONDS / 5)
    return True


async def _lease(resources: Resources, exam_id: UUID) -> Lease | None:
    owner, host, seconds = resources.worker_id, resources.host, resources.settings.lease_seconds
    async with resources.statements() as session:
        lease = await lease_nobodys(session, exam_id, owner=owner, host=host, seconds=seconds)
    if lease is not None:
        return lease
    async with resources.sessions.begin() as session:
        return await lease_exam(session, exam_id, owner=owner, host=host, seconds=seconds)


async def _run_steps(work: Work, step: Step) -> None:
    started = time.monotonic()
    going: Step | None = step
    while going is not None:
        began = time.perf_counter()
        with span(f"step {going}", row_id=str(work.exam_id)):
            outcome = await _attempt(work, going)
        steps_metric.labels(step=going, outcome=type(outcome).__name__.lower()).observe(
            time.perf_counter() - began
        )
        over = time.monotonic() - started > BUDGET_SECONDS
        going = await record(work, going, outcome, stop=over)


async def _attempt(work: Work, step: Step) -> Outcome:
    """Run one step; every error of its own becomes an outcome."""
    settings = work.resources.settings
    structlog.contextvars.bind_contextvars(step=str(step))
    try:
        return await STEPS[step](work)
    except CannotUnseal as error:
        return _cannot_unseal(work, error)
    except SonobridgeError as error:
        exam, counts = await _note_error(work, error)
        attempts_metric.labels(step=step, error=type(error).__name__).inc()
        log.info("step_not_done", code=error.code, error_type=type(error).__name__)
        return decide(
            error,
            attempts=exam.attempts,
            base=settings.retry_base_seconds,
            cap=settings.retry_cap_seconds,
            counts=counts,
        )
    except LeaseLost:
        raise
    except (ProgrammingError, IntegrityError, DataError) as error:
        return _our_mistake(step, error)
    except SQLAlchemyError:
        raise
    except OSError as error:
        log.warning("local_trouble", error_type=type(error).__name__)
        trouble = LocalTrouble(f"this host met a {type(error).__name__}")
        return decide(trouble, attempts=0, base=1, cap=1, counts=(await work.read()).counts)
    except Exception as error:  # noqa: BLE001 - whatever it is, a person sees it and the other exams go on
        return _our_mistake(step, error)


async def _note_error(work: Work, error: SonobridgeError) -> tuple[Exam, dict[str, int]]:
    """The exam and what was counted at its step before this error, which is noted beside it.

    The upstream's words are sealed; an address that our own rules refused is put into the audit trail.
    """
    words = upstream_words(error)
    async with work.tx() as (session, exam):
        exam.upstream_words_sealed = work.resources.seal_text(words) if words else None
        counts = dict(exam.counts)
        if isinstance(error, Forbidden):
            exam.count(FORBIDDEN)
        if isinstance(error, NotAllowed):
            await audit(
                session,
                by=SYSTEM,
                action="egress.refuse",
                subject=str(exam.request_uuid),
                result="refused",
                detail=error.message,
            )
        return exam, counts


def _our_mistake(step: Step, error: Exception) -> Rest:
    """A person must see it, and trying again would not mend it; the worker and the other exams go on."""
    log.error("step_broke", error_type=type(error).__name__, exc_info=error)
    return Rest(ExamState.FAILED, "internal", f"the step {step} met an unexpected {type(error).__name__}")


def _cannot_unseal(work: Work, error: CannotUnseal) -> Wait:
    """It waits, and whatever else shares the link or the organisation whose value it is; the account is not paused.

    An account whose own credentials can't be opened is paused where it is called (`app.upstreams.gate`).
    """
    log.warning("cannot_unseal", blame=str(error.blame))
    seconds = work.resources.settings.credentials_probe_seconds * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
    return Wait(Reason.PAUSED, seconds, code=f"{UNREADABLE}{error.blame}", message=error.message)


async def record(work: Work, step: Step, outcome: Outcome, *, stop: bool = False) -> Step | None:
    """Write what a step came to, fenced by the lease; the step to go on with at once, or None.

    With `stop` the exam is given back instead of going on.
    """
    if isinstance(outcome, Done) and not stop and (going := _goes_on(work, step, outcome)) is not None:
        if step is not Step.VERIFY:
            async with work.resources.statements() as session:
                await _pass_on(work, session, step, going, outcome)
            return going
        async with work.resources.sessions.begin() as session:
            # whose it is was not known when it was claimed
            if await has_room(session, work.organization_id, besides=work.exam_id):
                await _pass_on(work, session, step, going, outcome)
                return going
    return await _record(work, step, outcome, stop=stop)


def _goes_on(work: Work, step: Step, outcome: Done) -> Step | None:
    """The step that follows when nothing else is to be written than that this one is done; else None."""
    if step in {Step.CONFIRM, Step.REPORT} or (outcome.to is not None and earlier(outcome.to, step) != step):
        return None
    if (step is Step.VERIFY and work.organization_id is None) or (step is Step.STUDY and work.policy is None):
        return None
    return outcome.to or following(step, work.policy)


async def _pass_on(work: Work, session: AsyncSession, step: Step, to: Step, outcome: Done) -> None:
    work.opened = await pass_on(
        session,
        work.exam_id,
        work.epoch,
        step=step,
        to=to,
        detail=outcome.detail,
        sets=outcome.sets,
        kind=outcome.kind,
    )
    if work.opened is None:
        raise LeaseLost


async def _record(work: Work, step: Step, outcome: Outcome, *, stop: bool) -> Step | None:
    ring = False
    going: Step | None = None
    async with work.rows(AS_FILED, locked=True) as (session, row):
        exam: Exam = row.Exam
        if isinstance(outcome, Done):
            going = await _record_done(session, row, step, outcome)
            ring = going is None and exam.due_at is not None
            if going is not None and step is Step.VERIFY and not await _has_turn(session, exam):
                # whose it is was not known when it was claimed; the loop brings it back when there is room
                await _queue_again(session, exam, event="turn_waited_for")
                going = None
            elif going is not None and stop:
                await _queue_again(session, exam, event="budget_over")
                going, ring = None, True
        elif isinstance(outcome, Wait):
            await _record_wait(session, exam, outcome, work)
        elif isinstance(outcome, GiveBack):
            await _record_give_back(session, exam, outcome)
        else:
            await _record_rest(session, exam, outcome)
        if going is None:
            work.given_back = True
            exam.lease_owner = exam.lease_until = None
        epoch = exam.lease_epoch
        state = exam.state
    if going is None:
        log.info("exam_rests", state=state, epoch=epoch)
        if state == ExamState.DELIVERED:
            await _tidy(work)
        elif state == ExamState.GONE:
            # Clarius has it no more, and what came of it is not half an exam that anybody wants
            await work.resources.staging.discard(work.exam_id)
    if ring:
        await work.resources.queue.ring("exam", work.exam_id, epoch)
    return going


async def _tidy(work: Work) -> None:
    """Delivered: what was made from the captures goes at once, the captures when their retention time is over."""
    if work.resources.settings.capture_retention_hours == 0:
        await work.resources.staging.discard(work.exam_id)
    else:
        await work.resources.staging.discard_made(work.exam_id)


async def _record_done(session: AsyncSession, row: Row[Any], step: Step, outcome: Done) -> Step | None:
    exam: Exam = row.Exam
    await record_event(session, exam.id, step=step, event="done", detail=outcome.detail)
    exam.begin_anew()
    for name, value in outcome.sets.items():
        setattr(exam, name, value)
    if outcome.kind is not None and row.Filing is not None:
        row.Filing.kind = outcome.kind
    # that of its filing; its organisation's before that, None while nobody knows whose it is
    following_step = outcome.to or following(step, row.Policy or row.Organization)
    # confirm may send it back instead: what was there is not there any more
    delivered = step is Step.CONFIRM and outcome.to is None
    if delivered:
        await _record_delivery(session, exam, at=row.at)
    if following_step is None:
        exam.due_at = None
        return None
    exam.step = following_step
    if delivered:
        # the receipt is its own run: whatever becomes of it, the exam is delivered
        exam.due_at = row.at
        return None
    return following_step


async def _has_turn(session: AsyncSession, exam: Exam) -> bool:
    return exam.organization_id is None or await has_room(session, exam.organization_id, besides=exam.id)


async def _record_delivery(session: AsyncSession, exam: Exam, *, at: datetime) -> None:
    if exam.state != ExamState.DELIVERED:
        await move(session, exam, ExamState.DELIVERED)
    exam.delivered_at = at
    exam.staging_host = None
    study = await session.get(Study, exam.study_id) if exam.study_id else None
    # what is written of the exam is written once, at the end
    with session.no_autoflush:
        captures = await captures_of(session, exam.id)
    what = ", ".join(f"{capture.sha256}:{capture.bytes}" for capture in captures if capture.sha256)
    await audit(
        session,
        by=SYSTEM,
        action="exam.deliver",
        subject=str(exam.request_uuid),
        detail=f"study {study.remote_id if study else None}; {what}",
    )


async def _record_wait(session: AsyncSession, exam: Exam, wait: Wait, work: Work) -> None:
    at = await clock(session)
    exam.error_code, exam.error_message = wait.code, wait.message
    if wait.counted:
        exam.attempts += 1
        if exam.start_clock(at) > work.resources.settings.retry_budget_hours * 3600:
            await _record_rest(
                session,
                exam,
                Rest(ExamState.FAILED, wait.code or "retries_over", wait.message or "tried for too long"),
            )
            return
    else:
        exam.stop_clock(at)
    exam.due_at = at + timedelta(seconds=wait.seconds) if wait.seconds is not None else None
    if exam.state != ExamState.DELIVERED:
        await move(session, exam, ExamState.WAITING, reason=wait.reason, detail=wait.code)


async def _record_give_back(session: AsyncSession, exam: Exam, outcome: GiveBack) -> None:
    """Queued again; but what no host can do so many times is the exam's own trouble, and a person sees it."""
    if exam.count(GIVEN_BACK) >= GIVE_BACKS_TO_FAIL:
        message = f"{outcome.message}, {GIVE_BACKS_TO_FAIL} times at the step {exam.step}"
        await _record_rest(session, exam, Rest(ExamState.FAILED, outcome.code, message))
        return
    exam.stop_clock(await clock(session))
    await _queue_again(session, exam, event="given_back", seconds=outcome.seconds)


async def _record_rest(session: AsyncSession, exam: Exam, rest: Rest) -> None:
    exam.error_code, exam.error_message = rest.code, rest.message
    exam.due_at = None
    if exam.state == ExamState.DELIVERED:
        exam.report_state = "unclear" if rest.code == "receipt_unclear" else "failed"
        await record_event(session, exam.id, step=exam.step, event="report_failed", detail=rest.code)
        return
    await move(session, exam, rest.state, reason=rest.reason, detail=rest.code)


async def _queue_again(session: AsyncSession, exam: Exam, *, event: str, seconds: float = 0.0) -> None:
    exam.due_at = await session.scalar(select(in_seconds(seconds)))
    if exam.state == ExamState.DELIVERED:
        return
    await move(session, exam, ExamState.QUEUED, event=event)


async def _give_back(work: Work, *, seconds: float = 0.0) -> None:
    """Return the lease although the step did not end, to be worked on again in `seconds`; tried for a while, since it
    may be the database that is away.

    When it can't be returned the lease runs out and the sweep finds it.
    """
    for tried in range(GIVE_BACK_TRIES):
        try:
            async with work.tx() as (session, exam):
                await _queue_again(
                    session, exam, event="given_back", seconds=seconds if tried == 0 else LOCAL_SECONDS / 5
                )
                exam.lease_owner = exam.lease_until = None
        except LeaseLost:
            return
        except (SQLAlchemyError, OSError):
            await asyncio.sleep(min(5.0, 0.2 * 2**tried) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        else:
            return
