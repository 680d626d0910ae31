"""The page of links: which Clarius account goes to which organisation; ask again, move, end."""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.linking.links import (
    WHAT_BECOMES,
    UnderWay,
    count_under_way,
    list_links,
    move_link,
    retry_link,
    unlink,
)
from app.store.links import IN_FORCE
from app.store.organizations import list_organizations
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import see_other

BACK = "/admin/links"
SHOWN = 200
DONE = {
    "confirm": "Clarius is asked again.",
    "end": "The link has ended. New exams of that account wait.",
    "move": "The Clarius account belongs to the other organisation now.",
}
# what becomes of exams under way, as choices of the form
CHOICES = {UnderWay.HOLD: "Hold them", UnderWay.REFILE: "File them again", UnderWay.CANCEL: "Cancel them"}

router = APIRouter(include_in_schema=False)


@router.get("/admin/links")
async def links(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """The page."""
    rows = await list_links(resources)
    under_way = await count_under_way(resources, [row[0] for row in rows[:SHOWN]])
    async with resources.sessions() as session:
        organizations = await list_organizations(session)
    context = {
        "rows": rows[:SHOWN],
        "hidden": max(len(rows) - SHOWN, 0),
        "in_force": IN_FORCE,
        "organizations": organizations,
        "under_way": under_way,
        "choices": [(choice, label, WHAT_BECOMES[choice]) for choice, label in CHOICES.items()],
        "done": DONE.get(done),
    }
    return admin_page(request, "links.html", context, tab="links")


@router.post("/admin/links/{link_id}/confirm")
async def confirm(resources: ResourcesDep, by: ByDep, _form: CheckedForm, link_id: UUID) -> Response:
    """Ask Clarius again."""
    await attempt(retry_link(resources, link_id, by=by), back=BACK)
    return see_other(f"{BACK}?done=confirm")


@router.post("/admin/links/{link_id}/end")
async def end(resources: ResourcesDep, by: ByDep, _form: CheckedForm, link_id: UUID) -> Response:
    """End the link."""
    await attempt(unlink(resources, link_id, by=by), back=BACK)
    return see_other(f"{BACK}?done=end")


@router.post("/admin/links/{link_id}/move")
async def move(resources: ResourcesDep, by: ByDep, form: CheckedForm, link_id: UUID) -> Response:
    """Give the Clarius account to another organisation, and say what becomes of its exams that are under way."""
    await attempt(
        move_link(
            resources,
            link_id,
            organization=form.get("organization", ""),
            under_way=form.get("under_way", UnderWay.HOLD),
            by=by,
        ),
        back=BACK,
    )
    return see_other(f"{BACK}?done=move")
