"""Decides whether an account may be called now, and remembers what a call came to, for all workers at once."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto import CannotUnseal
from app.errors import (
    RETRY_AFTER_CAP_SECONDS,
    LinkExpired,
    LookFirst,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    SonobridgeError,
    StillProcessing,
    TryLater,
    UpstreamError,
)
from app.resources import Resources
from app.states import Reason
from app.store.audit import audit
from app.store.base import clock
from app.store.exams import wake_account
from app.store.organizations import Organization
from app.store.upstreams import (
    BREAKER_OPEN_SECONDS,
    Upstream,
    count_call,
    end_throttling,
    refuse,
    resume,
    take_probe,
    throttle,
    upstream,
)

log = structlog.get_logger(__name__)

THROTTLE_BASE_SECONDS = 5.0


class Held(SonobridgeError):
    """The account may not be called now: `seconds` until it may be tried again. Nothing was sent."""

    def __init__(self, reason: Reason, seconds: float, why: str) -> None:
        super().__init__(why, code=f"account_{reason}")
        self.reason = reason
        self.seconds = seconds


def backoff(attempts: int, *, base: float, cap: float, draw: float | None = None) -> float:
    """Seconds to wait after `attempts` failures: full jitter over an exponential, never less than half a base.

    `draw` in [0, 1) stands in for chance in tests.
    """
    ceiling: float = min(cap, base * 2.0 ** min(max(attempts - 1, 0), 32))
    chance = random.random() if draw is None else draw  # noqa: S311 - jitter is no secret
    return max(base / 2, ceiling * chance)


@asynccontextmanager
async def calling(resources: Resources, account: str) -> AsyncIterator[None]:
    """Surround one call on `account`. Raises Held before anything is sent when the account may not be called.

    The caller must not hold a transaction.
    """
    probing = await _enter(resources, account)
    try:
        yield
    except SlowDown as error:
        await _throttled(resources, account, error)
        raise
    except RenewCredentials as error:
        if error.status == 403 and await _still_welcome(resources, account):
            # the key works: the refusal speaks of this one thing, and only a person can change that
            raise Rejected(
                error.message,
                upstream=error.upstream,
                status=403,
                account=account,
                code=f"{error.upstream}_forbidden",
            ) from error
        if error.status == 401 and await _still_welcome(resources, account):
            # the key was replaced while this call was on its way; the next call uses the new one
            raise TryLater(
                f"{error.message} (the key was just replaced)",
                upstream=error.upstream,
                status=401,
                account=account,
                code=f"{error.upstream}_key_replaced",
            ) from error
        await _refused(resources, account, error.message)
        raise Held(Reason.PAUSED, resources.settings.credentials_probe_seconds, error.message) from error
    except CannotUnseal as error:
        why = "no sealing key opens this account's credentials (SONOBRIDGE_SECRET_KEYS)"
        await _refused(resources, account, why)
        raise Held(Reason.PAUSED, resources.settings.credentials_probe_seconds, why) from error
    except (LinkExpired, StillProcessing):
        # the way things go there, and no sign of trouble
        await _worked(resources, account, probing=probing)
        raise
    except (TryLater, LookFirst):
        async with resources.sessions.begin() as session:
            await count_call(session, account, failed=True)
        raise
    except (NotThere, Rejected):
        # an answer about the thing asked for: the account itself works
        await _worked(resources, account, probing=probing)
        raise
    else:
        await _worked(resources, account, probing=probing)


async def _enter(resources: Resources, account: str) -> bool:
    """Whether this call is the probe of a paused account. Raises Held when it may not be called."""
    async with resources.sessions.begin() as session:
        known = await upstream(session, account)
        if known is None:
            return False
        held = _held(known, await clock(session))
        if held is None:
            return False
        if held.seconds <= 0 and await take_probe(
            session, account, seconds=resources.settings.credentials_probe_seconds
        ):
            log.info("account_probe", account=account)
            return True
    # a little apart, so that those who waited together do not come back together
    raise Held(held.reason, max(held.seconds, 1.0) + random.random(), held.message)  # noqa: S311


def _held(known: Upstream, at: datetime) -> Held | None:
    """Why the account may not be called at `at`, if so; `seconds` ≤ 0 says that a probe is due."""
    if known.throttled_until is not None and known.throttled_until > at:
        left = (known.throttled_until - at).total_seconds()
        return Held(Reason.THROTTLED, left, "the account was told to slow down")
    if known.refused_since is not None:
        left = (known.probe_at - at).total_seconds() if known.probe_at else 0.0
        return Held(Reason.PAUSED, left, known.refused_why or "the credentials were refused")
    if known.open_since is not None:
        left = (known.open_until - at).total_seconds() if known.open_until else BREAKER_OPEN_SECONDS
        return Held(Reason.RETRY, left, "most calls of the last minute failed")
    return None


async def _still_welcome(resources: Resources, account: str) -> bool:
    """Whether the account's key still opens anything: a 403 may be about the one thing asked for (C6, A1)."""
    kind, _, organization_id = account.partition(":")
    try:
        if kind == "clarius":
            await (await resources.clarius()).settings()
            return True
        if kind == "aurabox":
            async with resources.sessions() as session:
                organization = await session.get_one(Organization, UUID(organization_id))
            async for _patient in resources.aurabox(organization).patients(per_page=1):
                break
            return True
    except UpstreamError:
        return False
    return False


async def _throttled(resources: Resources, account: str, error: SlowDown) -> None:
    async with resources.sessions.begin() as session:
        known = await upstream(session, account)
        again = known.throttles if known else 0
        waited = backoff(again + 1, base=THROTTLE_BASE_SECONDS, cap=RETRY_AFTER_CAP_SECONDS, draw=0.99)
        seconds = error.retry_after if error.retry_after is not None else waited
        await throttle(session, account, seconds=seconds)
    # the exam's own wait is the account's: the error says so from here on
    error.retry_after = seconds
    log.warning("account_throttled", account=account, retry_after_seconds=round(seconds, 1))


async def _refused(resources: Resources, account: str, why: str) -> None:
    async with resources.sessions.begin() as session:
        news = await refuse(
            session, account, why=why, probe_seconds=resources.settings.credentials_probe_seconds
        )
        if news:
            await audit(session, actor="system", action="account.pause", subject=account, detail=why)
    if news:
        log.error("account_paused", account=account)


async def _worked(resources: Resources, account: str, *, probing: bool) -> None:
    """Only a probe ends a pause: a call that was on its way before the pause proves nothing about it."""
    async with resources.sessions.begin() as session:
        if probing:
            known = await upstream(session, account)
            await lift(session, account, was_paused=known is not None and known.refused_since is not None)
        else:
            await end_throttling(session, account)
            await count_call(session, account, failed=False)


async def lift(session: AsyncSession, account: str, *, was_paused: bool = True) -> None:
    """The account works again or was given new credentials: no pause, and whoever waited for it is due."""
    await resume(session, account)
    await wake_account(session, account)
    if was_paused:
        await audit(session, actor="system", action="account.resume", subject=account)
