"""Step fetch: read the exam data (C2), store it sealed, make a row for each capture."""

import json

from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.clarius import CaptureLink
from app.delivery.outcome import Done, Outcome, Rest
from app.delivery.work import Work
from app.errors import NotThere
from app.resources import Resources
from app.states import ExamState
from app.store.base import now
from app.store.captures import Capture, captures_of
from app.store.exams import Exam
from app.store.organizations import CaptureSource, Organization

# One exam has dozens of captures; a list of more is a mistake or an attack, and a person looks at it.
MAX_CAPTURES = 2000

GONE = Rest(ExamState.GONE, "gone", "the exam was deleted at Clarius before it could be read")


async def fetch(work: Work) -> Outcome:
    """Done when the exam data is stored; no captures is a valid exam. Deleted at Clarius: the exam is gone."""
    exam = await work.read()
    if exam.exam_data_sealed is not None:
        return Done()
    try:
        count = await store_exam_data(work, exam)
    except NotThere:
        return GONE
    if count > MAX_CAPTURES:
        return Rest(
            ExamState.FAILED, "too_many_captures", f"the exam names more than {MAX_CAPTURES} captures"
        )
    return Done(f"{count} captures")


async def store_exam_data(work: Work, exam: Exam) -> int:
    """Read the exam data and store it with fresh capture links; the number of captures it names.

    Called again when a link has expired: a capture keeps its row, and gets the new URL of its place in the list.
    """
    if exam.download_url is None:
        raise RuntimeError("an exam past verify has a download URL")
    async with work.effect("fetch:read_exam_data", "clarius"):
        clarius = await work.resources.clarius()
        data = await clarius.exam_data(exam.download_url)
    if len(data.captures) > MAX_CAPTURES:
        return len(data.captures)
    async with work.tx() as (session, row):
        row.exam_data_sealed = work.resources.seal_text(json.dumps(data.raw))
        row.exam_data_at = await session.scalar(now().select())
        rows = {capture.index: capture for capture in await captures_of(session, row.id)}
        organization = await session.get(Organization, row.organization_id)
        if organization is not None and organization.source == CaptureSource.CLARIUS_DICOM:
            # Clarius's own DICOM comes as one bundle, whatever captures the exam data name; its address is
            # asked for when it is downloaded
            if data.captures and not rows:
                session.add(Capture(exam_id=row.id, index=0, already_delivered=False))
            return len(data.captures)
        for link in data.captures:
            _keep_capture(work.resources, session, row, rows.get(link.index), link)
    return len(data.captures)


def _keep_capture(
    resources: Resources, session: AsyncSession, exam: Exam, capture: Capture | None, link: CaptureLink
) -> None:
    if capture is None:
        capture = Capture(exam_id=exam.id, index=link.index, already_delivered=False)
        session.add(capture)
    capture.url_sealed = resources.seal_text(link.url) if link.url else None
    if link.url is None:
        capture.problem_code = "capture_without_url"
        capture.problem_message = "Clarius named this capture but gave no address for it"
