"""Studies of a patient or case, as Aurabox has them: made, changed and deleted by an admin (A11–A15)."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.errors import Misuse, SonobridgeError
from app.web.admin.aurabox import TeamDep
from app.web.admin.common import ADMIN_ONLY, admin_page, attempt, refusal
from app.web.browser import CheckedForm
from app.web.rendering import see_other

MOST_FIELDS = 40

# before a form is read, and that before a team is looked for
router = APIRouter(include_in_schema=False, dependencies=[ADMIN_ONLY])


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
async def show(request: Request, team: TeamDep, person_id: str, study_id: str) -> Response:
    """One study (A13)."""
    study = await attempt(
        team.call("study.view", lambda client: client.study(person_id, study_id), subject=study_id),
        back=f"{team.path}/{person_id}",
    )
    context = {"team": team, "person_id": person_id, "study": study, "lines": as_lines(study.fields)}
    return admin_page(request, "aurabox_study.html", context, tab="aurabox")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/studies")
async def create(form: CheckedForm, team: TeamDep, person_id: str) -> Response:
    """Make a study (A12)."""
    back = f"{team.path}/{person_id}"
    fields = _typed(form, back=back)
    creating = team.call(
        "study.create",
        lambda client: client.create_study(person_id, fields),
        subject=person_id,
        subject_of=lambda study: study.id,
    )
    await attempt(creating, back=back)
    return see_other(f"{back}?done=created")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/studies/{study_id}")
async def change(form: CheckedForm, team: TeamDep, person_id: str, study_id: str) -> Response:
    """Change (A14) or delete (A15) a study, by the button that was pressed."""
    back = f"{team.path}/{person_id}"
    here = f"{back}/studies/{study_id}"
    if form.get("act") == "delete":
        deleting = team.call(
            "study.delete", lambda client: client.delete_study(person_id, study_id), subject=study_id
        )
        await attempt(deleting, back=here)
        return see_other(f"{back}?done=deleted")
    fields = _typed(form, back=here)
    updating = team.call(
        "study.update", lambda client: client.update_study(person_id, study_id, fields), subject=study_id
    )
    await attempt(updating, back=here)
    return see_other(f"{back}?done=changed")


def _typed(form: Mapping[str, str], *, back: str) -> dict[str, str]:
    """The fields that were typed. Raises PageError."""
    try:
        return read_lines(form.get("fields", ""))
    except SonobridgeError as error:
        raise refusal(error, back=back) from error
