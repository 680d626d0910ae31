"""Organisations over the admin API: list, create, read, change, remove, test their connections."""

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
    wanted_organization,
)
from app.organizations.options import OrganizationItem, OrganizationOptions
from app.store.organizations import list_organizations
from app.upkeep.doctor import check_organization
from app.web.api.bodies import Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

NO_SUCH = {404: "`no_such_organization`"}
TAKEN = {409: "`name_taken`: another organisation has this name"}

router = APIRouter(route_class=ApiRoute, tags=["organizations"])


class OrganizationCreate(OrganizationOptions):
    """A new organisation. `name` and `aurabox_key` are needed; the rest has the defaults of `org add`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "required": ["name", "aurabox_key"],
            "example": {
                "name": "Harbour Clinic",
                "aurabox_key": "example-key",
                "timezone": "Australia/Melbourne",
            },
        },
    )


class OrganizationChange(OrganizationOptions):
    """What to change; the rest stays. Null clears an address, a user name or a second key."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"minProperties": 1, "example": {"incomplete": "hold"}},
    )


class CheckItem(BaseModel):
    """One thing that was tried, and what to do when it is not ok."""

    name: str = Field(examples=["aurabox of Harbour Clinic"])
    ok: bool = Field(examples=[True])
    detail: str = Field(examples=["the key is accepted"])
    remedy: str | None


class CheckResult(BaseModel):
    """What a test of an organisation's connections found."""

    ok: bool = Field(examples=[True])
    checks: list[CheckItem]


@router.get("/organizations", responses=problems())
async def all_organizations(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[OrganizationItem]:
    """Organisations in use, by name."""
    async with resources.sessions() as session:
        rows = await list_organizations(session)
    page, following = slice_page(
        rows, key=lambda row: f"{row.name.lower()}\x01{row.id}", limit=limit, cursor=cursor
    )
    return Page(items=[describe_organization(row) for row in page], next_cursor=following)


@router.post("/organizations", status_code=201, responses=problems(TAKEN, writes=True))
async def create(resources: ResourcesDep, caller: CallerDep, body: OrganizationCreate) -> OrganizationItem:
    """Make an organisation over an Aurabox team."""
    organization = await add_organization(resources, body.model_dump(exclude_unset=True), by=caller.by)
    return describe_organization(organization)


@router.get("/organizations/{organization}", responses=problems(NO_SUCH))
async def show(resources: ResourcesDep, _: CallerDep, organization: str) -> OrganizationItem:
    """One organisation, by id or name."""
    async with resources.sessions() as session:
        return describe_organization(await wanted_organization(session, organization))


@router.patch("/organizations/{organization}", responses=problems({**NO_SUCH, **TAKEN}, writes=True))
async def change(
    resources: ResourcesDep, caller: CallerDep, organization: str, body: OrganizationChange
) -> OrganizationItem:
    """Change what is given. New credentials lift the pause of this organisation's accounts at once."""
    changed = await set_organization(
        resources,
        organization,
        body.model_dump(exclude_unset=True),
        by=caller.by,
    )
    return describe_organization(changed)


@router.delete(
    "/organizations/{organization}",
    status_code=204,
    responses=problems({**NO_SUCH, 409: "`busy`: exams of it are under way"}, writes=True),
)
async def remove(resources: ResourcesDep, caller: CallerDep, organization: str) -> Response:
    """Take an organisation out of use: links end, users are disabled, keys are forgotten; its history stays."""
    await remove_organization(resources, organization, by=caller.by)
    return Response(status_code=204)


@router.post("/organizations/{organization}/test", responses=problems(NO_SUCH, writes=True))
async def test(resources: ResourcesDep, _: CallerDep, organization: str) -> CheckResult:
    """Try the connections to Aurabox and to the image transport; nothing is created or changed there."""
    async with resources.sessions() as session:
        row = await wanted_organization(session, organization)
    checks = await check_organization(resources, row)
    return CheckResult.model_validate(
        {"ok": all(check.ok for check in checks), "checks": [check.as_json() for check in checks]}
    )
