"""What a worker holds while it works on one exam: renewed together, checked together, each lost for itself.

A hold is checked by the database's clock immediately before anything goes out; the time since that check is told by a
clock that does not stand still while the machine is suspended.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from app.errors import LocalTrouble
from app.faultpoints import fault_point
from app.resources import Resources
from app.states import Reason
from app.store.holds import Claimed, HoldKind, clear_request, renew_hold
from app.upstreams.gate import Held

# how often holds are checked for one request before the host is taken to be too slow for it
CHECKS = 5
# of the time that a request may take, this much may be over when its bytes leave
LATE_SHARE = 0.5
# a request without a limit of its own goes out with so much of a term left; the heartbeat renews at two thirds
LEFT_SHARE = 0.6
# when a create's intent or a look was taken over, whoever has it now needs a little time
LOST_SECONDS = 1.0


class LeaseLost(Exception):
    """Another worker has the exam, or a person cancelled it: stop at once, write nothing."""


def steady_clock() -> float:
    """Seconds since the start of the machine, the time included in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Hold:
    """One hold under its epoch. `sends`: a create's bytes leave right after the check, which is written with it."""

    kind: HoldKind
    row_id: UUID
    epoch: int
    sends: bool = False

    def lost(self) -> Exception:
        """What its loss means: without the exam's lease all is over, without another hold the exam waits."""
        if self.kind is HoldKind.EXAM:
            return LeaseLost()
        return Held(Reason.SETTLING, LOST_SECONDS, f"another exam has the {self.kind.name.lower()} by now")


@dataclass(frozen=True)
class Ready:
    """A request may go out and take so many `seconds`; or the account is `marked`, and the gate has to be asked first."""

    seconds: float | None
    marked: bool = False


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
        term = self._resources.settings.lease_seconds
        async with self._resources.sessions.begin() as session:
            for hold in list(self._held):
                kept = await renew_hold(session, hold.kind, hold.row_id, hold.epoch, seconds=term)
                ours = ours and (kept or hold.kind is not HoldKind.EXAM)
        if ours:
            self.renewed_at = began
        return ours

    async def ready(self, seconds: float | None, *, account: str | None = None) -> Ready:
        """All is ours for the request that goes out now, and may take `seconds` (None: it has no limit of its own).

        With an `account` that is marked nothing is said of the holds: ask the gate, then again without it. Raises
        LeaseLost, Held when something else was lost, and LocalTrouble when this host never comes from the check to
        the request in time.
        """
        term = self._resources.settings.lease_seconds
        enough = term * LEFT_SHARE if seconds is None else seconds
        for _ in range(CHECKS):
            held = list(self._held)
            began = steady_clock()
            async with self._resources.statements() as session:
                clearance = await clear_request(
                    session,
                    account,
                    [Claimed(hold.kind, hold.row_id, hold.epoch, hold.sends) for hold in held],
                    enough_seconds=enough,
                    term_seconds=max(term, enough),
                )
            if not clearance.unmarked:
                return Ready(None, marked=True)
            if clearance.lost is not None:
                raise held[clearance.lost].lost()
            if any(hold.sends for hold in held):
                fault_point("create:after_intent")
            over = steady_clock() - began
            if over <= LATE_SHARE * enough:
                return Ready(None if seconds is None else seconds - over)
        raise LocalTrouble("this host is too slow to send a request in time")
