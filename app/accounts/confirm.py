"""Asks Clarius to confirm one link (C3) and records the answer; must run under the link's lease.

C3 changes nothing when it is repeated, so an answer that was lost is asked for again.
"""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto import CannotUnseal
from app.errors import LookFirst, NotThere, RenewCredentials, SlowDown, SonobridgeError, TryLater
from app.faultpoints import fault_point
from app.resources import Resources
from app.states import LinkState
from app.store.audit import audit
from app.store.base import clock, in_seconds, now
from app.store.links import Link
from app.store.release import release_customer
from app.store.upstreams import count_call, refuse, resume, take_probe, throttle, upstream

ACCOUNT = "clarius"
THROTTLE_SECONDS = 30.0
NOT_KNOWN = "Clarius does not know this connection request (any more)"

log = structlog.get_logger(__name__)


class LinkLost(Exception):
    """Another worker has the link, or it was ended: stop at once, write nothing."""


class NotNow(SonobridgeError):
    """Clarius may not be called before `seconds` have gone; nothing was sent."""

    kind = "not_now"

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


async def confirm_link(resources: Resources, link: Link) -> Sequence[tuple[UUID, int]]:
    """Call C3 for `link`, whose lease the caller holds; the exams that this released, to be rung.

    200 → confirmed, and every exam that waited for this customer is queued in the same transaction; 404 →
    refused; anything else → still pending, due again after a while. Raises LinkLost.
    """
    try:
        token = resources.unseal_text(link.token_sealed)
        clarius = await resources.clarius()
        async with _calling(resources):
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


@asynccontextmanager
async def _calling(resources: Resources) -> AsyncIterator[None]:
    """Surround the call: not while the account is paused or throttled, and what it came to is remembered."""
    probe_seconds = resources.settings.credentials_probe_seconds
    async with resources.sessions.begin() as session:
        await _enter(session, probe_seconds)
    try:
        yield
    except SlowDown as error:
        async with resources.sessions.begin() as session:
            await throttle(session, ACCOUNT, seconds=error.retry_after or THROTTLE_SECONDS)
        raise
    except RenewCredentials as error:
        async with resources.sessions.begin() as session:
            news = await refuse(session, ACCOUNT, why=error.message, probe_seconds=probe_seconds)
            if news:
                await audit(
                    session, actor="system", action="account.pause", subject=ACCOUNT, detail=error.message
                )
        raise
    except (TryLater, LookFirst):
        async with resources.sessions.begin() as session:
            await count_call(session, ACCOUNT, failed=True)
        raise
    except NotThere:
        await _worked(resources)
        raise
    else:
        await _worked(resources)


async def _enter(session: AsyncSession, probe_seconds: float) -> None:
    """Raise NotNow while the account may not be called."""
    known = await upstream(session, ACCOUNT)
    if known is None:
        return
    at = await clock(session)
    if known.throttled_until is not None and known.throttled_until > at:
        raise NotNow("Clarius asked us to wait", (known.throttled_until - at).total_seconds())
    if known.refused_since is None and known.open_since is None:
        return
    if not await take_probe(session, ACCOUNT, seconds=probe_seconds):
        free = known.probe_at if known.refused_since is not None else known.open_until
        raise NotNow("Clarius can't be reached just now", _until(free, at, probe_seconds))


def _until(free: datetime | None, at: datetime, otherwise: float) -> float:
    return max((free - at).total_seconds(), 1.0) if free is not None else otherwise


async def _worked(resources: Resources) -> None:
    async with resources.sessions.begin() as session:
        known = await upstream(session, ACCOUNT)
        if known is not None and (known.refused_since or known.open_since or known.throttles):
            await resume(session, ACCOUNT)
        else:
            await count_call(session, ACCOUNT, failed=False)


async def _held(session: AsyncSession, link: Link) -> Link:
    """The row, locked, if the lease is still ours. Raises LinkLost."""
    row = (
        await session.scalars(
            select(Link)
            .where(Link.id == link.id, Link.lease_epoch == link.lease_epoch, Link.state == LinkState.PENDING)
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise LinkLost
    row.lease_owner = None
    row.lease_until = None
    return row


async def _confirmed(resources: Resources, link: Link) -> Sequence[tuple[UUID, int]]:
    async with resources.sessions.begin() as session:
        row = await _held(session, link)
        row.state = LinkState.CONFIRMED
        row.confirmed_at = now()
        row.due_at = None
        row.error = None
        # seen by the release below and by every webhook from the commit on
        await session.flush()
        released = await release_customer(
            session, customer_hash=row.customer_hash, organization_id=row.organization_id
        )
        await audit(
            session,
            actor="system",
            action="link.confirm",
            subject=str(row.id),
            detail=f"{len(released)} waiting exams released",
        )
    log.info("link_confirmed", link_id=str(link.id), count=len(released))
    return released


async def _refused(resources: Resources, link: Link) -> None:
    async with resources.sessions.begin() as session:
        row = await _held(session, link)
        row.state = LinkState.REFUSED
        row.due_at = None
        row.ended_at = now()
        row.error = NOT_KNOWN
        await audit(
            session,
            actor="system",
            action="link.confirm",
            subject=str(row.id),
            result="refused",
            detail=NOT_KNOWN,
        )
    log.info("link_refused", link_id=str(link.id))


async def _later(resources: Resources, link: Link, error: SonobridgeError) -> None:
    settings = resources.settings
    async with resources.sessions.begin() as session:
        row = await _held(session, link)
        waits = isinstance(error, NotNow | SlowDown | RenewCredentials | CannotUnseal)
        row.attempts += 0 if waits else 1
        if isinstance(error, NotNow):
            seconds = error.seconds
        elif isinstance(error, SlowDown):
            seconds = error.retry_after or THROTTLE_SECONDS
        elif waits:
            seconds = settings.credentials_probe_seconds
        else:
            ceiling = min(
                settings.retry_cap_seconds, settings.retry_base_seconds * 2 ** min(row.attempts, 16)
            )
            seconds = max(settings.retry_base_seconds / 2, ceiling * random.random())  # noqa: S311 - jitter
        row.due_at = await session.scalar(select(in_seconds(seconds)))
        row.error = f"{error.message} ({error.code})"
    log.warning("link_not_confirmed", link_id=str(link.id), detail_code=error.code, seconds=round(seconds, 1))
