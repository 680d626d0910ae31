"""What every Aurabox call shares: the team behind the key, Laravel's envelopes, pages and errors."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.aurabox.state import Hidden, Team
from sandbox.aurabox.validate import Errors
from sandbox.faults import Rule
from sandbox.wire import HIDE_SCOPE_KEY
from sandbox.world import world_of

Endpoint = Callable[[Request], Awaitable[Response]]
DEFAULT_PER_PAGE = "25"


def message(status: int, text: str) -> JSONResponse:
    """`{"message": …}`."""
    return JSONResponse({"message": text}, status)


def not_valid(errors: Errors) -> JSONResponse:
    """422 with Laravel's field errors."""
    return JSONResponse({"message": "The given data was invalid.", "errors": errors}, 422)


def with_team(endpoint: Endpoint) -> Endpoint:
    """Lets the call through only with a team's key; puts the team in `request.state.team`."""

    async def checked(request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        team = world_of(request).aurabox.team_with_key(key) if scheme == "Bearer" and key else None
        if team is None:
            return message(401, "Unauthenticated.")
        request.state.team = team
        return await endpoint(request)

    return checked


def team_of(request: Request) -> Team:
    """The team that `with_team` found."""
    return cast("Team", request.state.team)


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object sent; anything else counts as an empty form, as in Laravel."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def hidden_by_fault(request: Request) -> Hidden:
    """How long what this request creates stays out of lists."""
    rule = cast("Rule | None", request.scope.get(HIDE_SCOPE_KEY))
    if rule is None or rule.fault.kind != "hide":
        return Hidden()
    if rule.fault.seconds < 0:
        return Hidden(rule=rule)
    return Hidden(rule=rule, until=time.monotonic() + rule.fault.seconds)


def page_of(request: Request, items: list[dict[str, Any]]) -> JSONResponse:
    """One Laravel page; the query was validated before."""
    query = dict(request.query_params)
    per_page, page = int(query.get("per_page", DEFAULT_PER_PAGE)), int(query.get("page", "1"))
    last = max(1, -(-len(items) // per_page))
    base = f"{world_of(request).aurabox_url}{request.url.path}"
    kept = {k: v for k, v in query.items() if k != "page"}

    def link(number: int) -> str | None:
        return f"{base}?{urlencode({**kept, 'page': number})}" if 1 <= number <= last else None

    start = (page - 1) * per_page
    shown = items[start : start + per_page]
    meta = {
        "current_page": page,
        "from": start + 1 if shown else None,
        "last_page": last,
        "path": base,
        "per_page": per_page,
        "to": start + len(shown) if shown else None,
        "total": len(items),
    }
    links = {"first": link(1), "last": link(last), "prev": link(page - 1), "next": link(page + 1)}
    return JSONResponse({"data": shown, "links": links, "meta": meta})
