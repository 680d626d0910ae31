"""The page of users: add or invite, change roles, disable and enable, and links to set a new password."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.errors import Misuse
from app.people.users import (
    change_role,
    disable_user,
    enable_user,
    invite,
    list_users,
    reset_link,
)
from app.resources import Resources
from app.store.organizations import list_organizations
from app.store.users import Role
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, sentence
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

BACK = "/admin/users"
DONE = {
    "role": "The role is changed; that person signs in anew.",
    "disable": "That person can't sign in any more, and is signed out everywhere.",
    "enable": "That person can sign in again.",
}

router = APIRouter(include_in_schema=False)


@router.get("/admin/users")
async def users(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """The page."""
    return await _page(request, resources, done=DONE.get(done))


@router.post("/admin/users/invite")
async def invite_one(request: Request, resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Invite; the link is shown here once."""
    try:
        invitation = await invite(
            resources,
            email=form.get("email", ""),
            organization=form.get("organization", ""),
            role=form.get("role", ""),
            by=by,
        )
    except Misuse as error:
        return await _page(request, resources, form=form, problem=sentence(error.message), status=422)
    return await _page(
        request,
        resources,
        link=("Invitation", invitation.user.email, invitation.url),
        mailed=invitation.mailed,
    )


@router.post("/admin/users/{user_id}/{act}")
async def act_on(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    person: AdminDep,
    form: CheckedForm,
    user_id: str,
    act: str,
) -> Response:
    """Change the role, disable, enable, or make a link to a new password."""
    if user_id == str(person.user.id) and act in {"disable", "role"}:
        raise PageError(
            409, "That would lock you out", "Ask another administrator to do that.", action=("Go back", BACK)
        )
    if act == "role":
        await attempt(change_role(resources, user_id, role=form.get("role", ""), by=by), back=BACK)
    elif act == "disable":
        await attempt(disable_user(resources, user_id, by=by), back=BACK)
    elif act == "enable":
        await attempt(enable_user(resources, user_id, by=by), back=BACK)
    elif act == "reset":
        url = await attempt(reset_link(resources, user_id, by=by), back=BACK)
        return await _page(request, resources, link=("New password", form.get("email", ""), url))
    else:
        raise PageError(404, "There is no such act", "Nothing was done.", action=("Go back", BACK))
    return see_other(f"{BACK}?done={quote(act)}")


async def _page(request: Request, resources: Resources, *, status: int = 200, **more: Any) -> Response:
    async with resources.sessions() as session:
        organizations = await list_organizations(session)
    context: dict[str, Any] = {
        "rows": await list_users(resources),
        "organizations": organizations,
        "roles": list(Role),
        "form": {},
        "link": None,
        "mailed": False,
        "done": None,
    }
    return admin_page(request, "users.html", context | more, tab="users", status=status)
