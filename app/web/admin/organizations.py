"""The pages of organisations: the policy form with each choice explained, the connection test, removal."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.errors import Misuse
from app.organizations.asking import Kind, Option, Section
from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
    wanted_organization,
)
from app.organizations.options import DEFAULTS, OPTIONS, SECRETS
from app.resources import Resources
from app.store.organizations import Images, Organization, list_organizations
from app.upkeep.doctor import check_organization
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, sentence
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import see_other

BACK = "/admin/organizations"
DONE = {
    "added": "The organisation was added. Test its connections, then invite its people.",
    "changed": "The changes are saved.",
    "removed": "The organisation was removed.",
}
router = APIRouter(include_in_schema=False)


@router.get("/admin/organizations")
async def organizations(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """The list."""
    async with resources.sessions() as session:
        rows = [describe_organization(row) for row in await list_organizations(session)]
    context = {"rows": rows, "done": DONE.get(done)}
    return admin_page(request, "organizations.html", context, tab="organizations")


@router.get("/admin/organizations/new")
async def new(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """The form for a new one."""
    images = Images.UPLOADER if resources.settings.aura_app_id else Images.NONE
    return _editor(request, {**DEFAULTS, "images": images}, row=None)


@router.post("/admin/organizations/new")
async def add(request: Request, resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Add it; a mistake keeps what was typed."""
    try:
        row = await add_organization(resources, form_options(form, new=True), by=by)
    except Misuse as error:
        return _editor(request, typed(form), row=None, problem=sentence(error.message))
    return see_other(f"{BACK}/{row.id}?done=added")


@router.get("/admin/organizations/{organization}")
async def show(
    request: Request, resources: ResourcesDep, _: AdminDep, organization: str, done: str = ""
) -> Response:
    """One organisation and its form."""
    row = await attempt(_organization(resources, organization), back=BACK)
    return _editor(request, describe_organization(row).model_dump(), row=row, done=DONE.get(done))


@router.post("/admin/organizations/{organization}")
async def change(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
) -> Response:
    """Save the form; a mistake keeps what was typed. Empty key fields leave the stored keys."""
    row = await attempt(_organization(resources, organization), back=BACK)
    try:
        await set_organization(resources, str(row.id), form_options(form, new=False), by=by)
    except Misuse as error:
        shown = describe_organization(row).model_dump() | typed(form)
        return _editor(request, shown, row=row, problem=sentence(error.message))
    return see_other(f"{BACK}/{row.id}?done=changed")


@router.post("/admin/organizations/{organization}/test")
async def test(
    request: Request,
    resources: ResourcesDep,
    _: AdminDep,
    _form: CheckedForm,
    organization: str,
) -> Response:
    """Try the connections to Aurabox and to the image transport; nothing is changed there."""
    row = await attempt(_organization(resources, organization), back=BACK)
    checks = await check_organization(resources, row)
    return _editor(request, describe_organization(row).model_dump(), row=row, checks=checks)


@router.post("/admin/organizations/{organization}/remove")
async def remove(resources: ResourcesDep, by: ByDep, _form: CheckedForm, organization: str) -> Response:
    """Remove it (soft delete): it is out of use, its row stays."""
    await attempt(
        remove_organization(resources, organization, by=by),
        back=f"{BACK}/{organization}",
    )
    return see_other(f"{BACK}?done=removed")


def form_options(form: Mapping[str, str], *, new: bool) -> dict[str, Any]:
    """The form as options: a key left empty and a choice not made say nothing, nor does what a new one leaves empty."""
    options: dict[str, Any] = {}
    for option in OPTIONS:
        value = _typed(option, form)
        if option.kind in {Kind.SECRET, Kind.CHOICE} and not value:
            continue
        if value or value is False:
            options[option.name] = value
        elif option.name == "name":
            options["name"] = ""
        elif not new:
            # emptied: as if it had never been said
            options[option.name] = option.default
    return options


def typed(form: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, to be shown again; keys are not."""
    return {option.name: _typed(option, form) for option in OPTIONS if option.kind is not Kind.SECRET}


def _typed(option: Option, form: Mapping[str, str]) -> Any:
    value = form.get(option.name, "").strip()
    if option.kind is Kind.FLAG:
        return value == "on"
    if option.kind is Kind.LIST:
        return [line.strip() for line in value.splitlines() if line.strip()]
    return value


async def _organization(resources: Resources, organization: str) -> Organization:
    async with resources.sessions() as session:
        return await wanted_organization(session, organization)


def _editor(
    request: Request,
    shown: Mapping[str, Any],
    *,
    row: Organization | None,
    problem: str | None = None,
    **more: Any,
) -> Response:
    context = {
        "row": row,
        "shown": {option.name: _in_form(option, shown.get(option.name)) for option in OPTIONS}
        | {f"has_{name}": shown.get(f"has_{name}") for name in SECRETS},
        "sections": [(section, _of(section)) for section in Section],
        "checks": None,
        "problem": problem,
    }
    return admin_page(
        request, "organization.html", context | more, tab="organizations", status=422 if problem else 200
    )


def _of(section: Section) -> list[Option]:
    return [option for option in OPTIONS if option.prompt.section is section]


def _in_form(option: Option, value: Any) -> Any:
    """A value as its field shows it: a list one a line, a rectangle as it is typed."""
    if option.kind is not Kind.LIST:
        return "" if value is None else value
    return "\n".join(item if isinstance(item, str) else ",".join(map(str, item)) for item in value or [])
