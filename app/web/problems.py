"""Errors as RFC 9457 problem JSON with a stable `code`; never shows a value that was sent. (Who gets one: `pages`.)"""

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}


class Problem(Exception):
    """Raised by a route to end in a problem answer; `headers` are added to it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or CODES.get(status, "error")
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def problem_response(problem: Problem) -> JSONResponse:
    """The answer for a problem (`application/problem+json`)."""
    body = {"type": "about:blank", "title": problem.code, "status": problem.status, "detail": problem.detail}
    return JSONResponse(
        body | {"code": problem.code} | problem.extra,
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def invalid_fields(error: RequestValidationError) -> list[dict[str, str]]:
    """Which fields are wrong and why, without the values."""
    return [
        {"field": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
        for item in error.errors()
    ]
