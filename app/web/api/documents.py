"""How the admin API describes itself: the problem codes of each route, and the OpenAPI document."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app import __version__
from app.web.api.examples import EXAMPLES

COMMON: dict[int, str] = {
    401: "`unauthenticated`: no valid admin token",
    413: "`too_large`: the body is too long",
    422: "`invalid`: a value is missing or wrong; `errors` says which",
    429: "`too_many_requests`: wait as long as `Retry-After` says",
}
UPSTREAM: dict[int, str] = {
    424: "`clarius_unavailable`, `clarius_credentials`, `account_paused`, `account_throttled`, …: the other side did not do "
    "its part; `Retry-After` where it is known",
}


class FieldError(BaseModel):
    """One wrong value, without the value."""

    field: str
    message: str


class ProblemBody(BaseModel):
    """RFC 9457 problem details. `code` is stable and for machines; `detail` is one line for people."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["not_found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no such exam"])
    code: str = Field(examples=["no_such_exam"])
    errors: list[FieldError] | None = None


def problems(
    more: Mapping[int, str] | None = None, *, writes: bool = False, upstream: bool = False
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: problem codes by status, besides the answer of success."""
    told = dict(COMMON)
    if writes:
        told[403] = "`insufficient_scope`: the token may only read"
    if upstream:
        told |= UPSTREAM
    told |= more or {}
    return {
        status: {
            "model": ProblemBody,
            "description": text,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status, text in sorted(told.items())
    }


def openapi_of(router: APIRouter) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the admin API."""
    document = get_openapi(
        title="Sonobridge admin API",
        version=__version__,
        description=(
            "See and steer the bridge. Lists are `{items, next_cursor}`; errors are RFC 9457 problems with a stable "
            "`code`; times are UTC, ISO 8601. Secrets are write-only and read back as `has_…`."
        ),
        routes=router.routes,
    )
    for path in document["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                content = answer.get("content", {})
                # problems come as application/problem+json and never as plain JSON
                if "application/problem+json" in content:
                    content.pop("application/json", None)
                elif "application/json" in content:
                    _add_example(content["application/json"])
    return document


def _add_example(content: dict[str, Any]) -> None:
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name in EXAMPLES:
        content["example"] = EXAMPLES[name]


def document_route(router: APIRouter) -> APIRouter:
    """The route that serves the document; open to all, since it holds nothing but what the source says."""
    served = APIRouter()

    @cache
    def document() -> dict[str, Any]:
        return openapi_of(router)

    @served.get("/api/admin/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    return served
