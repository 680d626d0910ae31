"""Invitations and forgotten passwords: pages behind links that work once."""

from fastapi import APIRouter, BackgroundTasks, Request
from fastapi.responses import Response

from app.errors import Misuse
from app.people.sessions import Visitor
from app.people.signing_in import EMAIL_CHARACTERS, OneTimeLinkUsedUp, accept_link, ask_for_reset, open_link
from app.people.throttling import TooManyAttempts, admit
from app.resources import Resources
from app.store.one_time_links import OneTimeLinkKind
from app.web.browser import PERSON_IS_READ, CheckedForm, VisitorDep
from app.web.dependencies import ResourcesDep
from app.web.login import signed_in_answer, too_many
from app.web.pages import has_sso
from app.web.rendering import PageError, render

NO_INVITATION = PageError(
    410,
    "This invitation does not work any more",
    "It was used already, or it is older than 7 days. If you have set your password, just sign in. "
    "Otherwise ask your administrator for a new invitation.",
    action=("Sign in", "/login"),
)
NO_RESET = PageError(
    410,
    "This link does not work any more",
    "It was used already, it is older than one hour, or you asked for another one since.",
    action=("Ask for a new link", "/reset"),
)
PAGES = {
    OneTimeLinkKind.INVITATION: ("invite.html", NO_INVITATION),
    OneTimeLinkKind.RESET: ("reset.html", NO_RESET),
}
"""What each kind of link opens, and the page once it is used up."""

router = APIRouter(include_in_schema=False)


@router.get("/invite/{token}", dependencies=[PERSON_IS_READ])
async def invitation(request: Request, resources: ResourcesDep, token: str) -> Response:
    """Who is invited to what, and the form for a password. Looking does not use the invitation up."""
    return await _page(request, resources, OneTimeLinkKind.INVITATION, token)


@router.post("/invite/{token}")
async def accept_invitation(
    request: Request, resources: ResourcesDep, visitor: VisitorDep, form: CheckedForm, token: str
) -> Response:
    """Accept: the password is set and the person signed in; a pending link stays with the browser."""
    return await _accept(request, resources, OneTimeLinkKind.INVITATION, token, visitor=visitor, form=form)


@router.get("/reset", dependencies=[PERSON_IS_READ])
async def ask_page(request: Request, resources: ResourcesDep) -> Response:
    """Where a reset link is asked for."""
    return _ask(request, resources)


@router.post("/reset")
async def ask(
    request: Request,
    resources: ResourcesDep,
    visitor: VisitorDep,
    form: CheckedForm,
    background: BackgroundTasks,
) -> Response:
    """The same answer for every address, in the same time: the looking happens after the answer."""
    email = form.get("email", "").strip()[:EMAIL_CHARACTERS]
    if "@" not in email:
        return _ask(request, resources, email=email, problem="This is not an e-mail address.", status=422)
    try:
        await admit(resources, purpose="reset", email=email, address=visitor.address)
    except TooManyAttempts as error:
        return _ask(request, resources, email=email, problem=too_many(error), status=429)
    background.add_task(ask_for_reset, resources, email=email, address=visitor.address)
    response = _ask(request, resources, email=email, sent=True)
    response.background = background
    return response


@router.get("/reset/{token}", dependencies=[PERSON_IS_READ])
async def reset_page(request: Request, resources: ResourcesDep, token: str) -> Response:
    """The form for a new password."""
    return await _page(request, resources, OneTimeLinkKind.RESET, token)


@router.post("/reset/{token}")
async def reset(
    request: Request, resources: ResourcesDep, visitor: VisitorDep, form: CheckedForm, token: str
) -> Response:
    """Set the new password, end all other sessions, sign in."""
    return await _accept(request, resources, OneTimeLinkKind.RESET, token, visitor=visitor, form=form)


def _ask(
    request: Request,
    resources: Resources,
    *,
    email: str = "",
    problem: str | None = None,
    sent: bool = False,
    status: int = 200,
) -> Response:
    context = {
        "email": email,
        "problem": problem,
        "sent": sent,
        "has_mail": resources.settings.smtp_url is not None,
    }
    return render(request, "reset_ask.html", context, status=status)


async def _page(
    request: Request, resources: Resources, kind: OneTimeLinkKind, token: str, *, problem: str | None = None
) -> Response:
    template, used_up = PAGES[kind]
    try:
        opened = await open_link(resources, kind, token)
    except OneTimeLinkUsedUp:
        raise used_up from None
    context = {
        "email": opened.user.email,
        "organization": opened.organization.name,
        "problem": problem,
        "sso": has_sso(request),
    }
    return render(request, template, context, status=422 if problem else 200)


async def _accept(
    request: Request,
    resources: Resources,
    kind: OneTimeLinkKind,
    token: str,
    *,
    visitor: Visitor,
    form: dict[str, str],
) -> Response:
    try:
        cookie = await accept_link(resources, kind, token, password=form.get("password", ""), visitor=visitor)
    except OneTimeLinkUsedUp:
        raise PAGES[kind][1] from None
    except Misuse as error:
        return await _page(request, resources, kind, token, problem=error.message)
    return await signed_in_answer(resources, visitor, cookie)
