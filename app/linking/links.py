"""Makes, moves, retries and ends links between Clarius accounts and organisations, each act audited.

Clarius is not asked here: that is a step under a lease (`app.linking.confirm`).
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse, SonobridgeError
from app.organizations.changes import wanted_organization
from app.people.sessions import Visitor
from app.resources import Resources
from app.states import LinkState
from app.store.audit import By, audit
from app.store.base import now
from app.store.exam_waiting import count_customer, count_customers, wake_customer
from app.store.exams import cancel
from app.store.linked_exams import RING_LIMIT, queue_linked, queue_rest
from app.store.links import IN_FORCE, Link, hint_of, link_in_force
from app.store.organizations import Organization, OrganizationRef, hold_organization
from app.store.pending_connects import keep_pending_connect
from app.store.users import User

COUNTED_AT_ONCE = 1000
TOKEN_SHAPE = re.compile(r"[A-Za-z0-9._~-]{16,255}")


class LinkItem(BaseModel):
    """A link; `customer_hint` are the last four characters of the Clarius token."""

    id: UUID = Field(examples=["0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11"])
    organization: OrganizationRef
    user: str | None = Field(examples=["ana.novak@example.org"])
    customer_hint: str = Field(examples=["apMY"])
    state: LinkState = Field(examples=["confirmed"])
    created_at: datetime
    confirmed_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    error: str | None
    exams_under_way: int = Field(
        0,
        description="Exams of the account that are not delivered yet: what a move would hold, refile or cancel.",
        examples=[2],
    )


class UnderWay(StrEnum):
    """What becomes of exams that are under way when their Clarius account moves to another organisation."""

    #: each waits in review until a person files it again or cancels it
    HOLD = "hold"
    #: filed for the new organisation, unless images of it were sent
    REFILE = "refile"
    CANCEL = "cancel"


WHAT_BECOMES: Mapping[UnderWay, str] = {
    UnderWay.HOLD: "each waits in review until somebody files it again or cancels it",
    UnderWay.REFILE: "each is filed for the new organisation, unless images of it were sent: those wait in review",
    UnderWay.CANCEL: "each is cancelled; trying one again takes that back",
}


class CustomerTaken(SonobridgeError):
    """Another organisation holds this Clarius account; only an admin may move it."""

    kind = "link_taken"


def is_token(text: str) -> bool:
    """Whether this can be a Clarius token (docs/vendors.md, "Clarius: linking")."""
    return TOKEN_SHAPE.fullmatch(text) is not None


async def keep_token(resources: Resources, token: str, visitor: Visitor) -> None:
    """Remember, sealed, what Clarius sent this browser with, until the clinician agrees or an hour has gone."""
    customer_hash = await resources.hash_customer(token)
    async with resources.sessions.begin() as session:
        await keep_pending_connect(
            session,
            browser_hash=visitor.hash,
            token_sealed=resources.seal_text(token),
            customer_hash=customer_hash,
            customer_hint=hint_of(token),
        )


async def start_link(
    resources: Resources,
    *,
    token: str,
    organization_id: UUID,
    user_id: UUID | None,
    by: By,
) -> Link:
    """The link of this token to this organisation, made if it is new, and a worker rung to confirm it.

    A link that is in force already is returned as it is. Raises CustomerTaken (audited) when another organisation
    has it, Misuse when this is no token.
    """
    if not is_token(token):
        raise Misuse("this is not a Clarius token", code="bad_token")
    customer_hash = await resources.hash_customer(token)
    async with resources.sessions() as session:
        inserted = await session.execute(
            insert(Link)
            .values(
                id=uuid.uuid4(),
                organization_id=organization_id,
                user_id=user_id,
                token_sealed=resources.seal_text(token),
                customer_hash=customer_hash,
                customer_hint=hint_of(token),
                state=LinkState.PENDING,
                due_at=now(),
            )
            .on_conflict_do_nothing(index_elements=[Link.customer_hash], index_where=Link.state.in_(IN_FORCE))
            .returning(Link.id)
        )
        is_new = inserted.scalar_one_or_none() is not None
        link = await link_in_force(session, customer_hash)
        if link is None:
            # it was in the way of our insert and has ended since: the person tries again
            raise Misuse("this link was being changed at the same moment: try again", code="changed")
        elsewhere = link.organization_id != organization_id
        await audit(
            session,
            by=by,
            action="link.start",
            subject=str(link.id),
            result="refused" if elsewhere else "done" if is_new else "known",
            detail="another organisation has this Clarius account" if elsewhere else None,
        )
        await session.commit()
    if elsewhere:
        raise CustomerTaken("another organisation has this Clarius account")
    if link.state == LinkState.PENDING:
        await resources.queue.ring("link", link.id, link.lease_epoch)
    return link


async def unlink(
    resources: Resources,
    link_id: UUID,
    *,
    by: By,
    organization_id: UUID | None = None,
) -> Link:
    """End a link: new exams of this customer wait; what was delivered stays. Idempotent.

    `organization_id`: the link must be of this organisation. Raises Misuse (`no_such_link`) else.
    """
    async with resources.sessions.begin() as session:
        link = await wanted_link(session, link_id, organization_id=organization_id)
        if link.state != LinkState.DISCONNECTED:
            _end(link)
            await audit(session, by=by, action="link.end", subject=str(link.id))
    return link


async def retry_link(resources: Resources, link_id: UUID, *, by: By) -> Link:
    """Ask Clarius again, now, about a pending or refused link. Raises Misuse for one that was ended or is held."""
    async with resources.sessions.begin() as session:
        link = await wanted_link(session, link_id)
        if link.state == LinkState.DISCONNECTED:
            raise Misuse("this link was ended; the clinician starts again from Clarius", code="link_ended")
        if link.state == LinkState.CONFIRMED:
            return link
        holder = await link_in_force(session, link.customer_hash)
        if holder is not None and holder.id != link.id:
            raise Misuse("a newer link of this Clarius account is in force", code="link_taken")
        link.state = LinkState.PENDING
        link.error = None
        link.attempts = 0
        link.ended_at = None
        link.due_at = now()
        await audit(session, by=by, action="link.retry", subject=str(link.id))
    await resources.queue.ring("link", link.id, link.lease_epoch)
    return link


async def move_link(
    resources: Resources,
    link_id: UUID,
    *,
    organization: str,
    by: By,
    under_way: UnderWay | str = UnderWay.HOLD,
) -> Link:
    """Give a Clarius account to another organisation (an admin's act): the old link ends, a new one takes over.

    A confirmed one stays confirmed; a pending one is confirmed under the new organisation. `under_way`: what becomes
    of the account's exams that are not delivered yet (`exams_under_way` counts them). Raises Misuse.
    """
    try:
        carried = UnderWay(under_way)
    except ValueError:
        raise Misuse(f"under_way: must be one of {', '.join(UnderWay)}") from None
    async with resources.sessions.begin() as session:
        owner = await wanted_organization(session, organization)
        await hold_organization(session, owner.id)
        old = await wanted_link(session, link_id)
        if old.state not in IN_FORCE:
            raise Misuse("only a link that is in force can be moved", code="link_ended")
        if owner.id == old.organization_id:
            return old
        pending = old.state == LinkState.PENDING
        new = Link(
            organization_id=owner.id,
            token_sealed=old.token_sealed,
            customer_hash=old.customer_hash,
            customer_hint=old.customer_hint,
            state=old.state,
            confirmed_at=old.confirmed_at,
            due_at=now() if pending else None,
            moved_by=by.actor,
            takes_along=carried is UnderWay.REFILE,
        )
        met = await wake_customer(session, old.customer_hash, old.organization_id)
        if carried is UnderWay.CANCEL:
            for exam in met:
                await cancel(session, exam)
        _end(old)
        await session.flush()
        session.add(new)
        await session.flush()
        queued = (
            []
            if pending
            else await queue_linked(session, customer_hash=new.customer_hash, organization_id=owner.id)
        )
        await audit(
            session,
            by=by,
            action="link.move",
            subject=str(new.id),
            detail=f"from organisation {old.organization_id} to {owner.id}; {len(met)} exams under way: {carried}",
        )
        await session.flush()
        await session.refresh(new)
    if pending:
        await resources.queue.ring("link", new.id, new.lease_epoch)
    for exam_id, epoch in [*queued[:RING_LIMIT], *((exam.id, exam.lease_epoch) for exam in met)]:
        await resources.queue.ring("exam", exam_id, epoch)
    await queue_rest(
        resources.sessions,
        customer_hash=new.customer_hash,
        organization_id=new.organization_id,
        queued=queued,
    )
    return new


async def exams_under_way(resources: Resources, link_id: UUID) -> int:
    """How many exams of this link's account are not delivered yet: what a move would hold, file again or cancel."""
    async with resources.sessions() as session:
        link = await wanted_link(session, link_id)
        return await count_customer(session, link.customer_hash, link.organization_id)


async def count_under_way(resources: Resources, links: Sequence[Link]) -> Mapping[UUID, int]:
    """`exams_under_way` of many links, by their ids; 0 for one that is not in force, which can't be moved."""
    by_customer: dict[tuple[bytes, UUID], int] = {}
    moving = [link for link in links if link.state in IN_FORCE]
    async with resources.sessions() as session:
        for first in range(0, len(moving), COUNTED_AT_ONCE):
            hashes = {link.customer_hash for link in moving[first : first + COUNTED_AT_ONCE]}
            by_customer |= await count_customers(session, hashes)
    counts = {link.id: by_customer.get((link.customer_hash, link.organization_id), 0) for link in moving}
    return {link.id: counts.get(link.id, 0) for link in links}


async def wanted_link(session: AsyncSession, link_id: UUID, *, organization_id: UUID | None = None) -> Link:
    """The link, locked; Misuse (`no_such_link`) when there is none, or none of this organisation."""
    query = select(Link).where(Link.id == link_id)
    if organization_id is not None:
        query = query.where(Link.organization_id == organization_id)
    link = (await session.scalars(query.with_for_update())).one_or_none()
    if link is None:
        raise Misuse("there is no such link", code="no_such_link")
    return link


async def list_links(
    resources: Resources, *, organization_id: UUID | None = None
) -> list[tuple[Link, Organization, User | None]]:
    """Links with their organisation and who made them, newest first."""
    query = (
        select(Link, Organization, User)
        .join(Organization, Organization.id == Link.organization_id)
        .outerjoin(User, User.id == Link.user_id)
        .order_by(Link.created_at.desc(), Link.id)
    )
    if organization_id is not None:
        query = query.where(Link.organization_id == organization_id)
    async with resources.sessions() as session:
        return [(row[0], row[1], row[2]) for row in await session.execute(query)]


async def describe_links(
    resources: Resources, rows: Sequence[tuple[Link, Organization, User | None]]
) -> list[LinkItem]:
    """Links as `list_links` gives them, each with how many exams of its account are under way."""
    counts = await count_under_way(resources, [row[0] for row in rows])
    return [describe_link(*row, exams_under_way=counts[row[0].id]) for row in rows]


def describe_link(
    link: Link, organization: Organization, user: User | None, *, exams_under_way: int = 0
) -> LinkItem:
    """A link as commands and the admin API show it."""
    shown = {
        "id": link.id,
        "organization": organization,
        "user": user.email if user is not None else None,
        "customer_hint": link.customer_hint,
        "state": link.state,
        "created_at": link.created_at,
        "confirmed_at": link.confirmed_at,
        "error": link.error,
        "exams_under_way": exams_under_way,
    }
    return LinkItem.model_validate(shown)


def _end(link: Link) -> None:
    """No new exams, and a confirmation under way writes nothing any more (its epoch has passed)."""
    link.state = LinkState.DISCONNECTED
    link.ended_at = now()
    link.due_at = None
    link.lease_owner = None
    link.lease_until = None
    link.lease_epoch += 1
