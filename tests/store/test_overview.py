"""The delivered are counted once a day, and their number is right at any time."""

import uuid
from datetime import timedelta

from sqlalchemy import update

from app.resources import Resources
from app.states import ExamState, Source
from app.store.base import in_seconds
from app.store.exams import Exam
from app.store.overview import DELIVERED, Overview, note_delivered, read_overview
from app.store.runs import DAY_SECONDS, Run


async def deliver(resources: Resources, *, ago: timedelta) -> None:
    async with resources.sessions.begin() as session:
        session.add(
            Exam(
                request_uuid=uuid.uuid4(),
                exam_uuid=uuid.uuid4(),
                source=Source.WEBHOOK,
                state=ExamState.DELIVERED,
                delivered_at=in_seconds(-ago.total_seconds()),
            )
        )


async def look(resources: Resources) -> Overview:
    async with resources.sessions.begin() as session:
        seen = await read_overview(session)
        await note_delivered(session, seen)
        return seen


async def test_those_delivered_since_the_count_are_added(resources: Resources) -> None:
    for ago in (timedelta(days=400), timedelta(hours=2), timedelta(minutes=1)):
        await deliver(resources, ago=ago)
    assert (await look(resources)).states[ExamState.DELIVERED] == 3
    await deliver(resources, ago=timedelta(0))
    seen = await look(resources)
    assert seen.runs[DELIVERED].result is not None
    assert seen.runs[DELIVERED].result["count"] == 2
    assert seen.states[ExamState.DELIVERED] == 4


async def test_they_are_counted_anew_after_a_day(resources: Resources) -> None:
    await look(resources)
    await deliver(resources, ago=timedelta(days=2))
    async with resources.sessions.begin() as session:
        await session.execute(
            update(Run).where(Run.name == DELIVERED).values(started_at=in_seconds(-DAY_SECONDS - 1))
        )
    await look(resources)
    assert (await look(resources)).states[ExamState.DELIVERED] == 1
