"""Exams are found by what people type, page after page."""

import uuid
from datetime import UTC, datetime

import pytest

from app.resources import Resources
from app.states import ExamState, Source
from app.store.exam_search import ExamFilter, count_exams, find_exams
from app.store.exams import Exam

SAME = datetime(2026, 1, 31, 8, tzinfo=UTC)


async def kept(resources: Resources, number: int) -> list[Exam]:
    exams = [
        Exam(
            request_uuid=uuid.uuid4(),
            exam_uuid=uuid.uuid4(),
            source=Source.WEBHOOK,
            state=ExamState.FAILED,
            received_at=SAME,
        )
        for _ in range(number)
    ]
    async with resources.sessions.begin() as session:
        session.add_all(exams)
    return exams


async def test_pages_of_exams_that_came_in_one_moment_hold_each_once(resources: Resources) -> None:
    exams = await kept(resources, 5)
    seen: list[uuid.UUID] = []
    cursor = None
    async with resources.sessions() as session:
        for _ in range(3):
            page, cursor = await find_exams(session, ExamFilter(), limit=2, cursor=cursor)
            seen += [exam.id for exam in page]
    assert cursor is None
    assert seen == sorted((exam.id for exam in exams), reverse=True)


@pytest.mark.parametrize("digits", [2, 8, 9, 13, 14, 20, 35])
async def test_the_beginning_of_an_id_finds_it(resources: Resources, digits: int) -> None:
    exams = await kept(resources, 3)
    for which in (exams[0].request_uuid, exams[0].exam_uuid):
        typed = str(which)[:digits].upper()
        async with resources.sessions() as session:
            page, _ = await find_exams(session, ExamFilter(q=typed))
        alike = {
            exam.id
            for exam in exams
            if typed.lower() in (str(exam.request_uuid)[:digits], str(exam.exam_uuid)[:digits])
        }
        assert {exam.id for exam in page} == alike


@pytest.mark.parametrize("words", ["abc-", "12345678-abcde", "100%", "_", "--"])
async def test_what_is_the_beginning_of_no_id_finds_none(resources: Resources, words: str) -> None:
    await kept(resources, 3)
    async with resources.sessions() as session:
        assert await find_exams(session, ExamFilter(q=words)) == ([], None)


async def test_many_are_counted_no_further_than_asked(resources: Resources) -> None:
    await kept(resources, 5)
    async with resources.sessions() as session:
        assert await count_exams(session, ExamFilter(), up_to=3) == 3
        assert await count_exams(session, ExamFilter(), up_to=9) == 5
        assert await count_exams(session, ExamFilter()) == 5
