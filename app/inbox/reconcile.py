"""Finds what no webhook told us: reads the poll API newest first until what it lists is surely known (C1).

What Clarius lists is verified by that: the poll is the truth, also for a request that we know only as a claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.clarius import ExamNotice
from app.faultpoints import fault_point
from app.gate import calling
from app.inbox.receive import Notification, insert_exam
from app.resources import Resources
from app.states import ExamState, Reason, Source, Step
from app.store.base import clock, now
from app.store.claims import end_claims
from app.store.exams import Exam, lock_exams, move, settle_verified
from app.store.links import confirmed_links
from app.store.runs import begin_run, end_run, last_run

log = structlog.get_logger(__name__)

RUN = "reconcile"
MAX_PAGES = 1000
# how much further back than the last good run a reading goes: Clarius lists an exam some time after its submission
OVERLAP = timedelta(minutes=10)

Ring = tuple[UUID, int]


@dataclass
class _Listed:
    """One exam on a page; `made` when its row is new."""

    notice: ExamNotice
    claim: Notification
    customer: bytes
    linked: bool
    made: bool = False


async def reconcile_when_due(resources: Resources) -> dict[str, int] | None:
    """Reconcile if the last run began at least CLARIUS_POLL_INTERVAL ago, whoever made it; None otherwise."""
    async with resources.sessions.begin() as session:
        ours = await begin_run(session, RUN, every=resources.settings.clarius_poll_interval)
    return await reconcile(resources) if ours else None


async def reconcile(resources: Resources) -> dict[str, int]:
    """Take in what is new: `{looked_at, new}`. Raises from the error tree, after recording the failure."""
    async with resources.sessions.begin() as session:
        last = await last_run(session, RUN)
        back_to = last.finished_at - OVERLAP if last is not None and last.finished_at is not None else None
        await begin_run(session, RUN, every=0)
    looked_at = new = 0
    try:
        async with calling(resources, "clarius"):
            fault_point("reconcile:before_poll")
            clarius = await resources.clarius()
            pages = 0
            async for page in clarius.accessible_exam_pages():
                taken = await take_in(resources, page)
                looked_at, new, pages = looked_at + len(page), new + taken, pages + 1
                if pages >= MAX_PAGES or (not taken and _reaches_back(page, back_to)):
                    break
            fault_point("reconcile:after_poll")
    except Exception as error:
        async with resources.sessions.begin() as session:
            await end_run(session, RUN, result=None, error=getattr(error, "code", type(error).__name__))
        raise
    result = {"looked_at": looked_at, "new": new}
    async with resources.sessions.begin() as session:
        await end_run(session, RUN, result=result)
    log.info("reconciled", looked_at=looked_at, new=new)
    return result


def _reaches_back(page: Sequence[ExamNotice], back_to: datetime | None) -> bool:
    """Whether a page that is known whole may end the reading: it lists exams from before the last good run.

    A known page alone does not prove that the older ones are: webhooks may have failed for an hour and come again
    since, and then the missed exams lie behind a page of known ones. Before there was any good run, all is read.
    """
    times = [notice.submitted_at for notice in page if notice.submitted_at is not None]
    return back_to is not None and (not times or min(times) < back_to)


async def take_in(resources: Resources, page: Sequence[ExamNotice], *, source: Source = Source.POLL) -> int:
    """Take in what Clarius lists on one page; how many were not known as verified before."""
    hashes = [await resources.hash_customer(notice.customer_id) for notice in page]
    rings: list[Ring] = []
    new = 0
    async with resources.sessions.begin() as session:
        links = await confirmed_links(session, hashes)
        known = set(
            await session.scalars(
                select(Exam.request_uuid).where(
                    Exam.request_uuid.in_([notice.request_uuid for notice in page]),
                    Exam.verified_at.is_not(None),
                )
            )
        )
        listed = [
            _Listed(notice, claim, customer, linked=customer in links)
            for notice, customer in sorted(
                zip(page, hashes, strict=True), key=lambda pair: pair[0].request_uuid
            )
            if notice.request_uuid not in known and (claim := _usable(notice)) is not None
        ]
        for one in listed:
            one.made = await insert_exam(session, one.claim, linked=one.linked, source=source) is not None
        for exam, one in await _locked(session, listed):
            if not await _settle(session, exam, one):
                continue
            new += 1
            if one.linked and exam.state == ExamState.QUEUED:
                rings.append((exam.id, exam.lease_epoch))
    for exam_id, epoch in rings[:100]:
        await resources.queue.ring("exam", exam_id, epoch)
    return new


def _usable(notice: ExamNotice) -> Notification | None:
    """What the notice says, as a webhook would say it; None when it can't be used."""
    try:
        return Notification.model_validate(notice.model_dump(include=set(Notification.model_fields)))
    except ValidationError:
        log.warning("listed_exam_not_usable", request_uuid=str(notice.request_uuid))
        return None


async def _locked(session: AsyncSession, listed: Sequence[_Listed]) -> list[tuple[Exam, _Listed]]:
    """The rows of what is listed, each there by now, locked in the order that all keep to (`app.store.exams`)."""
    by_request: dict[UUID, _Listed] = {}
    for one in listed:
        # listed twice on a page: the first is the one that was inserted
        by_request.setdefault(one.notice.request_uuid, one)
    ids = await session.scalars(select(Exam.id).where(Exam.request_uuid.in_(by_request)))
    return [(exam, by_request[exam.request_uuid]) for exam in await lock_exams(session, ids.all())]


async def _settle(session: AsyncSession, exam: Exam, one: _Listed) -> bool:
    """Write what Clarius's list says of an exam; False when that was known."""
    if not one.made and exam.verified_at is not None:
        # a worker's own look was quicker, perhaps by a whole delivery: there is nothing left to settle
        return False
    if exam.released_at is not None:
        # a person vouched for it before Clarius did: it is on its way under that word, and stays there
        exam.verified_at = await clock(session)
        await end_claims(session, [exam.id])
        return True
    await settle_verified(
        session,
        exam,
        customer_hash=one.customer,
        exam_uuid=one.notice.exam_uuid,
        download_url=one.notice.download_url,
        submitted_at=one.claim.submitted_at,
    )
    if not one.made:
        await _overrule(session, exam, linked=one.linked)
    return True


async def _overrule(session: AsyncSession, exam: Exam, *, linked: bool) -> None:
    """The request was known as a claim, perhaps a refuted one or another customer's: the poll settles it."""
    exam.step = Step.VERIFY
    if linked:
        exam.due_at = await session.scalar(now().select())
        if exam.state in {ExamState.WAITING, ExamState.UNVERIFIED}:
            await move(session, exam, ExamState.QUEUED, event="listed")
    elif exam.state == ExamState.UNVERIFIED:
        await move(session, exam, ExamState.WAITING, reason=Reason.LINK, event="listed")
