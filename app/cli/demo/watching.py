"""Watches the exams of the demo in the database until each is where it must be; shows progress bars per step."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import select

from app.cli.demo.stage import Stage
from app.cli.demo.submitting import Expected
from app.cli.output import console
from app.states import FINAL, ExamState, Step
from app.store.exam_view import describe_exams
from app.store.exams import Exam
from app.store.organizations import Images

POLL_SECONDS = 0.2
REST_SECONDS = 180.0

Exams = Mapping[str, Exam]
Look = Callable[[Exams], Awaitable[bool]]
"""Told what was just read; whether nothing is left to be done."""


async def read_exams(stage: Stage, expected: Sequence[Expected]) -> dict[str, Exam]:
    """The rows of what was submitted, by request UUID."""
    uuids = [UUID(submission.request_uuid) for submission in expected]
    async with stage.resources.sessions() as session:
        rows = await session.scalars(select(Exam).where(Exam.request_uuid.in_(uuids)))
        return {str(exam.request_uuid): exam for exam in rows}


async def describe_all(stage: Stage) -> dict[str, dict[str, Any]]:
    """Every exam that the bridge knows, as it describes them, by request UUID."""
    async with stage.resources.sessions() as session:
        exams = (await session.scalars(select(Exam))).all()
        return {str(exam.request_uuid): exam.model_dump() for exam in await describe_exams(session, exams)}


async def watch(
    stage: Stage,
    expected: Sequence[Expected],
    *,
    submitting: "asyncio.Task[None]",
    total: int,
    look: Look,
    show: bool,
) -> bool:
    """Follow until all that `submitting` submits rest; whether they did in time. `look` is called with each reading."""
    steps = [step for step in Step if step is not Step.REPORT]
    if stage.organization.images == Images.NONE:
        steps = [step for step in steps if step not in {Step.CONVERT, Step.SEND}]
    deadline = time.monotonic() + REST_SECONDS
    with _bars(steps, total=total, show=show) as update:
        while time.monotonic() < deadline:
            exams = await read_exams(stage, expected)
            update(exams)
            if submitting.done():
                submitting.result()
                if await look(exams) and all(_rests(exam, exams) for exam in expected):
                    return True
            else:
                await look(exams)
            await asyncio.sleep(POLL_SECONDS)
    return False


def kill_a_worker(exams: Exams) -> int | None:
    """SIGKILL the worker that has an exam just now; its process id, None when none is at work."""
    owners = [exam.lease_owner for exam in exams.values() if exam.lease_owner]
    if not owners:
        return None
    # `<host>:<pid>:<random>`; the host is ours, because the demo's stores are
    pid = int(owners[0].rsplit(":", 2)[1])
    os.kill(pid, signal.SIGKILL)
    return pid


def _rests(expected: Expected, exams: Exams) -> bool:
    exam = exams.get(expected.request_uuid)
    return exam is not None and exam.state in FINAL


@contextmanager
def _bars(steps: Sequence[Step], *, total: int, show: bool) -> Iterator[Callable[[Exams], None]]:
    progress = Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        console=console(stderr=True),
        disable=not (show and sys.stderr.isatty()),
    )
    with progress:
        tasks = {step: progress.add_task(str(step), total=total) for step in steps}
        rest = progress.add_task("at rest", total=total)

        def update(exams: Exams) -> None:
            for step, task in tasks.items():
                progress.update(task, completed=sum(_is_past(exam, step) for exam in exams.values()))
            progress.update(rest, completed=sum(exam.state in FINAL for exam in exams.values()))

        yield update


def _is_past(exam: Exam, step: Step) -> bool:
    order = list(Step)
    return exam.state == ExamState.DELIVERED or order.index(Step(exam.step)) > order.index(step)
