"""Answers errors as pages to people and as problem JSON to programs; must not show what went wrong inside."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.config.sealing import CannotUnseal
from app.errors import Misuse
from app.web.browser import SignInNeeded
from app.web.problems import Problem, invalid_fields, problem_response
from app.web.rendering import PageError, error_page, render, see_other

PROGRAM_PATHS = ("/api/", "/webhooks/", "/healthz", "/readyz", "/metrics")
NOT_FOUND = PageError(
    404,
    "There is no such page",
    "The address may be incomplete, or what was here is gone.",
    action=("Go to your account", "/account"),
)
WRONG_METHOD = PageError(405, "This page can't be used that way", "Please open it again.")
BROKEN = PageError(
    500,
    "Something went wrong here",
    "It has been logged. Please try again in a moment.",
    action=("Try again", ""),
)
LOCKED = PageError(
    503,
    "Sonobridge can't read its own secrets just now",
    "Those who run it can see this too. Nothing is lost; please try again later.",
)

log = structlog.get_logger(__name__)


def is_for_a_person(request: Request) -> bool:
    """Whether a page is wanted, and not JSON."""
    if request.url.path.startswith(PROGRAM_PATHS):
        return False
    return "text/html" in request.headers.get("accept", "")


async def _problem(_: Request, error: Problem) -> Response:
    return problem_response(error)


async def _misuse(_: Request, error: Misuse) -> Response:
    return problem_response(Problem(422, error.message, code=error.code))


async def _page(request: Request, error: PageError) -> Response:
    return error_page(request, error)


async def _sign_in_needed(request: Request, error: SignInNeeded) -> Response:
    path = request.url.path if request.method == "GET" else ""
    if error.in_place:
        context = {"next": path, "email": "", "problem": None, "notice": None, "sso": has_sso(request)}
        return render(request, "login.html", context, status=401)
    return see_other(f"/login?next={quote(path)}" if path else "/login")


async def _locked(request: Request, error: CannotUnseal) -> Response:
    log.error("cannot_unseal", path=request.url.path.split("/")[1])
    if is_for_a_person(request):
        return error_page(request, LOCKED)
    return problem_response(Problem(503, error.message, code=error.code))


async def _plain(request: Request, error: HTTPException) -> Response:
    if is_for_a_person(request):
        page = {404: NOT_FOUND, 405: WRONG_METHOD}.get(error.status_code, BROKEN)
        return error_page(request, page)
    return problem_response(Problem(error.status_code, str(error.detail), headers=error.headers))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    if is_for_a_person(request):
        return error_page(request, NOT_FOUND)
    extra = {"errors": invalid_fields(error)}
    return problem_response(Problem(422, "the request is not what this route takes", extra=extra))


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected_error", exc_info=error)
    if is_for_a_person(request):
        return error_page(request, BROKEN)
    return problem_response(Problem(500, "something went wrong here; it has been logged"))


ANSWERS: dict[type[Exception], Callable[[Request, Any], Awaitable[Response]]] = {
    Problem: _problem,
    Misuse: _misuse,
    PageError: _page,
    SignInNeeded: _sign_in_needed,
    CannotUnseal: _locked,
    HTTPException: _plain,
    RequestValidationError: _invalid,
    Exception: _unexpected,
}


def install_error_answers(app: FastAPI) -> None:
    """Give every kind of error its answer."""
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, answer)


def has_sso(request: Request) -> bool:
    """Whether single sign-on is set up."""
    return request.app.state.resources.settings.oidc_issuer is not None
