"""Signing in and out by password; must not say which of address and password was wrong."""

import re

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.people.sessions import Visitor, sign_out
from app.people.signing_in import WrongCredentials, sign_in
from app.people.throttling import TooManyAttempts
from app.resources import Resources
from app.store.browser_sessions import known_browser_session
from app.store.pending_connects import find_pending_connect
from app.web.browser import FORM_IS_CHECKED, CheckedForm, PersonOrNone, VisitorDep, clear_cookie, set_cookie
from app.web.dependencies import ResourcesDep
from app.web.pages import has_sso
from app.web.rendering import render, see_other

OUR_PATH = re.compile(r"/(account|admin|connect)[A-Za-z0-9/_-]*")
HOME = "/account"
EXPIRED = "You were signed out, because nothing happened for a while. Please sign in again."
TO_LINK = "Sign in to link your Clarius account. You will see what is linked before anything happens."

router = APIRouter(include_in_schema=False)


@router.get("/")
async def home() -> Response:
    """There is no front page: people want their account."""
    return see_other(HOME)


@router.get("/login")
async def login_page(
    request: Request,
    resources: ResourcesDep,
    visitor: VisitorDep,
    person: PersonOrNone,
    next: str = "",  # noqa: A002
) -> Response:
    """The sign-in form; somebody who is signed in goes on to where they wanted."""
    if person is not None:
        return see_other(await destination(resources, visitor, next_path=next))
    context = {
        "next": safe_path(next),
        "email": "",
        "problem": None,
        "notice": await _notice(resources, visitor),
        "sso": has_sso(request),
    }
    return render(request, "login.html", context)


@router.post("/login")
async def log_in(
    request: Request, resources: ResourcesDep, visitor: VisitorDep, form: CheckedForm
) -> Response:
    """Sign in; back to where the person wanted to go, a pending link first."""
    email, path = form.get("email", ""), form.get("next", "")
    context = {"next": safe_path(path), "email": email, "notice": None, "sso": has_sso(request)}
    try:
        cookie = await sign_in(resources, email=email, password=form.get("password", ""), visitor=visitor)
    except WrongCredentials as error:
        return render(request, "login.html", context | {"problem": error.message}, status=401)
    except TooManyAttempts as error:
        problem = too_many(error)
        headers = {"Retry-After": f"{error.seconds:.0f}"}
        return render(request, "login.html", context | {"problem": problem}, status=429, headers=headers)
    return await signed_in_answer(resources, visitor, cookie, next_path=path)


@router.post("/logout", dependencies=[FORM_IS_CHECKED])
async def log_out(resources: ResourcesDep, visitor: VisitorDep, person: PersonOrNone) -> Response:
    """End the session on the server; the browser starts afresh."""
    if person is not None:
        await sign_out(resources, person, visitor)
    response = see_other("/login")
    clear_cookie(response, resources)
    return response


def too_many(error: TooManyAttempts) -> str:
    """How long to wait, in words."""
    minutes = round(error.seconds / 60)
    wait = f"{error.seconds:.0f} seconds" if error.seconds < 90 else f"{minutes} minutes"
    return f"Too many attempts. Please wait {wait}, then try again."


async def signed_in_answer(
    resources: Resources, visitor: Visitor, cookie: str, *, next_path: str = ""
) -> Response:
    """After signing in, however: the new cookie, and on to a pending link, what was wanted, or the account."""
    moved = Visitor(cookie=cookie, address=visitor.address, browser=visitor.browser)
    response = see_other(await destination(resources, moved, next_path=next_path))
    set_cookie(response, resources, cookie)
    return response


async def destination(resources: Resources, visitor: Visitor, *, next_path: str) -> str:
    """Where somebody who just signed in goes."""
    async with resources.sessions() as session:
        if await find_pending_connect(session, visitor.hash) is not None:
            return "/connect"
    return safe_path(next_path) or HOME


def safe_path(path: str) -> str:
    """The path if it is one of our pages; never another site's address."""
    return path if OUR_PATH.fullmatch(path) else ""


async def _notice(resources: Resources, visitor: Visitor) -> str | None:
    async with resources.sessions() as session:
        if await find_pending_connect(session, visitor.hash) is not None:
            return TO_LINK
        if await known_browser_session(session, visitor.hash):
            return EXPIRED
    return None
