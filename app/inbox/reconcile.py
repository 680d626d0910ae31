"""Finds what no webhook told us: reads the poll API newest first until what it lists is surely known (C1).

What Clarius lists is verified by that: the poll is the truth, also for a request that we know only as a claim.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.clarius import ExamNotice
from app.faultpoints import fault_point
from app.inbox.reading import RUN, Reading, ReadingUnderWay, Stretch, open_reading, pages_of
from app.inbox.receive import Notification
from app.observing.logs import current_request_id
from app.resources import Resources
from app.states import ExamState, Reason, Source, Step
from app.store.base import clock, now
from app.store.claims import end_claims
from app.store.exam_events import record_event
from app.store.exams import Exam, lock_exams, move, settle_verified
from app.store.links import confirmed_links
from app.store.runs import recording
from app.upstreams.gate import calling

log = structlog.get_logger(__name__)

MAX_PAGES = 1000
# how long a person who asks for a reading waits for the one that is under way, and how often it is looked for
WAIT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.2

Ring = tuple[UUID, int]


@dataclass
class _Listed:
    """One exam on a page; `is_new` when its row is."""

    notice: ExamNotice
    claim: Notification
    customer: bytes
    linked: bool
    is_new: bool = False


async def reconcile_when_due(resources: Resources) -> dict[str, int] | None:
    """Reconcile if the last run began at least CLARIUS_POLL_INTERVAL ago and nobody is at it; None otherwise."""
    reading = await open_reading(resources, every=resources.settings.clarius_poll_interval)
    return await _reconcile(resources, reading) if reading is not None else None


async def reconcile(resources: Resources, *, wait: float = WAIT_SECONDS) -> dict[str, int]:
    """Take in what is new: `{looked_at, new}`, after whoever is just reading the list, for `wait` seconds at most.

    Raises ReadingUnderWay when somebody reads for longer, and from the error tree, after recording the failure.
    """
    began = time.monotonic()
    while (reading := await open_reading(resources)) is None:
        if time.monotonic() - began >= wait:
            raise ReadingUnderWay("Clarius's list is just being read: look at its result in a moment")
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return await _reconcile(resources, reading)


async def _reconcile(resources: Resources, reading: Reading) -> dict[str, int]:
    result = {"looked_at": 0, "new": 0}
    try:
        async with recording(resources.sessions, RUN) as run:
            async with calling(resources, AccountKind.CLARIUS):
                fault_point("reconcile:before_poll")
                await _read(resources, reading, result)
                fault_point("reconcile:after_poll")
            run.result = result
    finally:
        await reading.close()
    log.info("reconciled", looked_at=result["looked_at"], new=result["new"])
    return result


async def _read(resources: Resources, reading: Reading, result: dict[str, int]) -> None:
    """What an earlier reading left, and then the list from the top to where the last good reading began."""
    clarius = await resources.clarius()
    pages = 0
    if reading.left is not None:
        # what is newest must not wait for a long history
        async for page in clarius.accessible_exam_pages():
            await _take(resources, page, result)
            break
        pages = await _read_stretch(resources, reading, reading.left, pages, result)
    if pages < MAX_PAGES:
        await _read_stretch(resources, reading, await reading.top(), pages, result)


async def _read_stretch(
    resources: Resources, reading: Reading, stretch: Stretch, pages: int, result: dict[str, int]
) -> int:
    """Read a stretch to its end, noting each page, until `MAX_PAGES` were read in all; how many were."""
    clarius = await resources.clarius()
    async for reached, page in pages_of(clarius, stretch):
        new = await _take(resources, page, result)
        pages += 1
        if not new and reached.ends_with(page):
            break
        await reading.note(reached)
        if pages >= MAX_PAGES:
            return pages
    await reading.done(stretch)
    return pages


async def _take(resources: Resources, page: Sequence[ExamNotice], result: dict[str, int]) -> int:
    new = await take_in(resources, page)
    result["looked_at"] += len(page)
    result["new"] += new
    return new


async def take_in(resources: Resources, page: Sequence[ExamNotice], *, source: Source = Source.POLL) -> int:
    """Take in what Clarius lists on one page; how many were not known as verified before."""
    hashes = [await resources.hash_customer(notice.customer_id) for notice in page]
    rings: list[Ring] = []
    new = 0
    async with resources.sessions.begin() as session:
        links = await confirmed_links(session, hashes)
        verified_uuids = set(
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
            if notice.request_uuid not in verified_uuids and (claim := _usable(notice)) is not None
        ]
        for listing in listed:
            listing.is_new = (
                await _insert_exam(session, listing.claim, linked=listing.linked, source=source) is not None
            )
        for exam, listing in await _locked(session, listed):
            if not await _settle(session, exam, listing):
                continue
            new += 1
            if listing.linked and exam.state == ExamState.QUEUED:
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
    for listing in listed:
        # listed twice on a page: the first is the one that was inserted
        by_request.setdefault(listing.notice.request_uuid, listing)
    ids = await session.scalars(select(Exam.id).where(Exam.request_uuid.in_(by_request)))
    return [(exam, by_request[exam.request_uuid]) for exam in await lock_exams(session, ids.all())]


async def _settle(session: AsyncSession, exam: Exam, listing: _Listed) -> bool:
    """Write what Clarius's list says of an exam; False when that was known."""
    if not listing.is_new and exam.verified_at is not None:
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
        at=await clock(session),
        customer_hash=listing.customer,
        exam_uuid=listing.notice.exam_uuid,
        download_url=listing.notice.download_url,
        submitted_at=listing.claim.submitted_at,
    )
    if not listing.is_new:
        await _overrule(session, exam, linked=listing.linked)
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


async def _insert_exam(
    session: AsyncSession, notice: Notification, *, linked: bool, source: Source
) -> UUID | None:
    """Insert the request as queued (`linked`) or waiting for a link; None when it is there already."""
    state = ExamState.QUEUED if linked else ExamState.WAITING
    inserted = await session.execute(
        insert(Exam)
        .values(
            request_uuid=notice.request_uuid,
            exam_uuid=notice.exam_uuid,
            source=source,
            state=state,
            step=Step.VERIFY,
            reason=None if linked else Reason.LINK,
            due_at=now() if linked else None,
            submitted_at=notice.submitted_at,
            trace=current_request_id(),
        )
        .on_conflict_do_nothing(index_elements=[Exam.request_uuid])
        .returning(Exam.id)
    )
    exam_id = inserted.scalar_one_or_none()
    if exam_id is not None:
        await record_event(session, exam_id, step=Step.VERIFY, event="received", detail=str(source))
    return exam_id
