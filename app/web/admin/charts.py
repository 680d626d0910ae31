"""Draws the small charts of the overview as SVG, on the server; pure, must not query anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH = 480
HEIGHT = 120
FOOT = 18
GAP = 3
MARK_WIDTH = 34


@dataclass(frozen=True)
class Bar:
    """One bar: its place in the drawing, and what it says."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    """A bar chart of the last hours. `summary` says it in words, for those who don't see it."""

    bars: tuple[Bar, ...]
    marks: tuple[tuple[float, str], ...]
    top: str
    summary: str
    width: int = WIDTH
    height: int = HEIGHT
    foot: int = FOOT


def hours(until: datetime, *, count: int = 24) -> list[datetime]:
    """The starts of the last `count` hours, the running one last."""
    last = until.replace(minute=0, second=0, microsecond=0)
    return [last - timedelta(hours=back) for back in range(count - 1, -1, -1)]


def bar_chart(
    starts: Sequence[datetime], values: Sequence[float], labels: Sequence[str], *, top: str, summary: str
) -> Chart:
    """One bar an hour; the tallest fills the height. `labels` are the values in words."""
    most = max(values, default=0.0) or 1.0
    step = WIDTH / max(len(values), 1)
    room = HEIGHT - FOOT
    bars = tuple(
        Bar(
            x=round(number * step + GAP / 2, 1),
            y=round(room - max(value / most * (room - 4), 2.0 if value else 0.0), 1),
            width=round(step - GAP, 1),
            height=round(max(value / most * (room - 4), 2.0 if value else 0.0), 1),
            title=f"{start:%H:%M} UTC: {label}",
        )
        for number, (start, value, label) in enumerate(zip(starts, values, labels, strict=True))
    )
    marks = tuple(
        (round(number * step + GAP / 2, 1), f"{start:%H:%M}")
        for number, start in enumerate(starts)
        # one that would not fit before the edge is left out
        if start.hour % 6 == 0 and number * step < WIDTH - MARK_WIDTH
    )
    return Chart(bars, marks, top, summary)
