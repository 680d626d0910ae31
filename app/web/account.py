"""A person's own page: links, recent exams of the organisation, sessions, password. No patient data."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse
from app.linking.links import list_links, unlink
from app.people.sessions import Person
from app.people.signing_in import WrongCredentials, change_password, end_one_session
from app.people.throttling import TooManyAttempts
from app.resources import Resources
from app.store.audit import By
from app.store.browser_sessions import living_browser_sessions
from app.store.exams import Exam
from app.store.image_counts import images_of_all
from app.store.links import IN_FORCE
from app.web.browser import FORM_IS_CHECKED, CheckedForm, SignedIn, VisitorDep, set_cookie
from app.web.connect import FROM_CLARIUS
from app.web.dependencies import ResourcesDep
from app.web.login import too_many
from app.web.rendering import PageError, render, see_other
from app.web.words import exam_words, link_words

RECENT_EXAMS = 25
GONE = PageError(
    404,
    "This is not here (any more)",
    "What you wanted to change is gone, or belongs to somebody else.",
    action=("Go to your account", "/account"),
)
DONE = {
    "password": "Your password is changed, and you are signed out everywhere else.",
    "session": "That session is signed out.",
    "link": "The link has ended. No new exams are taken from that Clarius account.",
}

router = APIRouter(include_in_schema=False)


@router.get("/account")
async def account(request: Request, resources: ResourcesDep, person: SignedIn, done: str = "") -> Response:
    """The page."""
    return await _page(request, resources, person, done=DONE.get(done))


@router.get("/account/links/{link_id}/unlink")
async def unlink_page(request: Request, resources: ResourcesDep, person: SignedIn, link_id: UUID) -> Response:
    """Asks before a link is ended."""
    rows = await list_links(resources, organization_id=person.organization.id)
    link = next((row[0] for row in rows if row[0].id == link_id and row[0].state in IN_FORCE), None)
    if link is None:
        raise GONE
    return render(request, "unlink.html", {"link": link})


@router.post("/account/links/{link_id}/unlink", dependencies=[FORM_IS_CHECKED])
async def end_link(resources: ResourcesDep, visitor: VisitorDep, person: SignedIn, link_id: UUID) -> Response:
    """End a link of the person's organisation."""
    try:
        await unlink(
            resources,
            link_id,
            by=By(person.user.email, visitor.address),
            organization_id=person.organization.id,
        )
    except Misuse:
        raise GONE from None
    return see_other("/account?done=link")


@router.post("/account/sessions/{session_id}/end", dependencies=[FORM_IS_CHECKED])
async def end_session(
    resources: ResourcesDep, visitor: VisitorDep, person: SignedIn, session_id: UUID
) -> Response:
    """Sign out another browser of the same person."""
    try:
        await end_one_session(resources, person, session_id, visitor)
    except Misuse:
        raise GONE from None
    return see_other("/account?done=session")


@router.post("/account/password")
async def new_password(
    request: Request, resources: ResourcesDep, visitor: VisitorDep, person: SignedIn, form: CheckedForm
) -> Response:
    """Change the password; other sessions end."""
    current, new = form.get("current_password", ""), form.get("new_password", "")
    try:
        cookie = await change_password(resources, person, current=current, new=new, visitor=visitor)
    except TooManyAttempts as error:
        return await _page(request, resources, person, problem=too_many(error), status=429)
    except (Misuse, WrongCredentials) as error:
        return await _page(request, resources, person, problem=error.message, status=422)
    response = see_other("/account?done=password")
    set_cookie(response, resources, cookie)
    return response


async def _page(
    request: Request,
    resources: Resources,
    person: Person,
    *,
    done: str | None = None,
    problem: str | None = None,
    status: int = 200,
) -> Response:
    links = await list_links(resources, organization_id=person.organization.id)
    async with resources.sessions() as session:
        sessions = await living_browser_sessions(session, person.user.id)
        recent = await _recent_exams(session, person.organization.id)
        images = await images_of_all(session, recent)
    context: dict[str, Any] = {
        "links": [(link, user, link_words(link.state)) for link, _, user in links],
        "in_force": IN_FORCE,
        "exams": [(exam, exam_words(exam.state, exam.step, exam.reason, images[exam.id])) for exam in recent],
        "sessions": sessions,
        "zone": person.organization.timezone,
        "has_password": person.user.password_hash is not None,
        "from_clarius": FROM_CLARIUS,
        "done": done,
        "problem": problem,
    }
    return render(request, "account.html", context, status=status)


async def _recent_exams(session: AsyncSession, organization_id: UUID) -> Sequence[Exam]:
    at = func.coalesce(Exam.submitted_at, Exam.received_at)
    return (
        await session.scalars(
            select(Exam)
            .where(Exam.organization_id == organization_id)
            .order_by(at.desc(), Exam.id)
            .limit(RECENT_EXAMS)
        )
    ).all()
