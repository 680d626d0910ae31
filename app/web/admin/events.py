"""The page of the audit trail: who did what, when, from where, with what result."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.store.audit import find_events
from app.web.admin.common import AdminDep, admin_page
from app.web.dependencies import ResourcesDep

PAGE = 100
FILTERS = ("actor", "action", "subject")
MOST_ID = 2**63 - 1

router = APIRouter(include_in_schema=False)


@router.get("/admin/events")
async def events(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """The page."""
    query = request.query_params
    filters: dict[str, Any] = {
        name: query[name].strip().replace("\x00", "")[:300] for name in FILTERS if query.get(name, "").strip()
    }
    text = query.get("before", "")
    before = min(int(text), MOST_ID) if text.isascii() and text.isdigit() and len(text) < 20 else None
    async with resources.sessions() as session:
        rows = await find_events(session, limit=PAGE + 1, before=before, **filters)
    more = f"/admin/events?{urlencode(filters | {'before': rows[PAGE - 1].id})}" if len(rows) > PAGE else None
    context = {"rows": rows[:PAGE], "filters": filters, "more": more}
    return admin_page(request, "events.html", context, tab="events")
