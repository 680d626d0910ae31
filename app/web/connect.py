"""Where Clarius sends a clinician's browser: keep the token out of sight, ask for agreement, follow the link.

docs/security.md, "Linking". The token is in a URL once, at the door, and in no page, log or header after that.
"""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import select, update

from app.linking.links import CustomerTaken, is_token, keep_token, start_link
from app.people.sessions import Person, Visitor
from app.resources import Resources
from app.states import LinkState
from app.store.audit import By
from app.store.browser_sessions import BrowserSession
from app.store.links import Link
from app.store.pending_connects import PendingConnect, find_pending_connect, forget_pending_connect
from app.web.browser import CheckedForm, PersonOrNone, SignedIn, VisitorDep
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, render, see_other

NO_TRACE = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
FROM_CLARIUS = (
    "To link your Clarius account, start in Clarius: open the connection to Sonobridge there, "
    "and Clarius brings you back here."
)
NOT_A_TOKEN = PageError(
    400,
    "This link is not complete",
    "The address that Clarius opened has no valid connection code in it. Nothing was linked. "
    + FROM_CLARIUS.replace("To link your Clarius account, start", "Please start again"),
    headers=NO_TRACE,
)
NOTHING = PageError(
    404,
    "There is nothing to link",
    "This page only works right after Clarius has sent you here, within one hour. " + FROM_CLARIUS,
    action=("Go to your account", "/account"),
)
OTHER_TAB = PageError(
    409,
    "You opened another connection since",
    "Clarius sent you here once more in another tab, so this page is out of date. Nothing was linked from it. "
    "Look at the newer one and agree there.",
    action=("Show the newer one", "/connect"),
)
TAKEN = PageError(
    409,
    "This Clarius account is linked elsewhere",
    "Another organisation holds it, so it was not linked to yours. If it should move, ask your administrator: "
    "only an administrator can do that.",
    action=("Go to your account", "/account"),
)

router = APIRouter(include_in_schema=False)


@router.get("/connect/clarius")
@router.get("/connect/clarius/")
async def arrive_by_query(
    resources: ResourcesDep, visitor: VisitorDep, request: Request, token: str = ""
) -> Response:
    """`?token=`: one of the two shapes that Clarius may be set up with."""
    return await _arrive(request, resources, visitor, token)


@router.get("/connect/clarius/{token}")
@router.get("/connect/clarius/{token}/")
async def arrive_by_path(
    resources: ResourcesDep, visitor: VisitorDep, request: Request, token: str
) -> Response:
    """`/<token>`: the other shape."""
    return await _arrive(request, resources, visitor, token)


async def _arrive(request: Request, resources: Resources, visitor: Visitor, token: str) -> Response:
    if not is_token(token):
        raise NOT_A_TOKEN
    await keep_token(resources, token, visitor)
    response = see_other("/connect", headers=NO_TRACE)
    if request.state.new_cookie:
        request.state.finish_page(response)
    return response


@router.get("/connect")
async def confirm_page(
    request: Request, resources: ResourcesDep, visitor: VisitorDep, person: PersonOrNone
) -> Response:
    """What will be linked to what; nothing is yet."""
    pending = await _pending(resources, visitor)
    if pending is None:
        return _nothing_pending(person)
    if person is None:
        return see_other("/login")
    return render(request, "connect.html", {"hint": pending.customer_hint, "connect": str(pending.id)})


@router.post("/connect")
async def link_account(
    resources: ResourcesDep, visitor: VisitorDep, person: PersonOrNone, form: CheckedForm
) -> Response:
    """Link what the page showed. Sent twice (refresh, back), it leads to the same status."""
    pending = await _pending(resources, visitor)
    if pending is None:
        return _nothing_pending(person)
    if person is None:
        return see_other("/login")
    # the page names the token that it showed; another tab may have brought another one since
    if form.get("connect", str(pending.id)) != str(pending.id):
        raise OTHER_TAB
    try:
        link = await start_link(
            resources,
            token=resources.unseal_text(pending.token_sealed),
            organization_id=person.organization.id,
            user_id=person.user.id,
            by=By(person.user.email, visitor.address),
        )
    except CustomerTaken:
        await _settle(resources, visitor, person, link_id=None)
        raise TAKEN from None
    await _settle(resources, visitor, person, link_id=link.id)
    return see_other("/connect/status")


@router.get("/connect/status")
async def status_page(request: Request, resources: ResourcesDep, person: SignedIn) -> Response:
    """How the link made here stands; without one, the person's newest."""
    link = await _link_to_follow(resources, person)
    if link is None:
        raise NOTHING
    context = {
        "state": link.state,
        "hint": link.customer_hint,
        "error": link.error if link.state == LinkState.PENDING else None,
        "from_clarius": FROM_CLARIUS,
    }
    return render(request, "status.html", context)


async def _pending(resources: Resources, visitor: Visitor) -> PendingConnect | None:
    async with resources.sessions() as session:
        return await find_pending_connect(session, visitor.hash)


def _nothing_pending(person: Person | None) -> Response:
    """Back or refresh after linking leads to the status; else there is nothing to link."""
    if person is not None and person.session.link_id is not None:
        return see_other("/connect/status")
    raise NOTHING


async def _settle(resources: Resources, visitor: Visitor, person: Person, *, link_id: UUID | None) -> None:
    async with resources.sessions.begin() as session:
        await forget_pending_connect(session, visitor.hash)
        await session.execute(
            update(BrowserSession).where(BrowserSession.id == person.session.id).values(link_id=link_id)
        )


async def _link_to_follow(resources: Resources, person: Person) -> Link | None:
    query = select(Link).where(Link.organization_id == person.organization.id)
    if person.session.link_id is not None:
        query = query.where(Link.id == person.session.link_id)
    else:
        query = query.where(Link.user_id == person.user.id).order_by(Link.created_at.desc()).limit(1)
    async with resources.sessions() as session:
        return (await session.scalars(query)).one_or_none()
