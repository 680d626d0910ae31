"""Exams over the admin API: find, look, retry, release, cancel, decide, import, captures, reports."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, File, Form, Path, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from app.delivery import actions
from app.delivery.possible import show_exam as shown_exam
from app.delivery.possible import show_exams
from app.inbox.imports import import_exam
from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.exam_search import find_exams, read_filter
from app.store.exam_view import ExamItem
from app.store.exams import Exam, wanted_exam
from app.store.filings import Choice
from app.web.api.bodies import Body, IdOrName, Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep
from app.web.exam_files import MEDIA_TYPES, capture_file, send_report

NO_SUCH_EXAM = {404: "`no_such_exam`"}
STALE = {**NO_SUCH_EXAM, 409: "`stale_move`: the exam's state does not allow it"}
RELEASED = {
    **NO_SUCH_EXAM,
    409: "`stale_move`: the exam's state does not allow it; `decision_needed`: a person has to say more, by `decide`",
}
DECIDED = {
    **NO_SUCH_EXAM,
    409: "`stale_move`: the exam does not wait for this decision; `no_exam_data`: what it would be filed by is no longer "
    "kept, retry first; `not_linked`: its Clarius account is linked to nobody; `changed`: it was being changed",
    422: "`invalid`: a value is missing or wrong; `which_one`: there are several, name one of the way's `subjects`",
}

router = APIRouter(route_class=ApiRoute, tags=["exams"])
log = structlog.get_logger(__name__)


class ExamFilter(Body):
    """Which exams; all that is given must hold."""

    state: ExamState | None = None
    step: Step | None = None
    reason: Reason | None = None
    organization: IdOrName | None = None
    since: datetime | None = None
    dry_run: bool = Field(False, description="Only count.")


class RetryCount(BaseModel):
    """How many exams the filter found and how many were retried."""

    matched: int = Field(examples=[12])
    retried: int = Field(examples=[12])


class ImportBody(Body):
    """Which request to take in."""

    request_uuid: UUID


class IdentityBody(Body):
    """A person's word on an identity conflict."""

    choice: Literal["separate", "same"]


class DecideBody(Body):
    """A person's decision on an exam in review; the exam's `ways` say which can be taken, and what each does."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"decision": "separate"}, {"decision": "same", "subject": "b3f0"}]},
    )
    decision: Choice
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        None, description="Whom (or which study) `same` means where there are several: an id of Aurabox."
    )


class ReportReceipt(BaseModel):
    """A report that Clarius took."""

    request_uuid: UUID = Field(examples=["7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"])
    name: str = Field(examples=["Findings"])
    bytes: int = Field(examples=[48213])


@router.get("/exams", responses=problems({404: "`no_such_organization`"}))
async def list_exams(  # noqa: PLR0913, PLR0917 - one parameter for each filter
    resources: ResourcesDep,
    _: CallerDep,
    state: Annotated[ExamState | None, Query(description="Only exams in this state.")] = None,
    step: Annotated[Step | None, Query(description="Only exams at this step.")] = None,
    reason: Annotated[Reason | None, Query(description="Only exams that wait for this.")] = None,
    organization: Annotated[
        str | None, Query(max_length=200, description="Only exams of this organisation (id or name).")
    ] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="A request or exam UUID or its beginning, or a part of an organisation's name.",
        ),
    ] = None,
    since: Annotated[
        str | None, Query(max_length=40, description="Received at or after this time (ISO 8601).")
    ] = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Page[ExamItem]:
    """Exams, the newest received first."""
    async with resources.sessions() as session:
        chosen = await read_filter(
            session, state=state, step=step, reason=reason, organization=organization, q=q, since=since
        )
        page, following = await find_exams(session, chosen, limit=limit, cursor=cursor)
        items = await show_exams(session, page)
    return Page(items=items, next_cursor=following)


@router.post("/exams/retry", responses=problems({404: "`no_such_organization`"}, writes=True))
async def retry_many(resources: ResourcesDep, caller: CallerDep, body: ExamFilter) -> RetryCount:
    """Retry all exams that the filter finds; without a state those that are failed or in review."""
    async with resources.sessions() as session:
        chosen = await read_filter(
            session,
            state=body.state,
            step=body.step,
            reason=body.reason,
            organization=body.organization,
            since=body.since,
        )
    bulk = await actions.act_on_matching(resources, chosen, actions.RETRY, by=caller.by, dry_run=body.dry_run)
    return RetryCount(matched=bulk.matched, retried=bulk.done)


@router.post(
    "/exams/import",
    status_code=201,
    responses=problems({404: "`not_listed`: Clarius does not list this request"}, writes=True, upstream=True),
)
async def import_one(resources: ResourcesDep, caller: CallerDep, body: ImportBody) -> ExamItem:
    """Take in a request that Clarius lists and we do not know; one that we know is answered as it is."""
    exam = await import_exam(resources, body.request_uuid, by=caller.by)
    return await _shown(resources, exam)


@router.get("/exams/{request_uuid}", responses=problems(NO_SUCH_EXAM))
async def show_exam(resources: ResourcesDep, _: CallerDep, request_uuid: UUID) -> ExamItem:
    """One exam. It holds no patient data."""
    async with resources.sessions() as session:
        exam = await wanted_exam(session, request_uuid)
    return await _shown(resources, exam)


@router.post("/exams/{request_uuid}/retry", responses=problems(STALE, writes=True))
async def retry(resources: ResourcesDep, caller: CallerDep, request_uuid: UUID) -> ExamItem:
    """Try again now. An exam that is under way or delivered is left as it is."""
    return await _shown(resources, await actions.act_on(resources, request_uuid, actions.RETRY, by=caller.by))


@router.post("/exams/{request_uuid}/release", responses=problems(RELEASED, writes=True))
async def release(resources: ResourcesDep, caller: CallerDep, request_uuid: UUID) -> ExamItem:
    """Vouch for an exam that is unverified or in review, so that it goes on.

    Of an unverified one `claims` says who announced it, where its data are said to lie, and for whom it would be filed:
    Clarius does not list it, and it may be forged.
    """
    return await _shown(
        resources, await actions.act_on(resources, request_uuid, actions.RELEASE, by=caller.by)
    )


@router.post("/exams/{request_uuid}/cancel", responses=problems(STALE, writes=True))
async def cancel(resources: ResourcesDep, caller: CallerDep, request_uuid: UUID) -> ExamItem:
    """Stop an exam for good; a retry takes that back."""
    return await _shown(
        resources, await actions.act_on(resources, request_uuid, actions.CANCEL, by=caller.by)
    )


@router.post("/exams/{request_uuid}/decide", responses=problems(DECIDED, writes=True))
async def decide_one(
    resources: ResourcesDep, caller: CallerDep, request_uuid: UUID, body: DecideBody
) -> ExamItem:
    """Settle what an exam in review waits for, by one of its `ways`; safe to repeat."""
    exam = await actions.decide(
        resources,
        request_uuid,
        body.decision,
        by=caller.by,
        subject=body.subject,
    )
    return await _shown(resources, exam)


@router.post("/exams/{request_uuid}/identity", responses=problems(DECIDED, writes=True))
async def decide(
    resources: ResourcesDep, caller: CallerDep, request_uuid: UUID, body: IdentityBody
) -> ExamItem:
    """Settle an identity conflict: `same` files under the known patient, `separate` as somebody else."""
    exam = await actions.decide(resources, request_uuid, body.choice, by=caller.by)
    return await _shown(resources, exam)


@router.get(
    "/exams/{request_uuid}/captures/{n}",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The capture's bytes as Clarius served them.",
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind, _ in MEDIA_TYPES.values()
            },
        },
        **problems({404: "`no_such_exam`, `no_such_capture`: also when its bytes are no longer kept here"}),
    },
)
async def capture(
    resources: ResourcesDep, caller: CallerDep, request_uuid: UUID, n: Annotated[int, Path(ge=0, le=10_000)]
) -> FileResponse:
    """One capture's bytes, while they are kept. It may show a patient, so that each look is audited."""
    return await capture_file(resources, request_uuid, n, by=caller.by)


@router.post(
    "/exams/{request_uuid}/reports",
    status_code=201,
    responses=problems(NO_SUCH_EXAM, writes=True, upstream=True),
)
async def report(
    resources: ResourcesDep,
    caller: CallerDep,
    request_uuid: UUID,
    name: Annotated[str, Form(min_length=1, max_length=200, description="Shown to the user at Clarius.")],
    file: Annotated[UploadFile, File(description="The report, at most 32 MiB.")],
) -> ReportReceipt:
    """Upload a report of your own onto the exam at Clarius."""
    content = await file.read()
    await send_report(resources, request_uuid, name=name, file=file, content=content, by=caller.by)
    return ReportReceipt(request_uuid=request_uuid, name=name, bytes=len(content))


async def _shown(resources: Resources, exam: Exam) -> ExamItem:
    async with resources.sessions() as session:
        fresh = await session.get_one(Exam, exam.id)
        return await shown_exam(session, fresh)
