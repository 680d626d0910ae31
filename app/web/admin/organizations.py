"""The pages of organisations: the policy form with each choice explained, the connection test, removal."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.errors import Misuse
from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
    wanted_organization,
)
from app.organizations.options import SECRETS
from app.resources import Resources
from app.store.organizations import Organization, list_organizations
from app.upkeep.doctor import check_organization
from app.web.admin.choices import CHOICES, QUESTIONS, TEXTS
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, sentence
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import see_other

BACK = "/admin/organizations"
FLAGS = ("keep_birth_date", "report")
DONE = {
    "added": "The organisation was added. Test its connections, then invite its people.",
    "changed": "The changes are saved.",
    "removed": "The organisation was removed.",
}
EMPTY: dict[str, Any] = {
    "name": "",
    "aurabox_url": None,
    "masks": [],
    "dicomweb_url": None,
    "dicomweb_user": None,
    "timezone": "UTC",
    "concurrency": 8,
    "keep_birth_date": False,
    "report": False,
}

router = APIRouter(include_in_schema=False)


@router.get("/admin/organizations")
async def organizations(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """The list."""
    async with resources.sessions() as session:
        rows = [describe_organization(one) for one in await list_organizations(session)]
    context = {"rows": rows, "done": DONE.get(done)}
    return admin_page(request, "organizations.html", context, tab="organizations")


@router.get("/admin/organizations/new")
async def new(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """The form for a new one."""
    usual = EMPTY | {name: choices[0].value for name, choices in CHOICES.items()}
    usual["images"] = "uploader" if resources.settings.aura_app_id else "none"
    return _editor(request, usual | {"burned_in": "unknown"}, row=None)


@router.post("/admin/organizations/new")
async def add(request: Request, resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Add it; a mistake keeps what was typed."""
    try:
        made = await add_organization(resources, said(form, new=True), by=by)
    except Misuse as error:
        return _editor(request, typed(form), row=None, problem=sentence(error.message))
    return see_other(f"{BACK}/{made.id}?done=added")


@router.get("/admin/organizations/{organization}")
async def show(
    request: Request, resources: ResourcesDep, _: AdminDep, organization: str, done: str = ""
) -> Response:
    """One organisation and its form."""
    row = await attempt(_wanted(resources, organization), back=BACK)
    return _editor(request, describe_organization(row), row=row, done=DONE.get(done))


@router.post("/admin/organizations/{organization}")
async def change(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
) -> Response:
    """Save the form; a mistake keeps what was typed. Empty key fields leave the stored keys."""
    row = await attempt(_wanted(resources, organization), back=BACK)
    try:
        await set_organization(resources, str(row.id), said(form, new=False), by=by)
    except Misuse as error:
        shown = describe_organization(row) | typed(form)
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
    row = await attempt(_wanted(resources, organization), back=BACK)
    checks = await check_organization(resources, row)
    return _editor(request, describe_organization(row), row=row, checks=checks)


@router.post("/admin/organizations/{organization}/remove")
async def remove(resources: ResourcesDep, by: ByDep, _form: CheckedForm, organization: str) -> Response:
    """Take it out of use."""
    await attempt(
        remove_organization(resources, organization, by=by),
        back=f"{BACK}/{organization}",
    )
    return see_other(f"{BACK}?done=removed")


def said(form: Mapping[str, str], *, new: bool) -> dict[str, Any]:
    """The form as options: a choice that was made, a flag that was ticked; empty keys say nothing."""
    given: dict[str, Any] = {name: form[name] for name in CHOICES if form.get(name)}
    given |= {name: form.get(name) == "on" for name in FLAGS}
    given["name"] = form.get("name", "")
    given["timezone"] = form.get("timezone", "").strip() or "UTC"
    given["concurrency"] = form.get("concurrency", "").strip() or 8
    masks = [line.strip() for line in form.get("masks", "").splitlines() if line.strip()]
    if masks or not new:
        given["masks"] = masks
    for name in ("aurabox_url", "dicomweb_url", "dicomweb_user"):
        value = form.get(name, "").strip()
        if value or not new:
            given[name] = value or None
    for name in SECRETS:
        if form.get(name, "").strip():
            given[name] = form[name].strip()
    return given


def typed(form: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, to be shown again; keys are not."""
    again = {name: form.get(name, "") for name in (*CHOICES, "name", *TEXTS)}
    masks = [line.strip() for line in form.get("masks", "").splitlines() if line.strip()]
    return again | {name: form.get(name) == "on" for name in FLAGS} | {"masks": masks}


async def _wanted(resources: Resources, organization: str) -> Organization:
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
    masks = [mask if isinstance(mask, str) else ",".join(map(str, mask)) for mask in shown.get("masks") or []]
    context = {
        "row": row,
        "shown": dict(shown) | {"masks": "\n".join(masks)},
        "choices": CHOICES,
        "questions": QUESTIONS,
        "texts": TEXTS,
        "checks": None,
        "problem": problem,
    }
    return admin_page(
        request, "organization.html", context | more, tab="organizations", status=422 if problem else 200
    )
