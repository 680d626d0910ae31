"""What is kept of exams that did not arrive, and for how long: nobody's images lie here without an end."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.delivery.actions import RETRY, act_on
from app.resources import Resources
from app.states import ExamState, Step
from app.store.audit import By
from app.store.base import in_seconds
from app.store.captures import Capture
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.upkeep.retention import DECIDABLE, LINES_AT_ONCE, purge
from tests.support.exams import add_exam, reread


async def at_rest(resources: Resources, state: ExamState, *, days: float) -> tuple[Exam, Path]:
    """An exam that has rested for so many days, with one staged capture and its exam data."""
    exam = await add_exam(
        resources,
        state=state,
        step=Step.MATCH,
        due_in=None,
        exam_data_sealed=resources.seal_text("{}"),
        error_code="told",
        error_message="What happened.",
    )
    path = resources.staging.path(exam.id, "capture-0000")
    path.write_bytes(b"bytes")
    async with resources.sessions.begin() as session:
        at = await session.scalar(select(in_seconds(-days * 24 * 3600)))
        session.add(Capture(exam_id=exam.id, index=0, already_delivered=False, bytes=5, downloaded_at=at))
        await session.execute(
            update(Exam).where(Exam.id == exam.id).values(exam_data_at=at, updated_at=at, verified_at=at)
        )
    return exam, path


@pytest.mark.parametrize("state", [ExamState.FAILED, ExamState.UNVERIFIED, ExamState.REVIEW])
async def test_what_did_not_arrive_is_kept_for_its_time_and_no_longer(
    resources: Resources, state: ExamState
) -> None:
    limit = 90 if state == ExamState.REVIEW else 30
    old, old_file = await at_rest(resources, state, days=limit + 1)
    young, young_file = await at_rest(resources, state, days=limit - 1)
    purged = await purge(resources, by=By("test"))
    assert (purged.captures, purged.folders, purged.exam_data) == (1, 1, 1)
    assert (old_file.exists(), young_file.exists()) == (False, True)
    rows = [await reread(resources, one.id) for one in (old, young)]
    assert [row.exam_data_sealed is None for row in rows] == [True, False]
    # what a person decides by is gone, and the exam says so
    assert (DECIDABLE in (rows[0].error_message or "")) == (state == ExamState.REVIEW)
    assert not any((await purge(resources, by=By("test"))).as_json().values())


async def test_one_in_review_that_is_tried_again_after_its_time_is_read_anew(resources: Resources) -> None:
    exam, _ = await at_rest(resources, ExamState.REVIEW, days=91)
    await purge(resources, by=By("test"))
    retried = await act_on(resources, exam.request_uuid, RETRY, by=By("test"))
    assert (retried.state, retried.step, retried.error_message) == (ExamState.QUEUED, Step.FETCH, None)


async def test_more_than_a_batch_is_deleted_batch_by_batch(resources: Resources) -> None:
    exam, _ = await at_rest(resources, ExamState.FAILED, days=1)
    many = LINES_AT_ONCE + 1
    async with resources.sessions.begin() as session:
        long_ago = await session.scalar(select(in_seconds(-8 * 366 * 24 * 3600)))
        line = {"exam_id": exam.id, "step": "match", "event": "told", "at": long_ago}
        await session.execute(ExamEvent.__table__.insert(), [line] * many)
    assert (await purge(resources, by=By("test"), dry_run=True)).events == many
    assert (await purge(resources, by=By("test"))).events == many
