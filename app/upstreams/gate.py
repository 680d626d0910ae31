"""Decides whether an account may be called now, and remembers what a call came to, for all workers at once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind, read_account
from app.config.sealing import CannotUnseal
from app.errors import (
    RETRY_AFTER_CAP_SECONDS,
    Blame,
    Forbidden,
    LookFirst,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    SonobridgeError,
    TryLater,
)
from app.resources import Resources
from app.states import Reason
from app.store.audit import SYSTEM, audit
from app.store.base import clock
from app.store.exam_waiting import wake_account
from app.store.upstreams import (
    BREAKER_OPEN_SECONDS,
    Upstream,
    accounts_to_probe,
    count_calls,
    end_throttling,
    refuse,
    resume,
    take_probe,
    throttle,
    upstream,
)
from app.upstreams.probes import Standing, ask_account, can_be_asked

log = structlog.get_logger(__name__)

THROTTLE_BASE_SECONDS = 5.0
# of these a person's call uses the same key as everybody's work, whatever stands in the person's own environment
KEY_IN_THE_DATABASE = (AccountKind.AURABOX, AccountKind.DICOMWEB)
# recurring work waits no longer for a neutral call
PROBE_LIMIT_SECONDS = 10.0
UNAUTHORIZED = 401
FORBIDDEN = 403


class Held(SonobridgeError):
    """The account may not be called now: `seconds` until it may be tried again. Nothing was sent."""

    def __init__(
        self,
        reason: Reason,
        seconds: float,
        why: str,
        *,
        blame: Blame = Blame.EXAM,
        account: str | None = None,
    ) -> None:
        super().__init__(why, code=f"account_{reason}")
        self.reason = reason
        self.seconds = seconds
        self.blame = blame
        self.account = account


@dataclass(frozen=True)
class Entry:
    """How a call was let through: `trying`, to see whether the account works again; or after it was throttled."""

    trying: bool = False
    after_throttling: bool = False


def backoff(attempts: int, *, base: float, cap: float, draw: float | None = None) -> float:
    """Seconds to wait after `attempts` failures: full jitter over an exponential, never less than half a base.

    `draw` in [0, 1) stands in for chance in tests.
    """
    ceiling: float = min(cap, base * 2.0 ** min(max(attempts - 1, 0), 32))
    chance = random.random() if draw is None else draw  # noqa: S311 - jitter is no secret
    return max(base / 2, ceiling * chance)


@asynccontextmanager
async def calling(
    resources: Resources, account: str, *, by_hand: bool = False, entry: Entry | None = None
) -> AsyncIterator[None]:
    """Surround one call on `account`. Raises Held before anything is sent when the account may not be called.

    Only evidence about the credentials pauses the account: a 401, or a 403 that a neutral call meets too. The caller
    must not hold a transaction. `by_hand`: see `asking`. `entry`: the gate was asked just now, and this it said.
    """
    if entry is None:
        entry = await enter(resources, account, by_hand=by_hand)
    try:
        yield
    except SlowDown as error:
        await _throttled(resources, account, error)
        raise
    except RenewCredentials as error:
        judged = await _refusal(resources, error.account or account, error, by_hand=by_hand)
        if judged is error:
            raise
        raise judged from error
    except CannotUnseal as error:
        if error.account is None or by_hand:
            raise
        raise await _paused(resources, error.account, error.message) from error
    except (TryLater, LookFirst) as error:
        if error.blame is Blame.HOST:
            await _failed(resources, account)
        else:
            # the way things go there, and no sign of trouble
            await _worked(resources, account, entry)
        raise
    except (NotThere, Rejected):
        # an answer about the thing asked for: the account itself works
        await _worked(resources, account, entry)
        raise
    else:
        await _worked(resources, account, entry)


def asking(resources: Resources, account: str) -> AbstractAsyncContextManager[None]:
    """Surround a call that a person makes: it goes out although the account is paused or broken off.

    When it succeeds, everybody's work goes on at once. When it fails for want of a key that only the environment holds,
    nothing changes: a shell without that key proves nothing about it.
    """
    return calling(resources, account, by_hand=True)


async def enter(resources: Resources, account: str, *, by_hand: bool = False) -> Entry:
    """How the account is called now. Raises Held when it may not be."""
    async with resources.sessions.begin() as session:
        row = await upstream(session, account)
        if row is None or not row.is_marked:
            return Entry()
        held = _held(row, await clock(session))
        if held is None:
            return Entry(after_throttling=True)
        if by_hand and held.reason != Reason.THROTTLED:
            return Entry(trying=True)
        due = held.seconds <= 0 and await take_probe(
            session, account, seconds=resources.settings.credentials_probe_seconds
        )
    if due and not can_be_asked(account):
        return Entry(trying=True)
    if due and await probe(resources, account):
        return Entry()
    # a little apart, so that those who waited together do not come back together
    seconds = max(held.seconds, 1.0) + random.random()  # noqa: S311
    raise Held(held.reason, seconds, held.message, blame=held.blame, account=account)


async def probe(resources: Resources, account: str) -> bool:
    """One neutral call for a paused or broken account, never somebody's exam: whether it works and is open again."""
    log.info("account_probe", account=account)
    if await ask_account(resources, account) is not Standing.WELCOME:
        return False
    async with resources.sessions.begin() as session:
        row = await upstream(session, account)
        await lift(session, account, was_paused=row is not None and row.refused_since is not None)
    return True


async def probe_due_accounts(resources: Resources) -> int:
    """Probe each account whose time has come; how many work again. No one of them holds the others up for long."""
    async with resources.sessions.begin() as session:
        due = [
            account
            for account in await accounts_to_probe(session)
            if can_be_asked(account)
            and await take_probe(session, account, seconds=resources.settings.credentials_probe_seconds)
        ]
    return sum(await asyncio.gather(*(_probe_briefly(resources, account) for account in due)))


async def _probe_briefly(resources: Resources, account: str) -> bool:
    try:
        async with asyncio.timeout(PROBE_LIMIT_SECONDS):
            return await probe(resources, account)
    except TimeoutError:
        return False


def _held(row: Upstream, at: datetime) -> Held | None:
    """Why the account may not be called at `at`, if so; `seconds` ≤ 0 says that a probe is due."""
    if row.throttled_until is not None and row.throttled_until > at:
        left = (row.throttled_until - at).total_seconds()
        return Held(Reason.THROTTLED, left, "the account was told to slow down", blame=Blame.HOST)
    if row.refused_since is not None:
        left = (row.probe_at - at).total_seconds() if row.probe_at else 0.0
        why = row.refused_why or "the credentials were refused"
        return Held(Reason.PAUSED, left, why, blame=Blame.CREDENTIAL)
    if row.open_since is not None:
        left = (row.open_until - at).total_seconds() if row.open_until else BREAKER_OPEN_SECONDS
        return Held(Reason.RETRY, left, "most calls of the last minute failed", blame=Blame.HOST)
    return None


async def _refusal(
    resources: Resources, account: str, error: RenewCredentials, *, by_hand: bool
) -> SonobridgeError:
    """What a refusal is about, as the error to raise: the credentials (then the account is paused), or the one thing."""
    standing = Standing.REFUSED
    if error.status in (UNAUTHORIZED, FORBIDDEN):
        standing = await ask_account(resources, account)
    if standing is Standing.WELCOME:
        # a 401 so contradicted: the key was replaced while the call was on its way, and the next uses the new one
        kind = "forbidden" if error.status == FORBIDDEN else "key_replaced"
        await _worked(resources, account, Entry(trying=by_hand))
        return Forbidden(
            f"{error.message}; the credentials are accepted otherwise",
            upstream=error.upstream,
            status=error.status,
            account=account,
            code=f"{error.upstream}_{kind}",
        )
    if by_hand and read_account(account).kind not in KEY_IN_THE_DATABASE:
        return error
    if standing is Standing.UNKNOWN and error.status == FORBIDDEN:
        await _failed(resources, account)
        return TryLater(error.message, upstream=error.upstream, status=error.status, account=account)
    return await _paused(resources, account, error.message)


async def _paused(resources: Resources, account: str, why: str) -> Held:
    """The account is paused now, for everybody; what the call that showed it ends in."""
    await _refused(resources, account, why)
    seconds = resources.settings.credentials_probe_seconds + random.random()  # noqa: S311 - apart from the others
    return Held(Reason.PAUSED, seconds, why, blame=Blame.CREDENTIAL, account=account)


async def _throttled(resources: Resources, account: str, error: SlowDown) -> None:
    async with resources.sessions.begin() as session:
        row = await upstream(session, account)
        again = row.throttles if row else 0
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
            await audit(session, by=SYSTEM, action="account.pause", subject=account, detail=why)
    if news:
        log.error("account_paused", account=account)


async def _worked(resources: Resources, account: str, entry: Entry) -> None:
    """Only a call that was made to see it ends a pause: one that was on its way before proves nothing about it.

    What nobody has to know at once is kept in the process and written now and then.
    """
    at = time.monotonic()
    if not resources.tally.add(account, at=at) and entry == Entry():
        return
    async with resources.sessions.begin() as session:
        row = await upstream(session, account) if entry.trying else None
        if row is not None and (row.refused_since is not None or row.open_since is not None):
            await lift(session, account, was_paused=row.refused_since is not None)
            return
        await end_throttling(session, account)
        await count_calls(session, account, worked=resources.tally.take(account, at=at))


async def _failed(resources: Resources, account: str) -> None:
    worked = resources.tally.take(account, at=time.monotonic())
    async with resources.sessions.begin() as session:
        await count_calls(session, account, worked=worked, failed=True)


async def lift(session: AsyncSession, account: str, *, was_paused: bool = True) -> None:
    """The account works again or was given new credentials: no pause, and whoever waited for it is due."""
    await resume(session, account)
    await wake_account(session, account)
    if was_paused:
        await audit(session, by=SYSTEM, action="account.resume", subject=account)
