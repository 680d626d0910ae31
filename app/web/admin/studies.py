"""Studies of a patient or case, as Aurabox has them: made, changed and deleted by an admin (A11–A15)."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.accounts import AccountKind
from app.errors import Misuse
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.audit import By, audit
from app.store.organizations import Organization
from app.upstreams.gate import asking
from app.web.admin.aurabox import KINDS
from app.web.admin.common import ByDep, admin_page, attempt
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

MOST_FIELDS = 40

router = APIRouter(include_in_schema=False)


def read_lines(text: str) -> dict[str, str]:
    """`name = value`, one a line: the names are each team's own. Raises Misuse."""
    fields = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, sign, value = line.partition("=")
        if not sign or not name.strip():
            raise Misuse(f"write one field a line, as name = value; this is none: {line.strip()[:40]}")
        fields[name.strip()] = value.strip()
    if not fields or len(fields) > MOST_FIELDS:
        raise Misuse(f"a study needs 1 to {MOST_FIELDS} fields")
    return fields


def as_lines(fields: Mapping[str, Any]) -> str:
    """A study's plain fields as they are typed."""
    return "\n".join(
        f"{name} = {value}"
        for name, value in sorted(fields.items())
        if isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and name not in {"created_at", "updated_at", "patient_id"}
    )


@router.get("/admin/aurabox/{organization}/{kind}/{person_id}/studies/{study_id}")
async def study(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    organization: str,
    kind: str,
    person_id: str,
    study_id: str,
) -> Response:
    """One study (A13)."""
    row, back = await _place(resources, organization, kind, person_id)

    async def read() -> Any:
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            return await resources.aurabox(row).study(person_id, study_id)

    found = await attempt(read(), back=back)
    await _audit(resources, by, "aurabox.study.view", study_id)
    context = {
        "organization": row,
        "kind": kind,
        "one": KINDS[kind],
        "person_id": person_id,
        "found": found,
        "lines": as_lines(found.fields),
    }
    return admin_page(request, "aurabox_study.html", context, tab="aurabox")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/studies")
async def create(
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
    kind: str,
    person_id: str,
) -> Response:
    """Make a study (A12)."""
    row, back = await _place(resources, organization, kind, person_id)

    async def doing() -> str:
        fields = read_lines(form.get("fields", ""))
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            return (await resources.aurabox(row).create_study(person_id, fields)).id

    made = await attempt(doing(), back=back)
    await _audit(resources, by, "aurabox.study.create", made)
    return see_other(f"{back}?done=created")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/studies/{study_id}")
async def change(
    resources: ResourcesDep,
    by: ByDep,
    form: CheckedForm,
    organization: str,
    kind: str,
    person_id: str,
    study_id: str,
) -> Response:
    """Change (A14) or delete (A15) a study, by the button that was pressed."""
    row, back = await _place(resources, organization, kind, person_id)
    deleting = form.get("act") == "delete"

    async def doing() -> None:
        fields = {} if deleting else read_lines(form.get("fields", ""))
        async with asking(resources, AccountKind.AURABOX.of(row.id)):
            client = resources.aurabox(row)
            if deleting:
                await client.delete_study(person_id, study_id)
            else:
                await client.update_study(person_id, study_id, fields)

    await attempt(doing(), back=f"{back}/studies/{study_id}")
    action = "aurabox.study.delete" if deleting else "aurabox.study.update"
    await _audit(resources, by, action, study_id)
    return see_other(f"{back}?done={'deleted' if deleting else 'changed'}")


async def _place(
    resources: Resources, organization: str, kind: str, person_id: str
) -> tuple[Organization, str]:
    """The organisation, and the page of the patient or case."""
    if kind not in KINDS:
        raise PageError(404, "There is no such list", "", action=("Go back", "/admin/aurabox"))

    async def read() -> Organization:
        async with resources.sessions() as session:
            return await wanted_organization(session, organization)

    row = await attempt(read(), back="/admin/aurabox")
    return row, f"/admin/aurabox/{row.id}/{kind}/{person_id}"


async def _audit(resources: Resources, by: By, action: str, subject: str) -> None:
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action=action, subject=subject)
