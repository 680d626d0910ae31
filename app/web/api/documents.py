"""How the admin API describes itself: the problem codes of each route, and the OpenAPI document."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app import __version__
from app.web.webhook_description import described

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
    texts = dict(COMMON)
    if writes:
        texts[403] = "`insufficient_scope`: the token may only read"
    if upstream:
        texts |= UPSTREAM
    texts |= more or {}
    return {
        status: {
            "model": ProblemBody,
            "description": text,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status, text in sorted(texts.items())
    }


PLAIN_EXAMPLES = {
    "date-time": "2026-11-21T23:03:00Z",
    "uuid": "0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11",
    "boolean": False,
    "integer": 0,
    "number": 0.0,
    "string": "",
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
                    plain = content["application/json"]
                    plain["example"] = example_of(plain["schema"], document["components"]["schemas"])
    return document


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one a kind of schema
    """An example of what a schema describes: of each field the one that its model gives, or a plain value of its type."""
    if "examples" in schema:
        return schema["examples"][0]
    for keyword in ("example", "const", "default"):
        if keyword in schema:
            return schema[keyword]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        example = example_of(schema["anyOf"][0], schemas)
        return example if isinstance(example, dict) or {"type": "null"} not in schema["anyOf"] else None
    if schema.get("type") == "object":
        return {name: example_of(part, schemas) for name, part in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    return PLAIN_EXAMPLES[schema.get("format") or schema["type"]]


def document_route(router: APIRouter) -> APIRouter:
    """The route that serves the document, with the webhook; open to all, since it holds nothing but what the source says."""
    served = APIRouter()

    @cache
    def document() -> dict[str, Any]:
        whole = openapi_of(router)
        paths, schemas = described()
        whole["paths"] |= paths
        whole["components"]["schemas"] |= schemas
        return whole

    @served.get("/api/admin/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(document())

    return served
