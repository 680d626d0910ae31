"""Links over the admin API: find, look, ask Clarius again, move, end."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import ConfigDict

from app.errors import Misuse
from app.linking.links import LinkItem, UnderWay, describe_links, list_links, move_link, retry_link, unlink
from app.resources import Resources
from app.store.links import Link
from app.web.api.bodies import Body, IdOrName, Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

NO_SUCH_LINK = {404: "`no_such_link`"}
ENDED = {**NO_SUCH_LINK, 409: "`link_ended`, `link_taken`: the link's state does not allow it"}
# newest first as text: a later time has a smaller rest to the end of days
END_OF_DAYS_MICROSECONDS = 10**17

router = APIRouter(route_class=ApiRoute, tags=["links"])


class MoveBody(Body):
    """To which organisation, and what becomes of the account's exams that are under way."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"example": {"organization": "Harbour Clinic", "under_way": "refile"}},
    )
    organization: IdOrName
    under_way: UnderWay = UnderWay.HOLD


def place(link: Link) -> str:
    """A link's place in the list, newest first."""
    rest = END_OF_DAYS_MICROSECONDS - int(link.created_at.timestamp() * 1_000_000)
    return f"{rest:018d}{link.id}"


@router.get("/links", responses=problems())
async def all_links(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[LinkItem]:
    """Links, the newest first."""
    rows = await list_links(resources)
    page, following = slice_page(rows, key=lambda row: place(row[0]), limit=limit, cursor=cursor)
    items = await describe_links(resources, page)
    return Page(items=items, next_cursor=following)


@router.get("/links/{link_id}", responses=problems(NO_SUCH_LINK))
async def show_link(resources: ResourcesDep, _: CallerDep, link_id: UUID) -> LinkItem:
    """One link."""
    return await _shown(resources, link_id)


@router.post("/links/{link_id}/confirm", responses=problems(ENDED, writes=True))
async def confirm(resources: ResourcesDep, caller: CallerDep, link_id: UUID) -> LinkItem:
    """Ask Clarius now to confirm a pending or refused link; a worker does it, and the link's state tells the end."""
    await retry_link(resources, link_id, by=caller.by)
    return await _shown(resources, link_id)


@router.post("/links/{link_id}/move", responses=problems(ENDED, writes=True))
async def move(resources: ResourcesDep, caller: CallerDep, link_id: UUID, body: MoveBody) -> LinkItem:
    """Give a Clarius account to another organisation; the answer is the link that takes over.

    `exams_under_way` of the link says how many exams it concerns, `under_way` what becomes of them: each waits in
    `review` (`hold`, unless you say otherwise), is filed for the new organisation unless images of it were sent
    (`refile`), or is cancelled.
    """
    moved = await move_link(
        resources,
        link_id,
        organization=body.organization,
        under_way=body.under_way,
        by=caller.by,
    )
    return await _shown(resources, moved.id)


@router.delete("/links/{link_id}", status_code=204, responses=problems(NO_SUCH_LINK, writes=True))
async def end(resources: ResourcesDep, caller: CallerDep, link_id: UUID) -> Response:
    """End a link: new exams of that Clarius account wait; what was delivered stays."""
    await unlink(resources, link_id, by=caller.by)
    return Response(status_code=204)


async def _shown(resources: Resources, link_id: UUID) -> LinkItem:
    rows = [row for row in await list_links(resources) if row[0].id == link_id]
    for shown in await describe_links(resources, rows):
        return shown
    raise Misuse("there is no such link", code="no_such_link")
