"""The list of exams: search, filters, pages, and retrying all that a filter finds, with a count to confirm."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.delivery.actions import RETRY, act_on_matching
from app.errors import Misuse
from app.inbox.imports import import_exam
from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.audit import By
from app.store.exam_search import ExamFilter, count_exams, find_exams, read_filter
from app.store.exam_view import describe_exams
from app.store.organizations import list_organizations
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, sentence
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

PAGE = 50
# what is counted at most: nobody needs the number of many exactly
COUNTED = 1000
FILTERS = ("q", "organization", "state", "step", "reason", "since")

router = APIRouter(include_in_schema=False)


@router.get("/admin/exams")
async def exams(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """The list."""
    fields = read_fields(request.query_params)
    cursor = request.query_params.get("cursor") or None
    problem, items, following, total = None, [], None, 0
    async with resources.sessions() as session:
        organizations = await list_organizations(session)
        try:
            chosen = await read_filter(session, **fields)
            page, following = await find_exams(session, chosen, limit=PAGE, cursor=cursor)
            items = await describe_exams(session, page)
            total = await count_exams(session, chosen, up_to=COUNTED + 1)
        except Misuse as error:
            problem = sentence(error.message)
    context = {
        "filters": fields,
        "items": items,
        "total": total if total <= COUNTED else f"more than {COUNTED:,}",
        "more": f"/admin/exams?{urlencode(fields | {'cursor': following})}" if following else None,
        "first": cursor is None,
        "query": urlencode(fields),
        "organizations": organizations,
        "choices": {"state": list(ExamState), "step": list(Step), "reason": list(Reason)},
        "problem": problem,
        "done": _done(request.query_params.get("retried")),
    }
    return admin_page(request, "exams.html", context, tab="exams", status=422 if problem else 200)


def read_fields(params: Any) -> dict[str, str]:
    """What was typed or chosen; empty fields ask for nothing."""
    return {name: str(params[name]).strip()[:200] for name in FILTERS if str(params.get(name) or "").strip()}


def _done(retried: str | None) -> str | None:
    if retried is None or not retried.isdigit():
        return None
    return f"{int(retried)} exams are tried again." if retried != "1" else "1 exam is tried again."


@router.get("/admin/exams/retry")
async def confirm_retry(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """How many would be retried, before anything is."""
    fields = read_fields(request.query_params)
    chosen = await _filter(resources, fields)
    bulk = await act_on_matching(resources, chosen, RETRY, by=By("nobody"), dry_run=True)
    context = {"filters": fields, "matched": bulk.matched, "query": urlencode(fields)}
    return admin_page(request, "exams_retry.html", context, tab="exams")


@router.post("/admin/exams/retry")
async def retry(resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Retry all that the filter finds."""
    fields = read_fields(form)
    bulk = await act_on_matching(resources, await _filter(resources, fields), RETRY, by=by)
    return see_other(f"/admin/exams?{urlencode(fields | {'retried': bulk.done})}")


@router.post("/admin/exams/import")
async def take_in(resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Take in a request that Clarius lists and we do not know."""
    request_uuid = read_uuid(form.get("request_uuid", ""), back="/admin/exams")
    await attempt(import_exam(resources, request_uuid, by=by), back="/admin/exams")
    return see_other(f"/admin/exams/{request_uuid}")


def read_uuid(text: str, *, back: str) -> UUID:
    """A UUID as typed. Raises PageError."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise PageError(
            422,
            "This is not a request UUID",
            "It looks like 7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f.",
            action=("Go back", back),
        ) from None


async def _filter(resources: Resources, fields: dict[str, str]) -> ExamFilter:
    async def read() -> ExamFilter:
        async with resources.sessions() as session:
            return await read_filter(session, **fields)

    return await attempt(read(), back="/admin/exams")
