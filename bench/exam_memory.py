"""Prints how far the memory of a real worker rises above rest while it carries one exam of large clips.

The worker is a process of its own (`python -m workers`), the vendors are the sandbox; counted is what is resident in
the worker and in the processes of its pool together. The goal is below 250 MB for 20 captures of 100 MB sent as
H.264. Smaller by default; the whole of it is `python -m bench.exam_memory --captures 20 --megabytes 100`, which
needs some 9 GB of disk.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.config.settings import Settings
from app.states import ExamState
from bench.imaging_memory import MEGABYTE, in_own_process, make_captures
from bench.programs import fresh_settings
from sandbox.clarius.captures import keep_capture
from sandbox.media import Made
from sandbox.server import Sandbox
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.processes import environment_of

GOAL_MEGABYTES = 250
SAMPLE_SECONDS = 0.05
LEASE_SECONDS = 20.0


@dataclass
class Memory:
    """Bytes resident in a process and its children: at rest, and at most, by step of the exam."""

    rest: int = 0
    peaks: dict[str, int] | None = None

    @property
    def above(self) -> int:
        """The highest peak above rest."""
        return max((self.peaks or {}).values(), default=self.rest) - self.rest


def main() -> int:
    """Run the benchmark; exit status 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=20, help="size of each clip")
    parser.add_argument("--video", choices=["h264", "cine"], default="h264")
    parser.add_argument("--images", choices=["uploader", "dicomweb"], default="uploader")
    parser.add_argument("--folder", type=Path, default=None, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        captures = in_own_process(make_captures, Path(folder), options.captures, options.megabytes)
        started = time.monotonic()
        memory = asyncio.run(_alone(captures, Path(folder), video=options.video, images=options.images))
        seconds = time.monotonic() - started
    print(
        f"{options.captures} clips of {options.megabytes} MB as {options.video} by {options.images}: {seconds:.1f} s"
    )
    print(f"worker at rest       {memory.rest / MEGABYTE:8.1f} MB")
    for step, peak in (memory.peaks or {}).items():
        print(f"  peak of {step:<10} + {(peak - memory.rest) / MEGABYTE:8.1f} MB")
    print(f"highest            + {memory.above / MEGABYTE:8.1f} MB (goal: below {GOAL_MEGABYTES})")
    return 0 if memory.above < GOAL_MEGABYTES * MEGABYTE else 1


async def _alone(captures: list[Path], folder: Path, *, video: str, images: str) -> Memory:
    """`carry` on stores of its own."""
    with fresh_settings(folder, durable=False) as plain:
        return await carry(plain, captures, folder, video=video, images=images)


async def carry(
    settings: Settings, captures: list[Path], folder: Path, *, video: str, images: str = "uploader"
) -> Memory:
    """Let a worker carry one exam of these captures from notification to delivery, and watch it.

    `settings` name the stores; logs go into `folder`. The captures' files are used up.
    """
    async with Sandbox() as sandbox:
        wanted = _settings(settings, sandbox)
        async with open_bridge(wanted, sandbox, worker=False) as bridge, _worker(wanted, folder) as pid:
            return await _watch(bridge, captures, pid, video=video, images=images)


def _settings(plain: Settings, sandbox: Sandbox) -> Settings:
    given = sandbox.settings_for_bridge
    return settings_for(
        plain,
        sandbox,
        aura_app_id=given["AURA_APP_ID"],
        aura_app_secret=SecretStr(given["AURA_APP_SECRET"]),
        lease_seconds=LEASE_SECONDS,
        sweep_seconds=2.0,
        capture_retention_hours=0.0,
    )


@asynccontextmanager
async def _worker(settings: Settings, folder: Path) -> AsyncIterator[int]:
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (folder / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workers",
            env={**environ, **environment_of(settings)},
            stdout=log,
            stderr=log,
        )
        try:
            yield process.pid
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await process.wait()


async def _watch(bridge: Bridge, captures: list[Path], pid: int, *, video: str, images: str) -> Memory:
    sandbox = bridge.sandbox
    more: dict[str, Any] = (
        {"dicomweb_url": sandbox.dicomweb_url, "dicomweb_token": sandbox.team().key}
        if images == "dicomweb"
        else {}
    )
    clinic = await bridge.organization(images=images, video=video, **more)
    customer = await bridge.customer(clinic)
    submitted = await sandbox.submit_exam(customer=customer, captures=(), notify_times=0)
    for path in captures:
        kept = keep_capture(sandbox, Made("mp4", path.read_bytes(), "video/mp4", "mp4"))
        sandbox.clarius.exams[submitted.request_uuid].capture_ids.append(kept.id)
        path.unlink()
    memory = Memory(rest=resident(pid), peaks={})
    await sandbox.notify(submitted.request_uuid)
    while True:
        exam = await bridge.exam(submitted.request_uuid)
        if exam.state in {ExamState.DELIVERED, ExamState.REVIEW, ExamState.FAILED}:
            break
        peaks = memory.peaks if memory.peaks is not None else {}
        for _ in range(4):
            peaks[exam.step] = max(peaks.get(exam.step, 0), resident(pid))
            await asyncio.sleep(SAMPLE_SECONDS)
    if exam.state != ExamState.DELIVERED or exam.sent_count != len(captures):
        raise RuntimeError(f"the exam ended {exam.state}: {exam.error_code} {exam.error_message}")
    return memory


def resident(pid: int) -> int:
    """Bytes resident in a process and all that it started; pages that several share are counted for each."""
    total = 0
    for one in [pid, *_children(pid)]:
        try:
            status = Path(f"/proc/{one}/status").read_text("ascii")
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
    return total * 1024


def _program(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text("ascii").split()]
        except OSError:
            continue
        for child in children:
            # between fork and exec a child is its parent's memory seen twice
            if _program(child) != _program(pid):
                found += [child, *_children(child)]
    return found


if __name__ == "__main__":
    sys.exit(main())
