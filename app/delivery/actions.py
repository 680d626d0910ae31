"""What a person does with exams: retry, release, cancel, decide; each idempotent, audited, rung after commit.

One by one by request UUID, or all that a filter finds. None of it calls anything outside.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.decisions import LABELS, MENDED, RELEASES, apply_choice, ways_of
from app.errors import Misuse
from app.resources import Resources
from app.states import RESTING, STAGED_STEPS, ExamState, Reason, Step, states_with
from app.store.audit import By, audit
from app.store.base import clock
from app.store.captures import Capture
from app.store.claims import Claim
from app.store.exam_search import MOST, ExamFilter, count_exams, find_exams
from app.store.exams import Exam, StaleMove, cancel, move, wanted_exam
from app.store.filings import Choice, filing_of
from app.store.instances import forget_parts
from app.store.organizations import Organization

CAPTURES_MISSING = "captures_missing"

# what "all" means when no state is named: those that rest because a person has to do something
# a claim that Clarius does not list is vouched for one by one, or by a filter that names the state
IN_BULK = states_with(lambda traits: traits.bulk)

# by which name a decision says whom, or which study, it means
NAMED = ("remote", "subject", "study")

Do = Callable[[Resources, AsyncSession, Exam, By], Awaitable[bool]]
"""Does it in the caller's transaction; whether anything was changed. Raises Misuse."""
Progress = Callable[[int, int], None]
"""Called with how many were done and how many there are."""


@dataclass(frozen=True)
class Act:
    """What a person does with an exam, and its name in the audit trail."""

    action: str
    do: Do


@dataclass(frozen=True)
class Bulk:
    """`matched` exams were found by the filter, `done` of them were moved."""

    matched: int
    done: int


async def act_on(resources: Resources, request_uuid: UUID, act: Act, *, by: By) -> Exam:
    """Do it with one exam, audited, and wake a worker. Raises Misuse, also when there is no such exam."""
    async with resources.sessions.begin() as session:
        exam = await wanted_exam(session, request_uuid, lock=True)
        changed = await _apply(resources, session, exam, act, by)
    if changed and exam.due_at is not None:
        await resources.queue.ring("exam", exam.id, exam.lease_epoch)
    return exam


async def act_on_matching(
    resources: Resources,
    selection: ExamFilter,
    act: Act,
    *,
    by: By,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Bulk:
    """Do it with all that the filter finds, each in a transaction of its own, so that a stop half-way leaves every one whole.

    With no state named, with failed ones and those in review. Those that need a decision of their own are left.
    """
    filters = [selection] if selection.state else [replace(selection, state=state) for state in IN_BULK]
    # read before anything is moved: an exam that comes back to rest meanwhile is not taken a second time
    ids: list[UUID] = []
    async with resources.sessions() as session:
        for exam_filter in filters if not dry_run else ():
            cursor: str | None = None
            while True:
                page, cursor = await find_exams(session, exam_filter, limit=MOST, cursor=cursor)
                ids += [exam.id for exam in page]
                if cursor is None:
                    break
        matched = (
            sum([await count_exams(session, exam_filter) for exam_filter in filters]) if dry_run else len(ids)
        )
    done = 0
    for position, exam_id in enumerate(ids, start=1):
        done += await _act_on_found(resources, exam_id, act, by)
        if progress is not None:
            progress(position, matched)
    return Bulk(matched=matched, done=done)


async def decide(
    resources: Resources,
    request_uuid: UUID,
    choice: Choice | str,
    *,
    by: By,
    subject: str | None = None,
) -> Exam:
    """Settle what an exam in review waits for, by one of its ways out (`app.delivery.decisions`).

    `subject`: whom `same` means, where several are asked about. The same decision twice is one. Raises Misuse for
    an unknown word or a choice that needs something, StaleMove for an exam that waits for no such decision.
    """
    try:
        chosen = Choice(choice)
    except ValueError:
        raise Misuse(f"decision: must be one of {', '.join(Choice)}") from None

    async def settle(resources: Resources, session: AsyncSession, exam: Exam, by: By) -> bool:
        filing = await filing_of(session, exam.id, exam.filing)
        decided = (filing.decision or {}).get("choice") if filing is not None else None
        if decided == chosen and exam.state != ExamState.REVIEW:
            return False
        await _settle(resources, session, exam, chosen, by=by, subject=subject)
        return True

    return await act_on(resources, request_uuid, Act(f"exam.decide.{chosen}", settle), by=by)


async def _settle(
    resources: Resources,
    session: AsyncSession,
    exam: Exam,
    choice: Choice,
    *,
    by: By,
    subject: str | None = None,
) -> None:
    at = await apply_choice(resources, session, exam, choice, by=by.actor, subject=subject)
    # the step confirm looks for this word when it finds something missing
    event = "released" if choice is Choice.WITHOUT_CAPTURES else f"decided_{choice}"
    await _go_on(session, exam, at=await _possible(session, exam, at), event=event)


async def _act_on_found(resources: Resources, exam_id: UUID, act: Act, by: By) -> bool:
    try:
        async with resources.sessions.begin() as session:
            exam = (await session.scalars(select(Exam).where(Exam.id == exam_id).with_for_update())).one()
            changed = await _apply(resources, session, exam, act, by)
    except Misuse:
        # moved on since it was found, or in need of a decision of its own
        return False
    if changed and exam.due_at is not None:
        await resources.queue.ring("exam", exam.id, exam.lease_epoch)
    return changed


async def _apply(resources: Resources, session: AsyncSession, exam: Exam, act: Act, by: By) -> bool:
    before = _where(exam)
    changed = await act.do(resources, session, exam, by)
    if changed:
        detail = f"was {before}{await _decided(session, exam, by)}"
        await audit(session, by=by, action=act.action, subject=str(exam.request_uuid), detail=detail)
    return changed


def _where(exam: Exam) -> str:
    """Where an exam stands, as the audit trail says what was before an act."""
    code = f" ({exam.error_code})" if exam.error_code else ""
    filed = f", filing {exam.filing}" if exam.filing is not None else ""
    return f"{exam.state}{code} at {exam.step}{filed}"


async def _decided(session: AsyncSession, exam: Exam, by: By) -> str:
    """What a decision made of the filing, if one was made: where to, and whom it was said to be."""
    filing = await filing_of(session, exam.id, exam.filing)
    if filing is None or not filing.decision or filing.decided_by != by.actor:
        return ""
    named = next((filing.decision[name] for name in NAMED if filing.decision.get(name)), None)
    whom = f", as {named}" if named else ""
    return f"; now filing {filing.number}: {filing.decision['choice']} for organisation {filing.organization_id}{whom}"


async def _retry(_resources: Resources, session: AsyncSession, exam: Exam, _by: By) -> bool:
    """Try again now. One that is queued, running, delivered or waits for a link is left as it is."""
    if exam.state == ExamState.DELIVERED:
        return await _retry_report(session, exam)
    if exam.state == ExamState.WAITING and exam.reason != Reason.LINK:
        exam.due_at = await clock(session)
        return True
    if exam.state not in RESTING:
        return False
    if exam.verified_at is None and exam.released_at is None:
        await _reopen_claims(session, exam)
    at = Step(exam.step)
    if exam.state == ExamState.REVIEW and exam.error_code == CAPTURES_MISSING:
        await forget_parts(session, exam.id)
        await session.execute(
            update(Capture)
            .where(Capture.exam_id == exam.id, Capture.problem_code.is_not(None))
            # without their addresses, so that the exam data is read first, for fresh ones
            .values(
                problem_code=None,
                problem_message=None,
                left_out=0,
                already_delivered=False,
                downloaded_at=None,
                missing_since=None,
                url_sealed=None,
            )
        )
        at = Step.DOWNLOAD
    await _go_on(session, exam, at=await _possible(session, exam, at), event="retried")
    return True


async def _retry_report(session: AsyncSession, exam: Exam) -> bool:
    """A delivered exam has nothing to retry but a receipt that did not get through."""
    if exam.step != Step.REPORT or exam.report_state != "failed":
        return False
    exam.report_state = None
    exam.begin_anew()
    exam.due_at = await clock(session)
    await move(session, exam, ExamState.DELIVERED, event="report_retried")
    return True


async def _release(resources: Resources, session: AsyncSession, exam: Exam, by: By) -> bool:
    """Vouch for what stopped it: unverified goes on without Clarius's word, review by its plain way out if it has one.

    A failed one is tried again. Raises Misuse (`decision_needed`) where a person has to say more (`decide`), and
    StaleMove for one that nothing stops.
    """
    if exam.state == ExamState.FAILED:
        return await _retry(resources, session, exam, by)
    if exam.state not in {ExamState.REVIEW, ExamState.UNVERIFIED}:
        if exam.released_at is not None:
            return False
        raise StaleMove(f"an exam that is {exam.state} has nothing to be released from")
    exam.released_at = await clock(session)
    if exam.state == ExamState.UNVERIFIED:
        await _go_on(session, exam, at=await _possible(session, exam, Step(exam.step)), event="released")
        return True
    choice = RELEASES.get(exam.error_code or "")
    if choice is None:
        raise Misuse(_decision_needed(exam), code="decision_needed")
    await _settle(resources, session, exam, choice, by=by)
    return True


def _decision_needed(exam: Exam) -> str:
    ways = ways_of(exam)
    if ways:
        return f"this exam waits for a decision: {', or '.join(LABELS[choice] for choice in ways)}"
    mend = MENDED.get(exam.error_code or "", "Try it again, or cancel it.")
    return f"there is nothing to vouch for here. {mend}"


async def _cancel(_resources: Resources, session: AsyncSession, exam: Exam, _by: By) -> bool:
    """Stop it for good; a worker that has it just now writes nothing any more. Raises StaleMove once delivered."""
    if exam.state == ExamState.CANCELLED:
        return False
    await cancel(session, exam)
    return True


async def _go_on(session: AsyncSession, exam: Exam, *, at: Step, event: str) -> None:
    """Queue it at a step with a clean slate. Raises StaleMove when its organisation was removed, keys and all."""
    organization = await session.get(Organization, exam.organization_id) if exam.organization_id else None
    if organization is not None and organization.removed_at is not None:
        raise StaleMove("its organisation was removed, so nothing more of it can be delivered")
    exam.step = at
    exam.begin_anew()
    exam.due_at = await clock(session)
    await move(session, exam, ExamState.QUEUED, event=event)


async def _possible(session: AsyncSession, exam: Exam, at: Step) -> Step:
    """The step itself, or an earlier one when retention took what it would need."""
    order = list(Step)
    if exam.exam_data_sealed is None and order.index(at) > order.index(Step.FETCH):
        return Step.FETCH
    if at not in STAGED_STEPS and at is not Step.DOWNLOAD:
        return at
    gone = await session.execute(
        update(Capture)
        .where(Capture.exam_id == exam.id, Capture.purged_at.is_not(None))
        .values(purged_at=None, downloaded_at=None)
        .returning(Capture.id)
    )
    return Step.DOWNLOAD if gone.scalars().all() else at


async def _reopen_claims(session: AsyncSession, exam: Exam) -> None:
    """What was claimed is checked with Clarius anew, for another whole verify window."""
    exam.first_look_at = None
    await session.execute(
        update(Claim).where(Claim.exam_id == exam.id).values(ended_at=None, first_look_at=None, looks=0)
    )


RETRY = Act("exam.retry", _retry)
RELEASE = Act("exam.release", _release)
CANCEL = Act("exam.cancel", _cancel)
