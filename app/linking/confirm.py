"""Asks Clarius to confirm one link (C3) and records the answer; must run under the link's lease.

C3 changes nothing when it is repeated, so an answer that was lost is asked for again.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.config.sealing import CannotUnseal
from app.errors import NotThere, SlowDown, SonobridgeError
from app.faultpoints import fault_point
from app.resources import Resources
from app.states import LinkState
from app.store.audit import SYSTEM, audit
from app.store.base import in_seconds, now
from app.store.linked_exams import AT_ONCE, RING_LIMIT, queue_linked, queue_rest, resume_held
from app.store.links import Link
from app.store.organizations import hold_organization
from app.store.unsettled import resume_expired
from app.upstreams.gate import Held, backoff, calling

NOT_KNOWN = "Clarius does not know this connection request (any more)"

log = structlog.get_logger(__name__)


class LinkLeaseLost(Exception):
    """Another worker has the link, or it was ended: stop at once, write nothing."""


async def confirm_link(resources: Resources, link: Link) -> Sequence[tuple[UUID, int]]:
    """Call C3 for `link`, whose lease the caller holds; the exams that this queued, to be rung.

    200 → confirmed, and every exam that waited for this customer is queued in the same transaction; 404 →
    refused; anything else → still pending, due again after a while. Raises LinkLeaseLost.
    """
    try:
        token = resources.unseal_text(link.token_sealed)
        clarius = await resources.clarius()
        async with calling(resources, AccountKind.CLARIUS):
            fault_point("link:before_confirm_customer")
            await clarius.confirm_customer(token)
            fault_point("link:after_confirm_customer")
    except NotThere:
        await _refused(resources, link)
        return ()
    except SonobridgeError as error:
        await _later(resources, link, error)
        return ()
    return await _confirmed(resources, link)


async def _held(session: AsyncSession, link: Link) -> Link:
    """The row, locked, if the lease is still ours. Raises LinkLeaseLost."""
    row = (
        await session.scalars(
            select(Link)
            .where(Link.id == link.id, Link.lease_epoch == link.lease_epoch, Link.state == LinkState.PENDING)
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise LinkLeaseLost
    row.lease_owner = None
    row.lease_until = None
    return row


async def _confirmed(resources: Resources, link: Link) -> Sequence[tuple[UUID, int]]:
    async with resources.sessions.begin() as session:
        await hold_organization(session, link.organization_id)
        row = await _held(session, link)
        row.state = LinkState.CONFIRMED
        row.confirmed_at = now()
        row.due_at = None
        row.error = None
        # seen by the release below and by every webhook from the commit on
        await session.flush()
        queued = await queue_linked(
            session, customer_hash=row.customer_hash, organization_id=row.organization_id
        )
        held = await resume_held(
            session, customer_hash=row.customer_hash, organization_id=row.organization_id
        )
        expired = await resume_expired(session, customer_hash=row.customer_hash, limit=AT_ONCE)
        await audit(
            session,
            by=SYSTEM,
            action="link.confirm",
            subject=str(row.id),
            detail=f"{len(queued)} waiting exams queued"
            + (" at once, the others after them" if len(queued) == AT_ONCE else ""),
        )
    more = await queue_rest(
        resources.sessions,
        customer_hash=link.customer_hash,
        organization_id=link.organization_id,
        queued=queued,
    )
    log.info("link_confirmed", link_id=str(link.id), count=len(queued) + more)
    return [*held, *queued, *expired][:RING_LIMIT]


async def _refused(resources: Resources, link: Link) -> None:
    async with resources.sessions.begin() as session:
        row = await _held(session, link)
        row.state = LinkState.REFUSED
        row.due_at = None
        row.ended_at = now()
        row.error = NOT_KNOWN
        await audit(
            session, by=SYSTEM, action="link.confirm", subject=str(row.id), result="refused", detail=NOT_KNOWN
        )
    log.info("link_refused", link_id=str(link.id))


async def _later(resources: Resources, link: Link, error: SonobridgeError) -> None:
    settings = resources.settings
    async with resources.sessions.begin() as session:
        row = await _held(session, link)
        if isinstance(error, Held):
            seconds = error.seconds
        elif isinstance(error, SlowDown):
            # the gate has put the account's own wait there
            seconds = error.retry_after or settings.retry_cap_seconds
        elif isinstance(error, CannotUnseal):
            seconds = settings.credentials_probe_seconds
        else:
            row.attempts += 1
            seconds = backoff(
                row.attempts + 1, base=settings.retry_base_seconds, cap=settings.retry_cap_seconds
            )
        row.due_at = await session.scalar(select(in_seconds(seconds)))
        row.error = f"{error.message} ({error.code})"
    log.warning("link_not_confirmed", link_id=str(link.id), detail_code=error.code, seconds=round(seconds, 1))
