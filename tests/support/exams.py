"""Exam rows made by hand, for tests of one step or one query; must not stand in for the webhook in whole journeys."""

import uuid
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.delivery.work import Work
from app.resources import Resources
from app.states import ExamState, Source, Step
from app.store.base import in_seconds
from app.store.exam_events import timeline
from app.store.exam_leases import lease_exam
from app.store.exams import Exam


async def add_exam(
    resources: Resources, *, state: ExamState = ExamState.QUEUED, due_in: float | None = 0.0, **columns: Any
) -> Exam:
    """A row as `columns` say, due in so many seconds (None: never)."""
    async with resources.sessions.begin() as session:
        due: datetime | None = None
        if due_in is not None:
            due = await session.scalar(select(in_seconds(due_in)))
        exam = Exam(
            **{
                "request_uuid": uuid.uuid4(),
                "exam_uuid": uuid.uuid4(),
                "source": Source.WEBHOOK,
                "step": Step.VERIFY,
                "due_at": due,
                "state": state,
                **columns,
            }
        )
        session.add(exam)
    return exam


async def hold(resources: Resources, exam: Exam, *, seconds: float | None = None) -> Work:
    """Claim the exam as this process's worker does. Raises AssertionError when it is not to be had."""
    async with resources.sessions.begin() as session:
        claimed = await lease_exam(
            session,
            exam.id,
            owner=resources.worker_id,
            host=resources.host,
            seconds=resources.settings.lease_seconds if seconds is None else seconds,
        )
    assert claimed is not None, "the exam can't be claimed"
    return Work(resources=resources, exam_id=exam.id, epoch=claimed.epoch)


async def reread(resources: Resources, exam_id: UUID) -> Exam:
    """The row as it is now."""
    async with resources.sessions() as session:
        return await session.get_one(Exam, exam_id)


async def history(resources: Resources, exam_id: UUID) -> list[str]:
    """The events of an exam's timeline, oldest first."""
    async with resources.sessions() as session:
        return [event.event for event in await timeline(session, exam_id)]
