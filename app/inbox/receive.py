"""Takes a notification: one bounded insert-or-ignore, commit, ring. Asks nobody and believes nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import func, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.record import Moment
from app.faultpoints import fault_point
from app.observing.logs import current_request_id
from app.resources import Resources
from app.states import LEASABLE, ExamState, Reason, Source, Step
from app.store.base import now
from app.store.claims import add_claim, make_room_for
from app.store.exam_events import record_event
from app.store.exams import Exam, find_exam, move
from app.store.links import confirmed_links

COMMIT_SECONDS = 2.0
WAKE_CHANNEL = "sonobridge_wake"


# PostgreSQL holds no NUL in a text
NO_NUL = r"^[^\x00]*$"
# outside of these years some time zone's clock leaves the calendar
FIRST_YEAR, LAST_YEAR = 1970, 9000


def _plausible(at: datetime | None) -> datetime | None:
    return at if at is not None and FIRST_YEAR <= at.year <= LAST_YEAR else None


class Notification(BaseModel):
    """What Clarius posts (docs/vendors.md, "Clarius: notifications"). Unknown fields are ignored.

    When it was submitted is read as the poll reads it, and is nobody's need: what is no moment is left out.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    request_uuid: UUID
    exam_uuid: UUID
    customer_id: str = Field(min_length=1, max_length=255, pattern=NO_NUL)
    download_url: str = Field(min_length=1, max_length=2048, pattern=NO_NUL)
    submitted_at: Annotated[Moment, AfterValidator(_plausible)] = None


class Verdict(StrEnum):
    """What became of a claim; `full` was not taken."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    FULL = "full"


@dataclass(frozen=True)
class Acknowledgement:
    """What became of a claim; `ring` names the exam to wake a worker for, if there is anything to do.

    `made`: the request was not known before.
    """

    verdict: Verdict
    ring: tuple[UUID, int] | None = None
    made: bool = False


async def receive(resources: Resources, claim: Notification) -> Acknowledgement:
    """Commit the claim, then ring. Raises the database's errors: nothing was promised then."""
    customer = await resources.hash_customer(claim.customer_id)
    async with _place(resources) as place, resources.sessions() as session:
        await session.execute(text(f"SET LOCAL statement_timeout = {int(COMMIT_SECONDS * 1000)}"))
        receipt = await _insert(session, claim, customer, place=place)
        fault_point("inbox:before_commit")
        await session.commit()
        place.used = receipt.made
    fault_point("inbox:between_commit_and_ring")
    if receipt.ring is not None:
        await resources.queue.ring("exam", *receipt.ring)
    return receipt


@dataclass
class _Place:
    """Room for one more row that waits for a link; `used` once the row is committed."""

    resources: Resources
    taken: bool = False
    used: bool = False

    async def take(self, session: AsyncSession) -> bool:
        limit = self.resources.settings.max_unverified
        self.taken = await self.resources.room.take(session, limit=limit)
        return self.taken


@asynccontextmanager
async def _place(resources: Resources) -> AsyncIterator[_Place]:
    place = _Place(resources)
    try:
        yield place
    finally:
        if place.taken and not place.used:
            resources.room.give_back()


async def _insert(
    session: AsyncSession, claim: Notification, customer: bytes, *, place: _Place
) -> Acknowledgement:
    linked = bool(await confirmed_links(session, [customer]))
    exam = await find_exam(session, claim.request_uuid, lock=True)
    if exam is None:
        if not linked and not await place.take(session):
            return Acknowledgement(Verdict.FULL)
        made = await insert_exam(session, claim, linked=linked)
        if made:
            await _keep_claim(session, made, claim, customer, linked=linked)
            return replace(await _accepted(session, made, ring=linked), made=True)
        # another process inserted it between our look and our insert: ours is a claim beside it
        exam = await find_exam(session, claim.request_uuid, lock=True)
        if exam is None:
            raise RuntimeError("an exam that was in the way of an insert is gone")
    return await _beside(session, exam, claim, customer, linked=linked)


async def _beside(
    session: AsyncSession, exam: Exam, claim: Notification, customer: bytes, *, linked: bool
) -> Acknowledgement:
    """A request we know of already: once verified a duplicate, before that perhaps another customer's claim."""
    if exam.verified_at is not None or exam.released_at is not None:
        return Acknowledgement(Verdict.DUPLICATE)
    if not await _keep_claim(session, exam.id, claim, customer, linked=linked):
        return Acknowledgement(Verdict.DUPLICATE)
    # A claim settles nothing: whatever the earlier one came to, this one is checked in its own right.
    if exam.state == ExamState.UNVERIFIED:
        await move(
            session,
            exam,
            ExamState.QUEUED if linked else ExamState.WAITING,
            reason=None if linked else "link",
        )
        exam.step = Step.VERIFY
    if linked and exam.state in LEASABLE:
        if exam.state == ExamState.WAITING:
            await move(session, exam, ExamState.QUEUED, event="claimed")
        exam.due_at = now()
        return await _accepted(session, exam.id, ring=True, epoch=exam.lease_epoch)
    return await _accepted(session, exam.id, ring=False)


async def insert_exam(
    session: AsyncSession,
    notice: Notification,
    *,
    linked: bool,
    source: Source = Source.WEBHOOK,
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


async def _keep_claim(
    session: AsyncSession, exam_id: UUID, claim: Notification, customer: bytes, *, linked: bool
) -> bool:
    """Whether the claim is kept: new, and one of the request's five. A linked customer's is, if need be in place of
    one by whom nobody is linked: five invented customers keep no true one waiting.
    """
    if linked:
        await make_room_for(session, exam_id=exam_id, customer_hash=customer)
    return await add_claim(
        session,
        exam_id=exam_id,
        customer_hash=customer,
        exam_uuid=claim.exam_uuid,
        download_url=claim.download_url,
    )


async def _accepted(session: AsyncSession, exam_id: UUID, *, ring: bool, epoch: int = 0) -> Acknowledgement:
    if not ring:
        return Acknowledgement(Verdict.ACCEPTED)
    await session.execute(func.pg_notify(WAKE_CHANNEL, "exam").select())
    return Acknowledgement(Verdict.ACCEPTED, ring=(exam_id, epoch))
