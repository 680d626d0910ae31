"""What every Clarius call shares: authentication, limit/offset pages, bodies and errors in Clarius's manner."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.world import world_of

Endpoint = Callable[[Request], Awaitable[Response]]
MAX_PAGE = 10_000


def problem(status: int, detail: str) -> JSONResponse:
    """`{"detail": …}`, as Django REST framework writes it."""
    return JSONResponse({"detail": detail}, status)


def invalid(**fields: str) -> JSONResponse:
    """400 with the complaint under each field's name."""
    return JSONResponse({name: [text] for name, text in fields.items()}, 400)


def with_service_key(endpoint: Endpoint) -> Endpoint:
    """Lets the call through only with a known Service API key; puts it in `request.state.key`."""

    async def checked(request: Request) -> Response:
        header = request.headers.get("authorization", "")
        if not header:
            return problem(401, "Authentication credentials were not provided.")
        if (key := world_of(request).clarius.key_for(header)) is None:
            return problem(401, "Invalid API key.")
        request.state.key = key
        return await endpoint(request)

    return checked


def with_research_token(endpoint: Endpoint) -> Endpoint:
    """Lets the call through only with `Authorization: Token …` from C17."""

    async def checked(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Token" or token not in world_of(request).clarius.research_tokens:
            return problem(401, "Invalid token.")
        return await endpoint(request)

    return checked


async def json_object(request: Request) -> dict[str, Any] | None:
    """The body when it is a JSON object, else None."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def page_of(request: Request, items: list[Any], *, default_limit: int) -> Response:
    """One page with `count`, `next`, `previous`, `results`; nonsense in limit or offset counts as absent."""
    limit = min(_number(request, "limit", default_limit) or default_limit, MAX_PAGE)
    offset = _number(request, "offset", 0)
    base = f"{world_of(request).clarius_url}{request.url.path}"
    kept = {k: v for k, v in request.query_params.items() if k not in ("limit", "offset")}

    def link(at: int) -> str:
        return f"{base}?{urlencode({**kept, 'limit': limit, 'offset': at})}"

    following = link(offset + limit) if offset + limit < len(items) else None
    previous = link(max(0, offset - limit)) if offset > 0 else None
    results = items[offset : offset + limit]
    return JSONResponse({"count": len(items), "next": following, "previous": previous, "results": results})


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default
