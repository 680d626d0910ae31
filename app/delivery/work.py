"""Work on one exam under its lease: fenced writes, the heartbeat, and the only way to an outside effect."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import BigInteger, ColumnElement, Row, Select, Uuid, bindparam, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.holds import Hold, Holds, LeaseLost, steady_clock
from app.errors import LookFirst
from app.faultpoints import EFFECTS, fault_point
from app.resources import Resources
from app.store.exams import Exam
from app.store.holds import HoldKind, is_held
from app.store.organizations import PolicyFields
from app.upstreams.gate import Entry, calling, enter

__all__ = ["ALONE", "LeaseLost", "Work", "heartbeat"]

log = structlog.get_logger(__name__)

ALONE = select(Exam)
"""The exam's row, and nothing beside it."""


@dataclass
class Work:
    """One exam under a lease. Nothing of it outlives the lease; `epoch` fences every write."""

    resources: Resources = field(repr=False)
    exam_id: UUID
    epoch: int
    # set when what the exam came to is written: from then on the lease is nobody's to renew
    given_back: bool = False
    # whose it is, since this turn verified it
    organization_id: UUID | None = None
    # by which it is delivered, since a step of this turn compared it with what is in force
    policy: PolicyFields | None = None
    # what was read as the step began, until something is asked of the database anew
    opened: Row[Any] | None = field(default=None, repr=False)
    holds: Holds = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.holds = Holds(self.resources, Hold(HoldKind.EXAM, self.exam_id, self.epoch))

    @property
    def ours(self) -> ColumnElement[bool]:
        """Whether a row of the exams is this one and the lease still ours."""
        return is_held(HoldKind.EXAM, self.exam_id, self.epoch)

    @asynccontextmanager
    async def tx(self) -> AsyncIterator[tuple[AsyncSession, Exam]]:
        """A short transaction on the exam's row, locked, if the lease is still ours. Raises LeaseLost."""
        async with self.rows(ALONE, locked=True) as (session, row):
            yield session, row.Exam

    @asynccontextmanager
    async def rows(
        self, beside: Select[Any], *, locked: bool
    ) -> AsyncIterator[tuple[AsyncSession, Row[Any]]]:
        """The exam's row with what the statement reads `beside` it, if the lease is still ours. Raises LeaseLost.

        `locked`: in a short transaction. Without, the session is for reading: each statement sees what is there then; and
        the row may be the one that was read as the step began.
        """
        opened, self.opened = self.opened, None
        if opened is not None and not locked:
            async with self.resources.statements() as session:
                yield session, opened
            return
        statement = _of_the_lease(beside, locked)
        lease = {"exam_id": self.exam_id, "epoch": self.epoch}
        async with self.resources.sessions.begin() if locked else self.resources.statements() as session:
            row = (await session.execute(statement, lease)).one_or_none()
            if row is None:
                raise LeaseLost
            yield session, row

    async def read(self) -> Exam:
        """The exam as it is, or was as the step began. Raises LeaseLost."""
        async with self.rows(ALONE, locked=False) as (_, row):
            exam: Exam = row.Exam
            return exam

    async def read_all(self, beside: Select[*tuple[Any, ...]]) -> Sequence[Row[Any]]:
        """The exam with each row that the statement reads beside it. Raises LeaseLost."""
        async with self.resources.statements() as session:
            rows = await session.execute(
                _of_the_lease(beside, locked=False), {"exam_id": self.exam_id, "epoch": self.epoch}
            )
            found: Sequence[Row[Any]] = rows.all()
        if not found:
            raise LeaseLost
        return found

    @asynccontextmanager
    async def effect(self, name: str, account: str, *, seconds: float | None = None) -> AsyncIterator[None]:
        """Surround one call to the outside: account gates, kill points on both sides, breaker counts.

        `name` is `<step>:<effect>` from the registry in `app.faultpoints`. A call that is given `seconds` and is
        not over by then is cut off and ends in LookFirst: by the time that a look for it begins, it is over. Raises
        Held when the account may not be called or something besides the exam was lost, LeaseLost when the exam was.
        """
        if name not in EFFECTS:
            raise KeyError(f"{name} is not in the registry of effects")
        step, _, effect = name.partition(":")
        fault_point(f"{step}:before_{effect}")
        entry, ready = Entry(), await self.holds.ready(seconds, account=account)
        if ready.marked:
            # the gate may wait for long, and nothing may lie between the check of the holds and the call
            entry = await enter(self.resources, account)
            ready = await self.holds.ready(seconds)
        async with calling(self.resources, account, entry=entry):
            limit = asyncio.timeout(ready.seconds)
            try:
                async with limit:
                    yield
            except TimeoutError:
                if not limit.expired():
                    raise
                raise LookFirst(f"{name}: no answer within {seconds:g} s", account=account) from None
            fault_point(f"{step}:after_{effect}")

    async def count(self, name: str) -> int:
        """One more of `name` (refusals, looks …) at this step of the exam; how many it is now. Raises LeaseLost.

        Apart from `attempts` and from other names, so that trouble of one kind uses up no patience with another.
        """
        async with self.tx() as (_, exam):
            return exam.count(name)

    async def renew(self) -> bool:
        """Lengthen all that is held by a whole term; False when the exam is not ours any more."""
        return await self.holds.renew()


@lru_cache(maxsize=32)
def _of_the_lease(beside: Select[*tuple[Any, ...]], locked: bool) -> Select[*tuple[Any, ...]]:
    """A statement on exams, of the one that is leased; built once, for that takes nearly as long as to send it."""
    ours = is_held(HoldKind.EXAM, bindparam("exam_id", type_=Uuid()), bindparam("epoch", type_=BigInteger))
    return beside.where(ours).with_for_update(of=Exam) if locked else beside.where(ours)


@asynccontextmanager
async def heartbeat(work: Work) -> AsyncIterator[None]:
    """Renew all that is held while the body runs; when the lease is lost, or can't be renewed in time, the body is cancelled.

    The cancelled body ends in LeaseLost, so that a process which slept past its lease does nothing more outside.
    """
    body = asyncio.current_task()
    if body is None:
        raise RuntimeError("heartbeat needs a task to guard")
    lost = ended = False

    async def beat() -> None:
        nonlocal lost
        term = work.resources.settings.lease_seconds
        while True:
            await asyncio.sleep(term / 3)
            if work.given_back:
                return
            try:
                ours = await work.renew() or work.given_back
            except (SQLAlchemyError, OSError) as error:
                if ended:
                    # the cancellation came out as trouble with the connection it broke
                    return
                log.warning("lease_not_renewed", error_type=type(error).__name__)
                ours = steady_clock() - work.holds.renewed_at < term
            if not ours:
                lost = True
                body.cancel()
                return

    beating = asyncio.create_task(beat())
    try:
        yield
    except asyncio.CancelledError:
        if lost and body.uncancel() == 0:
            raise LeaseLost from None
        raise
    finally:
        ended = True
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
