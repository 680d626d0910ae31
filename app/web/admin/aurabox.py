"""The pages about Aurabox: an organisation's patients, cases and their studies, as Aurabox has them (A1–A15).

They show who the patients are, so that each look is audited; the trail names ids only.
"""

from collections.abc import AsyncIterable, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ValidationError

from app.accounts import AccountKind
from app.clients.aurabox import AuraboxClient, CaseFields, PatientFields
from app.errors import Misuse, SonobridgeError
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.audit import By, audit
from app.store.organizations import Organization, list_organizations
from app.upstreams.gate import asking
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, explained
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

T = TypeVar("T")

SHOWN = 100
KINDS = {"patients": "patient", "cases": "case"}
SEXES = ("unknown", "female", "male", "other")
FIELDS = {
    "patients": ("given_names", "family_name", "date_of_birth", "sex"),
    "cases": ("label", "date_of_birth", "sex"),
}
DONE = {
    "created": "Aurabox has made it.",
    "changed": "Aurabox has taken the changes.",
    "deleted": "Aurabox has deleted it.",
}

router = APIRouter(include_in_schema=False)


@router.get("/admin/aurabox")
async def choose(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """Which organisation's Aurabox."""
    async with resources.sessions() as session:
        rows = await list_organizations(session)
    return admin_page(request, "aurabox.html", {"rows": rows}, tab="aurabox")


@router.get("/admin/aurabox/{organization}/{kind}")
async def people(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    organization: str,
    kind: str,
    q: str = "",
    done: str = "",
) -> Response:
    """The team's patients or cases."""
    row = await _organization(resources, organization, kind)
    return await _list(request, resources, row, kind, by=by, q=q[:255], done=DONE.get(done))


@router.post("/admin/aurabox/{organization}/{kind}")
async def create(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
    kind: str,
) -> Response:
    """Make a patient or a case; a mistake keeps what was typed."""
    row = await _organization(resources, organization, kind)
    try:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            made = await _create(resources.aurabox(row), kind, _fields(form, kind))
    except SonobridgeError as error:
        return await _list(request, resources, row, kind, by=by, form=form, problem=explained(error))
    await _audit(resources, by, f"aurabox.{KINDS[kind]}.create", made)
    return see_other(f"/admin/aurabox/{row.id}/{kind}/{made}?done=created")


@router.get("/admin/aurabox/{organization}/{kind}/{person_id}")
async def one(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    organization: str,
    kind: str,
    person_id: str,
    done: str = "",
) -> Response:
    """One patient or case, with its studies."""
    row = await _organization(resources, organization, kind)
    return await _one(request, resources, row, kind, person_id, by=by, done=DONE.get(done))


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}")
async def change(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
    kind: str,
    person_id: str,
) -> Response:
    """Change it; a mistake keeps what was typed."""
    row = await _organization(resources, organization, kind)
    try:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            await _update(resources.aurabox(row), kind, person_id, _fields(form, kind))
    except SonobridgeError as error:
        return await _one(
            request, resources, row, kind, person_id, by=by, form=form, problem=explained(error)
        )
    await _audit(resources, by, f"aurabox.{KINDS[kind]}.update", person_id)
    return see_other(f"/admin/aurabox/{row.id}/{kind}/{person_id}?done=changed")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/delete")
async def delete(
    resources: ResourcesDep,
    by: ByDep,
    _form: CheckedForm,
    organization: str,
    kind: str,
    person_id: str,
) -> Response:
    """Delete it at Aurabox."""
    row = await _organization(resources, organization, kind)
    back = f"/admin/aurabox/{row.id}/{kind}"

    async def doing() -> None:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            client = resources.aurabox(row)
            await (client.delete_patient if kind == "patients" else client.delete_case)(person_id)

    await attempt(doing(), back=back)
    await _audit(resources, by, f"aurabox.{KINDS[kind]}.delete", person_id)
    return see_other(f"{back}?done=deleted")


async def _list(  # noqa: PLR0913 - all are named
    request: Request,
    resources: Resources,
    row: Organization,
    kind: str,
    *,
    by: By,
    q: str = "",
    form: Mapping[str, str] | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    async def read() -> list[Any]:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            client = resources.aurabox(row)
            listed: AsyncIterable[Any] = (
                client.patients(search=q or None) if kind == "patients" else client.cases(search=q or None)
            )
            return await first(listed, SHOWN)

    rows = await attempt(read(), back="/admin/aurabox")
    await _audit(resources, by, f"aurabox.{KINDS[kind]}.list", str(row.id))
    context = _context(row, kind) | {
        "rows": rows,
        "q": q,
        "form": dict(form or {}),
        "done": done,
        "problem": problem,
    }
    return admin_page(request, "aurabox_people.html", context, tab="aurabox", status=422 if problem else 200)


async def _one(  # noqa: PLR0913 - all are named
    request: Request,
    resources: Resources,
    row: Organization,
    kind: str,
    person_id: str,
    *,
    by: By,
    form: Mapping[str, str] | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    async def read() -> tuple[Any, list[Any]]:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            client = resources.aurabox(row)
            found = await (client.patient(person_id) if kind == "patients" else client.case(person_id))
            return found, await first(client.studies(person_id), SHOWN)

    found, studies = await attempt(read(), back=f"/admin/aurabox/{row.id}/{kind}")
    await _audit(resources, by, f"aurabox.{KINDS[kind]}.view", person_id)
    typed = {name: str(getattr(found, name) or "") for name in FIELDS[kind]} | dict(form or {})
    context = _context(row, kind) | {
        "found": found,
        "form": typed,
        "studies": studies,
        "done": done,
        "problem": problem,
    }
    return admin_page(request, "aurabox_person.html", context, tab="aurabox", status=422 if problem else 200)


def _context(row: Organization, kind: str) -> dict[str, Any]:
    return {
        "organization": row,
        "kind": kind,
        "one": KINDS[kind],
        "fields": FIELDS[kind],
        "sexes": SEXES,
    }


async def first(items: AsyncIterable[T], most: int) -> list[T]:
    """At most so many of a listing that may go on for long."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) >= most:
            break
    return found


def _fields(form: Mapping[str, str], kind: str) -> dict[str, Any]:
    """What was typed; empty fields are left out, except that an emptied date is none."""
    return {name: form[name].strip() for name in FIELDS[kind] if form.get(name, "").strip()}


async def _create(client: AuraboxClient, kind: str, fields: dict[str, Any]) -> str:
    try:
        if kind == "patients":
            return (await client.create_patient(PatientFields.model_validate(fields))).id
        return (await client.create_case(CaseFields.model_validate(fields))).id
    except ValidationError as error:
        raise _mistyped(error) from None


async def _update(client: AuraboxClient, kind: str, person_id: str, fields: dict[str, Any]) -> None:
    try:
        if kind == "patients":
            await client.update_patient(person_id, PatientFields.model_validate(fields))
        else:
            await client.update_case(person_id, CaseFields.model_validate(fields))
    except ValidationError as error:
        raise _mistyped(error) from None


def _mistyped(error: ValidationError) -> Misuse:
    wrong = sorted(
        {str(item["loc"][0]).replace("_", " ") for item in error.errors(include_input=False) if item["loc"]}
    )
    return Misuse(f"{', '.join(wrong)}: not a value that Aurabox knows; dates are written 1970-12-31")


async def _organization(resources: Resources, organization: str, kind: str) -> Organization:
    if kind not in KINDS:
        raise PageError(404, "There is no such list", "", action=("Go back", "/admin/aurabox"))

    async def read() -> Organization:
        async with resources.sessions() as session:
            return await wanted_organization(session, organization)

    return await attempt(read(), back="/admin/aurabox")


async def _audit(resources: Resources, by: By, action: str, subject: str) -> None:
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action=action, subject=subject)
