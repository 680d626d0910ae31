"""Takes the lease on a link that is due and confirms it; what workers call for jobs of kind "link"."""

import asyncio
from uuid import UUID

import structlog
from sqlalchemy import or_, select

from app.linking.confirm import LinkLeaseLost, confirm_link
from app.resources import Resources
from app.states import LinkState
from app.store.base import in_seconds, now
from app.store.links import Link

# The rest of a lease is for writing the answer down.
CALL_SHARE_OF_LEASE = 0.8

log = structlog.get_logger(__name__)


async def run_link(resources: Resources, link_id: UUID | None) -> bool:
    """Confirm this link, or the one that has been due longest when None; False when there was nothing to do.

    Harmless twice: a link that is leased, not due or not pending is left alone. Database errors come through.
    """
    link = await lease_link(resources, link_id)
    if link is None:
        return False
    try:
        # past that, another worker may take the link: what this one would write is fenced off anyway
        async with asyncio.timeout(resources.settings.lease_seconds * CALL_SHARE_OF_LEASE):
            released = await confirm_link(resources, link)
    except (LinkLeaseLost, TimeoutError):
        log.warning("link_lease_lost", link_id=str(link.id))
        return True
    for exam_id, epoch in released:
        await resources.queue.ring("exam", exam_id, epoch)
    return True


async def lease_link(resources: Resources, link_id: UUID | None) -> Link | None:
    """Lease a due pending link (docs/architecture.md, "Leases"); detached from its transaction, which is over."""
    async with resources.sessions.begin() as session:
        query = select(Link).where(
            Link.state == LinkState.PENDING,
            Link.due_at <= now(),
            or_(Link.lease_until.is_(None), Link.lease_until < now()),
        )
        if link_id is not None:
            query = query.where(Link.id == link_id)
        link = (
            await session.scalars(query.order_by(Link.due_at).limit(1).with_for_update(skip_locked=True))
        ).one_or_none()
        if link is None:
            return None
        link.lease_owner = resources.worker_id
        link.lease_until = await session.scalar(select(in_seconds(resources.settings.lease_seconds)))
        link.lease_epoch += 1
    return link
