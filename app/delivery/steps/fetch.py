"""Step fetch: read the exam data (C2), store it sealed, make a row for each capture."""

import json
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.clarius import ExamData
from app.delivery.capture_list import keep_bundle, keep_captures
from app.delivery.filing import PATIENT_CHANGED, WRONG_ANSWER, file, identity_hash
from app.delivery.outcome import Done, NeedsPerson, Outcome, Rest
from app.delivery.still_listed import exam_data_missing
from app.delivery.work import Work
from app.errors import GiveUp, NotThere, WrongShape
from app.states import ExamState, Step
from app.store.exams import Exam
from app.store.filed import AS_FILED
from app.store.filings import Filing
from app.store.organizations import CaptureSource, Organization, Policy, PolicyFields

# One exam has dozens of captures; a list of more is a mistake or an attack, and a person looks at it.
MAX_CAPTURES = 2000
# exam data that are JSON and no object so often are so for good
WRONG_SHAPES = 3


async def fetch(work: Work) -> Outcome:
    """Done when the exam data is stored; no captures is a valid exam. One that Clarius lists no more is gone."""
    exam = await work.read()
    if exam.exam_data_sealed is not None:
        return Done()
    try:
        count = await store_exam_data(work, exam)
    except NotThere:
        return await exam_data_missing(work, exam)
    if count > MAX_CAPTURES:
        return Rest(
            ExamState.FAILED, "too_many_captures", f"the exam names more than {MAX_CAPTURES} captures"
        )
    if count == 0 and exam.filing is None:
        # the first time that it is read, and there is nothing to download
        return Done("0 captures", to=Step.MATCH)
    return Done(f"{count} captures")


async def store_exam_data(work: Work, exam: Exam) -> int:
    """Read the exam data and store it with fresh capture links; the number of captures it names.

    Called again when a link has expired: captures keep their rows, whatever their order, and get their new URLs.
    Raises NeedsPerson when the answer is of another request, or names somebody else than it did before.
    """
    if exam.download_url is None:
        raise RuntimeError("an exam past verify has a download URL")
    _refuse_foreign_url(exam)
    try:
        async with work.effect("fetch:read_exam_data", AccountKind.CLARIUS):
            clarius = await work.resources.clarius()
            data = await clarius.exam_data(exam.download_url)
    except WrongShape as error:
        if await work.count("wrong_shape") < WRONG_SHAPES:
            raise
        raise GiveUp(error.message, upstream="clarius", status=error.status, code=error.code) from error
    _refuse_foreign_answer(exam, data)
    if len(data.captures) > MAX_CAPTURES:
        return len(data.captures)
    named = await identity_hash(work.resources, exam, data.raw.get("patient"))
    async with work.rows(AS_FILED, locked=True) as (session, row):
        policy = _file(session, row, named)
        row.Exam.exam_data_sealed = work.resources.seal_text(json.dumps(data.raw))
        row.Exam.exam_data_at = row.at
        row.Exam.data_missing_since = None
        if policy.source == CaptureSource.CLARIUS_DICOM:
            await keep_bundle(work.resources, session, row.Exam, has_images=bool(data.captures))
        else:
            urls = [capture.url or None for capture in data.captures]
            await keep_captures(work.resources, session, row.Exam, urls)
    return len(data.captures)


def _refuse_foreign_url(exam: Exam) -> None:
    """Of a claim that a person released, only an address that holds its own request UUID is asked.

    Our key reads every customer's exams, so that a forged address could name anybody's.
    """
    if exam.verified_at is None and str(exam.request_uuid) not in urlsplit(
        exam.download_url or ""
    ).path.split("/"):
        raise NeedsPerson(
            "the notification names an address that is not this request's; nothing was read",
            code=WRONG_ANSWER,
        )


def _refuse_foreign_answer(exam: Exam, data: ExamData) -> None:
    """Clarius says of which request its answer is; of a request that it does not list it has to."""
    answered = (data.request_uuid or "").strip().lower()
    if answered != str(exam.request_uuid) and (answered or exam.verified_at is None):
        raise NeedsPerson(
            "Clarius answered with the data of another request; nothing of it was kept", code=WRONG_ANSWER
        )


def _file(session: AsyncSession, row: Row[Any], named: bytes) -> PolicyFields:
    """The exam's first filing, or the comparison with it when the data is read again; by which policy it is filed."""
    filing: Filing | None = row.Filing
    organization: Organization = row.Organization
    if filing is None:
        link = row.Link
        if link is not None and link.organization_id != organization.id:
            # moved since the exam was verified: the next step compares, and does what was said of exams under way
            link = None
        file(session, row.Exam, organization, identity_hash=named, link=link)
        return organization
    if filing.identity_hash is not None and filing.identity_hash != named:
        raise NeedsPerson(
            "the exam data names somebody else than when the exam was filed", code=PATIENT_CHANGED
        )
    filing.identity_hash = named
    policy: Policy = row.Policy
    return policy
