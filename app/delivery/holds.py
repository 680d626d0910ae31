"""What a worker holds while it works on one exam: renewed together, checked together, each lost for itself.

A hold is checked by the database's clock, in a transaction, immediately before anything goes out; the time since that
check is told by a clock that does not stand still while the machine is suspended.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import LocalTrouble
from app.faultpoints import fault_point
from app.resources import Resources
from app.states import Reason
from app.store.holds import HoldKind, renew_hold
from app.upstreams.gate import Held

# how often holds are checked for one request before the host is taken to be too slow for it
CHECKS = 5
# of the time that a request may take, this much may be over when its bytes leave
LATE_SHARE = 0.5
# when a create's intent or a look was taken over, whoever has it now needs a little time
LOST_SECONDS = 1.0


class LeaseLost(Exception):
    """Another worker has the exam, or a person cancelled it: stop at once, write nothing."""


def steady_clock() -> float:
    """Seconds since the start of the machine, the time included in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Hold:
    """One hold under its epoch. `marks`: what is written of it with each check, because bytes leave right after."""

    kind: HoldKind
    row_id: UUID
    epoch: int
    marks: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def lost(self) -> Exception:
        """What its loss means: without the exam's lease all is over, without another hold the exam waits."""
        if self.kind is HoldKind.EXAM:
            return LeaseLost()
        return Held(Reason.SETTLING, LOST_SECONDS, f"another exam has the {self.kind.name.lower()} by now")


class Holds:
    """The lease of one exam, and whatever else is held while it is worked on."""

    def __init__(self, resources: Resources, lease: Hold) -> None:
        self._resources = resources
        self._held = [lease]
        # by `steady_clock`: the database counts every hold's term from no earlier than this
        self.renewed_at = steady_clock()

    @contextmanager
    def also(self, hold: Hold) -> Iterator[Hold]:
        """Hold this too for as long as the body runs; taking it and giving it back are the caller's."""
        self._held = sorted([*self._held, hold], key=lambda held: held.kind)
        try:
            yield hold
        finally:
            self._held.remove(hold)

    async def renew(self) -> bool:
        """Lengthen all by a whole term; False when the lease of the exam is lost. What else is lost shows later."""
        began = steady_clock()
        ours = True
        async with self._resources.sessions.begin() as session:
            for hold in list(self._held):
                kept = await self._renewed(session, hold, self._resources.settings.lease_seconds)
                ours = ours and (kept or hold.kind is not HoldKind.EXAM)
        if ours:
            self.renewed_at = began
        return ours

    async def ready(self, seconds: float | None) -> float | None:
        """All is ours for the request that goes out now; how long it may take, in seconds, of the `seconds` given.

        Raises LeaseLost, Held when something else was lost, and LocalTrouble when this host never comes from the
        check to the request in time.
        """
        term = self._resources.settings.lease_seconds
        for _ in range(CHECKS):
            began = steady_clock()
            marked = False
            async with self._resources.sessions.begin() as session:
                for hold in list(self._held):
                    if not await self._renewed(session, hold, max(term, seconds or 0.0), marks=hold.marks):
                        raise hold.lost()
                    marked = marked or bool(hold.marks)
            self.renewed_at = began
            if marked:
                fault_point("create:after_intent")
            over = steady_clock() - began
            if over <= LATE_SHARE * (term if seconds is None else seconds):
                return None if seconds is None else seconds - over
        raise LocalTrouble("this host is too slow to send a request in time")

    async def _renewed(
        self, session: AsyncSession, hold: Hold, seconds: float, *, marks: Mapping[str, Any] | None = None
    ) -> bool:
        return await renew_hold(session, hold.kind, hold.row_id, hold.epoch, seconds=seconds, marks=marks)
