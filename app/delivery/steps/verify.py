"""Step verify: ask Clarius's poll API whether a claimed request exists and whose it is (C1).

One look at a customer's list serves every waiting request of that customer, so that a flood of forged claims
costs a bounded number of looks.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID

import structlog
from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.clarius import EXAMS_PER_PAGE, ExamNotice
from app.config.sealing import CannotUnseal
from app.config.settings import Settings
from app.delivery.holds import Hold
from app.delivery.outcome import Done, Outcome, Rest, Wait
from app.delivery.work import Work
from app.errors import Blame
from app.states import LEASABLE, ExamState, LinkState, Reason
from app.store.claims import Claim, open_claims
from app.store.exam_events import record_event
from app.store.exams import Exam, move, settle_verified
from app.store.holds import HoldKind
from app.store.links import Link, confirmed_links, end_look, take_look
from app.store.unsettled import lock_claimed, unverified_requests
from app.store.waking import wake_workers
from app.upstreams.gate import backoff

log = structlog.get_logger(__name__)

# A customer's list is read newest first until all that wait are found, and no further than this.
MAX_LOOK_PAGES = 50
SETTLING_SECONDS = 1.0
BETWEEN_LOOKS_SECONDS = 2.0
LOOK_CAP_SECONDS = 300.0

CLAIMED = (
    select(Exam, Claim, Link)
    .outerjoin(Claim, and_(Claim.exam_id == Exam.id, Claim.ended_at.is_(None)))
    .outerjoin(Link, and_(Link.customer_hash == Claim.customer_hash, Link.state == LinkState.CONFIRMED))
    .order_by(Claim.received_at, Claim.id)
)
"""An exam with each of its open claims, oldest first, and the confirmed link of the claim's customer."""

UNVERIFIED = Rest(
    ExamState.UNVERIFIED, "unverified", "Clarius does not list this request for the customer that was named"
)


async def verify(work: Work) -> Outcome:
    """Done when Clarius listed the request, or a person released it; the organisation is known then."""
    rows = await work.read_all(CLAIMED)
    if rows[0].Exam.verified_at is not None or rows[0].Exam.released_at is not None:
        return await _file(work)
    claims = [(row.Claim, row.Link) for row in rows if row.Claim is not None]
    if not claims:
        return UNVERIFIED
    if not any(link for _, link in claims):
        return Wait(Reason.LINK, None)
    covered = True
    unreadable: CannotUnseal | None = None
    for claim, link in claims:
        if link is None:
            continue
        try:
            look = await _look_once(work, link, claim)
            if look is Look.FOUND:
                return Done()
            covered = look is Look.COVERED and covered
        except CannotUnseal as error:
            if error.blame is not Blame.LINK:
                raise
            # another claim of the same request may be the true one
            unreadable = error
    outcome = await _after_looks(work, covered)
    if unreadable is not None and not isinstance(outcome, Done):
        raise unreadable
    return outcome


async def _file(work: Work) -> Outcome:
    """Clarius listed it before, or a person vouches for it: whose it is."""
    async with work.tx() as (session, exam):
        if exam.verified_at is not None:
            return await _file_under_link(session, exam, exam.customer_hash)
        return await _released(session, exam)


async def _file_under_link(session: AsyncSession, exam: Exam, customer: bytes | None) -> Outcome:
    """The organisation is that of the customer's link; without one the exam waits for it."""
    links = await confirmed_links(session, [customer] if customer else [])
    if customer is None or customer not in links:
        return Wait(Reason.LINK, None)
    exam.organization_id = links[customer].organization_id
    return Done()


async def _released(session: AsyncSession, exam: Exam) -> Outcome:
    """A person vouches for it: the first claim whose customer is linked counts, its URL included."""
    every = (
        await session.scalars(
            select(Claim).where(Claim.exam_id == exam.id).order_by(Claim.received_at, Claim.id)
        )
    ).all()
    links = await confirmed_links(session, [claim.customer_hash for claim in every])
    for claim in every:
        if claim.customer_hash in links:
            exam.organization_id = links[claim.customer_hash].organization_id
            exam.customer_hash = claim.customer_hash
            exam.download_url = claim.download_url
            return Done("released by a person")
    return Wait(Reason.LINK, None)


class Look(Enum):
    """What became of a look at a customer's list."""

    #: the exam is listed, and filed under the customer's link
    FOUND = auto()
    #: what the list says of the claim is written
    COVERED = auto()
    #: somebody else is looking, or looked before the claim came
    MISSED = auto()


async def _look_once(work: Work, link: Link, claim: Claim) -> Look:
    """Look at the customer's list unless somebody is looking or just did."""
    async with work.resources.statements() as session:
        look_taken = await take_look(
            session,
            link.id,
            seconds=work.resources.settings.lease_seconds,
            apart=min(BETWEEN_LOOKS_SECONDS, work.resources.settings.retry_base_seconds),
        )
    if look_taken is None:
        covered = link.looked_at is not None and link.looked_at >= claim.received_at
        return Look.COVERED if covered else Look.MISSED
    epoch, began = look_taken
    look = Hold(HoldKind.LOOK, link.id, epoch)
    try:
        with work.holds.also(look):
            listed = await _read_list(work, link)
    except BaseException:
        async with work.resources.statements() as session:
            await end_look(session, link.id, epoch=epoch, began=None)
        raise
    async with work.resources.sessions.begin() as session:
        now_linked = await end_look(session, link.id, epoch=epoch, began=began)
        if now_linked is None:
            raise look.lost()
        found, others = await _apply(session, work, link.customer_hash, listed, began, now_linked)
    if others:
        work.resources.queue.ring_soon()
    return Look.FOUND if found else Look.COVERED


def _token(work: Work, link: Link) -> str:
    try:
        return work.resources.unseal_text(link.token_sealed)
    except CannotUnseal:
        raise CannotUnseal(
            f"no sealing key opens the Clarius account that ends in {link.customer_hint}: its owner has to link it"
            " anew, or the missing key has to come back (SONOBRIDGE_SECRET_KEYS)",
            blame=Blame.LINK,
        ) from None


async def _read_list(work: Work, link: Link) -> dict[UUID, ExamNotice]:
    """What Clarius lists for the customer, by request, read until all that wait are found."""
    customer_id = _token(work, link)
    missing: AbstractSet[UUID] | None = None
    listed: dict[UUID, ExamNotice] = {}
    async with work.effect("verify:poll", AccountKind.CLARIUS):
        clarius = await work.resources.clarius()
        pages = 0
        async for page in clarius.accessible_exam_pages(customer_id=customer_id):
            listed.update(
                {notice.request_uuid: notice for notice in page if notice.customer_id == customer_id}
            )
            pages += 1
            if pages >= MAX_LOOK_PAGES:
                break
            if pages == 1 and len(page) < EXAMS_PER_PAGE:
                # the only one, as it seems: what it leaves out is not listed
                continue
            if missing is None:
                async with work.resources.statements() as session:
                    missing = await unverified_requests(session, link.customer_hash)
            if missing <= listed.keys():
                break
    return listed


async def _apply(
    session: AsyncSession,
    work: Work,
    customer: bytes,
    listed: Mapping[UUID, ExamNotice],
    began: datetime,
    linked: Link,
) -> tuple[bool, bool]:
    """Write what the look told about every waiting request of the customer: whether ours is listed, whether others are.

    `linked`: the customer's link as it is now, which says whose ours is.
    """
    settings = work.resources.settings
    found = others = False
    for claim, exam, at in await lock_claimed(session, customer, until=began):
        notice = listed.get(exam.request_uuid)
        if notice is not None:
            if exam.id == work.exam_id and linked.state == LinkState.CONFIRMED:
                exam.organization_id = work.organization_id = linked.organization_id
                found = True
            elif exam.state in LEASABLE:
                exam.due_at = at
                others = True
            await settle_verified(
                session,
                exam,
                at=at,
                customer_hash=customer,
                exam_uuid=notice.exam_uuid,
                download_url=notice.download_url,
                submitted_at=notice.submitted_at,
            )
            continue
        _count_look(claim, at, settings)
        if exam.id != work.exam_id:
            await _not_listed(session, exam, claim, at, settings)
    if others:
        await wake_workers(session)
    return found, others


def _count_look(claim: Claim, at: datetime, settings: Settings) -> None:
    claim.looks += 1
    claim.first_look_at = claim.first_look_at or at
    if at - claim.first_look_at >= timedelta(seconds=settings.clarius_verify_window):
        claim.ended_at = at


async def _not_listed(
    session: AsyncSession, exam: Exam, claim: Claim, at: datetime, settings: Settings
) -> None:
    """Another exam of the same customer that was not listed either: its next look need not come before ours.

    No query for a row whose claim is still open: a thousand forged ones are settled by one look.
    """
    if exam.state != ExamState.WAITING:
        # it is being worked on, or has its own run to come, which reads what was written here
        return
    if claim.ended_at is None or await open_claims(session, exam.id):
        if exam.reason in {Reason.RETRY, Reason.SETTLING}:
            exam.due_at = at + timedelta(seconds=_pause(claim.looks, settings))
        return
    exam.error_code, exam.error_message = UNVERIFIED.code, UNVERIFIED.message
    exam.due_at = None
    await move(session, exam, ExamState.UNVERIFIED)


def _pause(looks: int, settings: Settings) -> float:
    return backoff(
        looks, base=settings.retry_base_seconds, cap=min(LOOK_CAP_SECONDS, settings.retry_cap_seconds)
    )


async def _after_looks(work: Work, covered: bool) -> Outcome:
    """Read back what the looks wrote about this exam and say how it goes on."""
    async with work.tx() as (session, exam):
        await session.refresh(exam)
        if exam.verified_at is not None:
            return await _file_under_link(session, exam, exam.customer_hash)
        claims = await open_claims(session, exam.id)
        links = await confirmed_links(session, [claim.customer_hash for claim in claims])
        linked = [claim for claim in claims if claim.customer_hash in links]
        if not claims:
            await record_event(session, exam.id, step=exam.step, event="not_listed")
            return UNVERIFIED
        if not linked:
            return Wait(Reason.LINK, None)
        if not covered or any(claim.looks == 0 for claim in linked):
            return Wait(Reason.SETTLING, SETTLING_SECONDS)
        return Wait(
            Reason.RETRY,
            _pause(min(claim.looks for claim in linked), work.resources.settings),
            code="not_listed_yet",
            message="Clarius does not list this request yet",
        )
