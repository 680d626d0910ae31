"""`make bench`: measures everything that has a goal, prints each figure beside it, and says which are missed.

Exit status 1 when something is worse than it must be. On a machine that is not quiet there is no verdict, and the exit
status is 2; so it is when what something is measured against is not on this machine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import uvloop

from app.config.settings import Settings
from bench import bytes as transfers
from bench import door, images, line, memory, tables
from bench.figures import Figure, is_quiet
from bench.programs import fresh_settings

Measure = Callable[[Settings, Path], AsyncIterator[Figure]]
PARTS: dict[str, Measure] = {
    "door": door.measure,
    "line": line.measure,
    "bytes": transfers.measure,
    "memory": memory.measure,
    "images": images.measure,
    "tables": tables.measure,
}


def main() -> int:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which to run (default: all)")
    parser.add_argument(
        "--exams", type=int, default=tables.MANY, help="how many `tables` fills in (default: %(default)s)"
    )
    parser.add_argument(
        "--plans", action="store_true", help="`tables` prints each statement's times and plan"
    )
    options = parser.parse_args()
    parts = PARTS | {"tables": partial(tables.measure, exams=options.exams, plans=options.plans)}
    started = time.monotonic()
    quiet = is_quiet()
    if not quiet:
        print("Something else keeps this machine busy: the figures are printed, without a verdict.")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="sonobridge-bench-") as name:
        for part in options.parts or PARTS:
            figures += _run(parts[part], Path(name) / part, quiet=quiet)
    print(f"{len(figures)} figures in {time.monotonic() - started:.0f} s")
    if quiet and any(figure.verdict == "MISSED" for figure in figures):
        return 1
    return 0 if quiet and all(figure.verdict for figure in figures) else 2


def _run(measure: Measure, folder: Path, *, quiet: bool) -> list[Figure]:
    """One part, on stores of its own."""
    folder.mkdir()
    with fresh_settings(folder) as settings:
        return uvloop.run(_printed(measure, settings, folder, quiet=quiet))


async def _printed(measure: Measure, settings: Settings, folder: Path, *, quiet: bool) -> list[Figure]:
    figures = []
    async for figure in measure(settings, folder):
        print(figure.line(quiet=quiet), flush=True)
        figures.append(figure)
    return figures


if __name__ == "__main__":
    sys.exit(main())
