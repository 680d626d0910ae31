"""Answers errors as pages to people and as problem JSON to programs; must not show what went wrong inside."""

from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from app.config.sealing import CannotUnseal
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


def install_pages(app: FastAPI) -> None:
    """Give errors their pages; call it after `install_problems`, whose answers programs keep getting."""

    @app.exception_handler(PageError)
    async def page(request: Request, error: PageError) -> Response:
        return error_page(request, error)

    @app.exception_handler(SignInNeeded)
    async def nobody(request: Request, error: SignInNeeded) -> Response:
        wanted = request.url.path if request.method == "GET" else ""
        if error.in_place:
            context = {"next": wanted, "email": "", "problem": None, "notice": None, "sso": has_sso(request)}
            return render(request, "login.html", context, status=401)
        return see_other(f"/login?next={quote(wanted)}" if wanted else "/login")

    @app.exception_handler(CannotUnseal)
    async def locked(request: Request, error: CannotUnseal) -> Response:
        log.error("cannot_unseal", path=request.url.path.split("/")[1])
        if is_for_a_person(request):
            return error_page(request, LOCKED)
        return problem_response(Problem(503, error.message, code=error.code))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        if is_for_a_person(request):
            page = {404: NOT_FOUND, 405: WRONG_METHOD}.get(error.status_code, BROKEN)
            return error_page(request, page)
        return problem_response(Problem(error.status_code, str(error.detail), headers=error.headers))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        if is_for_a_person(request):
            return error_page(request, NOT_FOUND)
        extra = {"errors": invalid_fields(error)}
        return problem_response(Problem(422, "the request is not what this route takes", extra=extra))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected_error", exc_info=error)
        if is_for_a_person(request):
            return error_page(request, BROKEN)
        return problem_response(Problem(500, "something went wrong here; it has been logged"))


def has_sso(request: Request) -> bool:
    """Whether single sign-on is set up."""
    return request.app.state.resources.settings.oidc_issuer is not None
