"""Takes a notification: one bounded insert-or-ignore, commit, ring. Asks nobody and believes nothing."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.record import Moment
from app.faultpoints import fault_point
from app.observing.logs import current_request_id
from app.resources import Resources
from app.states import LEASABLE, ExamState, Reason, Step
from app.store.arrivals import COMMIT_SECONDS, Arrival, Fate
from app.store.base import now, ordered_uuid
from app.store.claims import add_claim, make_room_for
from app.store.exams import find_exam, move
from app.store.links import confirmed_links
from app.store.waking import wake_workers

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
    """What became of a claim; `wakes`: there is work for a worker."""

    verdict: Verdict
    wakes: bool = False


ACKNOWLEDGED = {
    Fate.QUEUED: Acknowledgement(Verdict.ACCEPTED, wakes=True),
    Fate.WAITING: Acknowledgement(Verdict.ACCEPTED),
    Fate.DUPLICATE: Acknowledgement(Verdict.DUPLICATE),
    Fate.FULL: Acknowledgement(Verdict.FULL),
}


async def receive(resources: Resources, claim: Notification) -> Acknowledgement:
    """Commit the claim, then ring. Raises the database's errors: nothing was promised then."""
    arrival = Arrival(
        id=ordered_uuid(),
        request_uuid=claim.request_uuid,
        exam_uuid=claim.exam_uuid,
        customer_hash=await resources.hash_customer(claim.customer_id),
        download_url=claim.download_url,
        submitted_at=claim.submitted_at,
        trace=current_request_id(),
    )
    fault_point("inbox:before_commit")
    receipt = None
    while receipt is None:
        fate = await resources.arrivals.put(arrival)
        receipt = ACKNOWLEDGED.get(fate) or await _beside(resources, arrival)
    fault_point("inbox:between_commit_and_ring")
    if receipt.wakes:
        resources.queue.ring_soon()
    return receipt


async def _beside(resources: Resources, arrival: Arrival) -> Acknowledgement | None:
    """A request we know of already: once verified a duplicate, before that perhaps another customer's claim.

    None when its row was deleted meanwhile: it is not known any more.
    """
    async with resources.sessions.begin() as session:
        await session.execute(text(f"SET LOCAL statement_timeout = {int(COMMIT_SECONDS * 1000)}"))
        linked = bool(await confirmed_links(session, [arrival.customer_hash]))
        exam = await find_exam(session, arrival.request_uuid, lock=True)
        if exam is None:
            return None
        if exam.verified_at is not None or exam.released_at is not None:
            return Acknowledgement(Verdict.DUPLICATE)
        if not await _keep_claim(session, exam.id, arrival, linked=linked):
            return Acknowledgement(Verdict.DUPLICATE)
        # A claim settles nothing: whatever the earlier one came to, this one is checked in its own right.
        if exam.state == ExamState.UNVERIFIED:
            await move(
                session,
                exam,
                ExamState.QUEUED if linked else ExamState.WAITING,
                reason=None if linked else Reason.LINK,
            )
            exam.step = Step.VERIFY
        wakes = linked and exam.state in LEASABLE
        if wakes:
            if exam.state == ExamState.WAITING:
                await move(session, exam, ExamState.QUEUED, event="claimed")
            exam.due_at = now()
            await wake_workers(session)
        return Acknowledgement(Verdict.ACCEPTED, wakes=wakes)


async def _keep_claim(session: AsyncSession, exam_id: UUID, arrival: Arrival, *, linked: bool) -> bool:
    """Whether the claim is kept: new, and one of the request's five. A linked customer's is, if need be in place of
    one by whom nobody is linked: five invented customers keep no true one waiting.
    """
    if linked:
        await make_room_for(session, exam_id=exam_id, customer_hash=arrival.customer_hash)
    return await add_claim(
        session,
        exam_id=exam_id,
        customer_hash=arrival.customer_hash,
        exam_uuid=arrival.exam_uuid,
        download_url=arrival.download_url,
    )
