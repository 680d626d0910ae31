"""Reads Clarius's list of exams so that a long one is got through (C1): one reading at a time, each page noted.

The list is newest first. A reading goes down from the top to what the reading before it has surely seen: the
beginning of that one, for what was submitted while it went on may have been too late for its first page. The very
first reading goes down to the end, which may be thousands of pages; broken off, the next one goes on from there.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.clients.clarius import ClariusClient, ExamNotice
from app.errors import Misuse
from app.resources import Resources
from app.store.base import clock
from app.store.runs import hold_run, keep_place, let_go_of_run

RUN = "reconcile"
# a page is read and taken in within so many leases of an exam, or the reading has died and the next one may begin
LEASES = 3
# how much further back than the last good reading one goes: Clarius lists an exam some time after its submission
OVERLAP = timedelta(minutes=10)
# exams deleted at Clarius move the others up: a reading that goes on steps back so far, and further as need be
STEP_BACK = 100


class ReadingUnderWay(Misuse):
    """Somebody is just reading the list."""

    kind = "busy"


@dataclass(frozen=True)
class Stretch:
    """A part of the list: from when it was begun back to `back_to` (None: to the end).

    `offset` entries were read of it, the oldest of them submitted at `reached`.
    """

    began: datetime
    back_to: datetime | None = None
    offset: int = 0
    reached: datetime | None = None

    def after(self, page: Sequence[ExamNotice]) -> "Stretch":
        """The stretch when this page of it was read too."""
        times = [notice.submitted_at for notice in page if notice.submitted_at is not None]
        reached = min([*times, *([self.reached] if self.reached else [])], default=None)
        return replace(self, offset=self.offset + len(page), reached=reached)

    def ends_with(self, page: Sequence[ExamNotice]) -> bool:
        """Whether a page that was known whole may end it: it lists exams from before the last good reading.

        A known page alone does not prove that the older ones are: webhooks may have failed for an hour and come again
        since, and then the missed exams lie behind a page of known ones.
        """
        times = [notice.submitted_at for notice in page if notice.submitted_at is not None]
        return self.back_to is not None and (not times or min(times) < self.back_to)


class Reading:
    """The reading that holds the list: what is left of an earlier one, and where the last good one began."""

    def __init__(self, resources: Resources, owner: str, place: dict[str, Any]) -> None:
        self._resources = resources
        self._owner = owner
        left = place.get("left")
        self.good_since = _moment(place.get("good_since"))
        self.left = (
            Stretch(**{**left, **{name: _moment(left[name]) for name in ("began", "back_to", "reached")}})
            if left
            else None
        )

    async def top(self) -> Stretch:
        """The stretch from the top of the list to where the last good reading began."""
        async with self._resources.sessions() as session:
            began = await clock(session)
        return Stretch(began, back_to=self.good_since - OVERLAP if self.good_since else None)

    async def note(self, left: Stretch) -> None:
        """So far it came. Raises ReadingUnderWay when somebody else reads by now."""
        self.left = left
        await self._keep()

    async def done(self, stretch: Stretch) -> None:
        """The whole stretch was read. Raises ReadingUnderWay."""
        self.left, self.good_since = None, stretch.began
        await self._keep()

    async def close(self) -> None:
        """Let the next one begin."""
        async with self._resources.sessions.begin() as session:
            await let_go_of_run(session, RUN, owner=self._owner)

    async def _keep(self) -> None:
        seconds = LEASES * self._resources.settings.lease_seconds
        left = asdict(self.left) if self.left else None
        place = {
            "good_since": _text(self.good_since),
            "left": left and {k: _text(v) for k, v in left.items()},
        }
        async with self._resources.sessions.begin() as session:
            if not await keep_place(session, RUN, owner=self._owner, place=place, seconds=seconds):
                raise ReadingUnderWay("another reading of Clarius's list has taken over")


async def open_reading(resources: Resources, *, every: float = 0.0) -> Reading | None:
    """Be the one who reads; None while somebody else does, or did less than `every` seconds ago."""
    owner = f"{resources.worker_id}:{secrets.token_hex(4)}"
    seconds = LEASES * resources.settings.lease_seconds
    async with resources.sessions.begin() as session:
        run = await hold_run(session, RUN, owner=owner, seconds=seconds, every=every)
    if run is None:
        return None
    # before a place was noted: as far back as that reading may have begun
    before = run.finished_at - timedelta(hours=1) if run.finished_at is not None else None
    return Reading(resources, owner, run.place or {"good_since": _text(before)})


async def pages_of(
    clarius: ClariusClient, stretch: Stretch
) -> AsyncIterator[tuple[Stretch, list[ExamNotice]]]:
    """The pages of a stretch from where it was broken off, each with what the stretch is once it is read."""
    stretch = replace(stretch, offset=await _where(clarius, stretch))
    async for page in clarius.accessible_exam_pages(offset=stretch.offset):
        stretch = stretch.after(page)
        yield stretch, page


async def _where(clarius: ClariusClient, stretch: Stretch) -> int:
    """From which offset on to read: one at which the list overlaps what was read, whatever was deleted meanwhile."""
    offset, step = stretch.offset, STEP_BACK
    while offset > 0 and stretch.reached is not None:
        offset = max(0, offset - step)
        step *= 4
        async for page in clarius.accessible_exam_pages(offset=offset, limit=1):
            if any(
                notice.submitted_at is not None and notice.submitted_at >= stretch.reached for notice in page
            ):
                return offset
            break
    return 0


def _moment(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
