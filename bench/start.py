"""`python -m bench.start`: what a start costs, beside Python's own, and what the API and a worker hold while they rest.

Processor time and peak memory of each command, as ratios to `python -c pass` in the same rounds; resident memory of the
idle processes as it is (RSS), and with what is shared divided among those who share it (PSS).
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.config.settings import Settings
from bench.programs import ROOT, api, fresh_settings, worker

ROUNDS = 5
REST_SECONDS = 5.0
BARE = ("-c", "pass")
COMMANDS = (
    "--help",
    "--version",
    "exam list --help",
    "org add --help",
    "clarius settings --help",
    "doctor --help",
    "serve --help",
    "worker --help",
    "check-dicom --help",
    "exam list",
)
"""The last is refused, for there are no settings: all that comes before the database is done."""

MEASURED = """
import os, sys
quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, _, used = os.wait4(process, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
"""Runs its arguments from a small process: a program's peak counts what it was forked from."""


@dataclass(frozen=True)
class Cost:
    """One process: processor time in seconds, and the most memory it held, in bytes."""

    seconds: float
    peak_bytes: int


def main() -> int:
    """Measure and print."""
    commands = [BARE, *(("-m", "app.cli", *command.split()) for command in COMMANDS)]
    rounds = [[_cost(command) for command in commands] for _ in range(ROUNDS)]
    bare, *ours = (_median(costs) for costs in zip(*rounds, strict=True))
    print(f"{'python -c pass':<24} {bare.seconds:5.2f} s           {bare.peak_bytes / 1e6:4.0f} MB")
    for name, cost in zip(COMMANDS, ours, strict=True):
        print(
            f"{name:<24} {cost.seconds:5.2f} s {cost.seconds / bare.seconds:5.1f} times "
            f"{cost.peak_bytes / 1e6:4.0f} MB {cost.peak_bytes / bare.peak_bytes:5.1f} times"
        )
    with tempfile.TemporaryDirectory(prefix="sonobridge-bench-") as name:
        _rest(Path(name))
    return 0


def _cost(command: Sequence[str]) -> Cost:
    # a mistake in the settings: the command that reads them ends before it starts a store of its own
    environment = {"PATH": os.environ["PATH"], "SONOBRIDGE_LEASE_SECONDS": "none"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak_kib = done.stdout.split()
    return Cost(seconds=float(seconds), peak_bytes=int(peak_kib) * 1024)


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        seconds=statistics.median(cost.seconds for cost in costs),
        peak_bytes=int(statistics.median(cost.peak_bytes for cost in costs)),
    )


def _rest(folder: Path) -> None:
    """Print what the API and a worker hold when nothing has been asked of them."""
    with fresh_settings(folder) as settings:
        asyncio.run(_resting(settings, folder))


async def _resting(settings: Settings, folder: Path) -> None:
    async with api(settings, folder) as (_, api_pid), worker(settings, folder) as worker_pid:
        await asyncio.sleep(REST_SECONDS)
        for name, pid in (("API at rest", api_pid), ("worker at rest", worker_pid)):
            held = psutil.Process(pid).memory_full_info()
            print(f"{name:<24} RSS {held.rss / 1e6:.0f} MB, PSS {held.pss / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
