"""What a benchmark found beside its goal, and whether the machine was quiet enough to believe it; measures nothing else."""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 3
QUIET_SECONDS = 1.0
# of all processor time; ours is at rest while it is looked at
MOST_BUSY = 0.10


@dataclass(frozen=True)
class Figure:
    """One row. `goal` and `must` are the most that it may be, or with `least` the least.

    `value` is None where it could not be measured; `detail` then says what is missing here.
    """

    name: str
    value: float | None
    goal: float
    must: float | None = None
    least: bool = False
    detail: str = ""

    def meets(self, bound: float) -> bool:
        """Whether there is a value and it keeps to a bound."""
        if self.value is None:
            return False
        return self.value >= bound if self.least else self.value <= bound

    @property
    def verdict(self) -> str:
        """`met`; `missed` when only the goal is; `MISSED` when it is not even what it must be; "" without a value."""
        if self.value is None:
            return ""
        if self.meets(self.goal):
            return "met"
        return "missed" if self.must is None or self.meets(self.must) else "MISSED"

    def line(self, *, quiet: bool) -> str:
        """The row as it is printed."""
        sign = "≥" if self.least else "≤"
        bound = f"{sign} {self.goal:g}" + (f" (must {self.must:g})" if self.must is not None else "")
        if self.value is None:
            return f"{self.name:<66} {'-':>9}  {bound:<18} not measured: {self.detail}"
        verdict = self.verdict if quiet else "no verdict"
        return f"{self.name:<66} {self.value:>9.3g}  {bound:<18} {verdict:<10}  {self.detail}"


async def alternating(*measures: Callable[[], Awaitable[float]]) -> list[list[float]]:
    """Three rounds, each measure once in each, back to back: what the machine does meanwhile happens to all alike."""
    rounds = [[await measure() for measure in measures] for _ in range(ROUNDS)]
    return [list(column) for column in zip(*rounds, strict=True)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def is_quiet() -> bool:
    """Whether nothing else uses the processors just now (proc(5), `stat`)."""
    before = _times()
    time.sleep(QUIET_SECONDS)
    busy, everything = (now - then for now, then in zip(_times(), before, strict=True))
    return busy <= MOST_BUSY * everything


def _times() -> tuple[int, int]:
    """Busy and all ticks of all processors since the start."""
    fields = [int(field) for field in Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)
