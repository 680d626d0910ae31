"""The pages about Aurabox: an organisation's patients, cases and their studies, as Aurabox has them (A1–A15).

They show who the patients are, so that each look is audited, also one that failed; the trail names ids only.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import ValidationError

from app.clients.aurabox import AuraboxClient, Study
from app.consoles.aurabox import KINDS, SubjectKind, first, on_team
from app.errors import Misuse, SonobridgeError
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.audit import By
from app.store.organizations import Organization, list_organizations
from app.web.admin.common import ADMIN_ONLY, ByDep, admin_page, attempt, explained
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

T = TypeVar("T")

SHOWN = 100
# the first is what a new form says
SEXES = ("unknown", "female", "male", "other")
DONE = {
    "created": "Aurabox has made it.",
    "changed": "Aurabox has taken the changes.",
    "deleted": "Aurabox has deleted it.",
}

# before a form is read, and that before a team is looked for
router = APIRouter(include_in_schema=False, dependencies=[ADMIN_ONLY])


@dataclass(frozen=True)
class Team:
    """An organisation's team at Aurabox, its patients or its cases, and the admin who looks at them."""

    resources: Resources
    organization: Organization
    kind: SubjectKind
    by: By

    @property
    def path(self) -> str:
        """The page of the list."""
        return f"/admin/aurabox/{self.organization.id}/{self.kind.plural}"

    async def call(
        self,
        action: str,
        call: Callable[[AuraboxClient], Awaitable[T]],
        *,
        subject: str | None = None,
        subject_of: Callable[[T], str] | None = None,
    ) -> T:
        """Make an audited call; `action` without its prefix. Raises like `on_team`."""
        return await on_team(
            self.resources,
            str(self.organization.id),
            call,
            action=f"aurabox.{action}",
            subject=subject,
            subject_of=subject_of,
            by=self.by,
        )


async def get_team(resources: ResourcesDep, by: ByDep, organization: str, kind: str) -> Team:
    """The team that the path names. Raises PageError."""
    if kind not in KINDS:
        raise PageError(404, "There is no such list", "", action=("Go back", "/admin/aurabox"))
    async with resources.sessions() as session:
        row = await attempt(wanted_organization(session, organization), back="/admin/aurabox")
    return Team(resources, row, KINDS[kind], by)


TeamDep = Annotated[Team, Depends(get_team)]


@router.get("/admin/aurabox")
async def choose(request: Request, resources: ResourcesDep) -> Response:
    """Which organisation's Aurabox."""
    async with resources.sessions() as session:
        rows = await list_organizations(session)
    return admin_page(request, "aurabox.html", {"rows": rows}, tab="aurabox")


@router.get("/admin/aurabox/{organization}/{kind}")
async def people(request: Request, team: TeamDep, q: str = "", done: str = "") -> Response:
    """The team's patients or cases."""
    return await _list(request, team, q=q[:255], done=DONE.get(done))


@router.post("/admin/aurabox/{organization}/{kind}")
async def create(request: Request, form: CheckedForm, team: TeamDep) -> Response:
    """Make a patient or a case; a mistake keeps what was typed."""
    try:
        fields = _fields(form, team.kind)
        created = await team.call(
            f"{team.kind.word}.create",
            lambda client: team.kind.create(client, fields),
            subject_of=lambda subject: subject.id,
        )
    except SonobridgeError as error:
        return await _list(request, team, form=form, problem=explained(error))
    return see_other(f"{team.path}/{created.id}?done=created")


@router.get("/admin/aurabox/{organization}/{kind}/{person_id}")
async def person(request: Request, team: TeamDep, person_id: str, done: str = "") -> Response:
    """One patient or case, with its studies."""
    return await _person(request, team, person_id, done=DONE.get(done))


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}")
async def change(request: Request, form: CheckedForm, team: TeamDep, person_id: str) -> Response:
    """Change it; a mistake keeps what was typed."""
    try:
        fields = _fields(form, team.kind)
        await team.call(
            f"{team.kind.word}.update",
            lambda client: team.kind.update(client, person_id, fields),
            subject=person_id,
        )
    except SonobridgeError as error:
        return await _person(request, team, person_id, form=form, problem=explained(error))
    return see_other(f"{team.path}/{person_id}?done=changed")


@router.post("/admin/aurabox/{organization}/{kind}/{person_id}/delete")
async def delete(_form: CheckedForm, team: TeamDep, person_id: str) -> Response:
    """Delete it at Aurabox."""
    deleting = team.call(
        f"{team.kind.word}.delete", lambda client: team.kind.delete(client, person_id), subject=person_id
    )
    await attempt(deleting, back=team.path)
    return see_other(f"{team.path}?done=deleted")


async def _list(
    request: Request,
    team: Team,
    *,
    q: str = "",
    form: Mapping[str, str] | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    rows = await attempt(
        team.call(
            f"{team.kind.word}.list",
            lambda client: first(team.kind.listing(client, search=q or None), SHOWN),
            subject=str(team.organization.id),
        ),
        back="/admin/aurabox",
    )
    context = {"rows": rows, "q": q, "form": dict(form or {}), "done": done}
    return _page(request, "aurabox_people.html", team, context, problem=problem)


async def _person(
    request: Request,
    team: Team,
    person_id: str,
    *,
    form: Mapping[str, str] | None = None,
    problem: str | None = None,
    done: str | None = None,
) -> Response:
    async def read(client: AuraboxClient) -> tuple[Any, list[Study]]:
        return await team.kind.get(client, person_id), await first(client.studies(person_id), SHOWN)

    subject, studies = await attempt(
        team.call(f"{team.kind.word}.view", read, subject=person_id), back=team.path
    )
    typed = {name: str(getattr(subject, name) or "") for name in team.kind.fields} | dict(form or {})
    context = {"subject": subject, "form": typed, "studies": studies, "done": done}
    return _page(request, "aurabox_person.html", team, context, problem=problem)


def _page(
    request: Request, template: str, team: Team, context: Mapping[str, Any], *, problem: str | None
) -> Response:
    context = {"team": team, "kind": team.kind, "sexes": SEXES, "problem": problem, **context}
    return admin_page(request, template, context, tab="aurabox", status=422 if problem else 200)


def _fields(form: Mapping[str, str], kind: SubjectKind) -> Any:
    """What was typed, to be written; empty fields are left out. Raises Misuse."""
    typed = {name: form[name].strip() for name in kind.fields if form.get(name, "").strip()}
    try:
        return kind.model.model_validate(typed)
    except ValidationError as error:
        items = error.errors(include_input=False)
        wrong = sorted({str(item["loc"][0]).replace("_", " ") for item in items if item["loc"]})
    raise Misuse(f"{', '.join(wrong)}: not a value that Aurabox knows; dates are written 1970-12-31")
