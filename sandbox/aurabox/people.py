"""A1–A10: patients and cases of one team; two faces of one kind of record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.aurabox.http import body_of, hidden_by_fault, message, not_valid, page_of, team_of, with_team
from sandbox.aurabox.state import Person, new_uuid
from sandbox.aurabox.validate import Errors, check_case, check_list, check_patient
from sandbox.journal import digest_of
from sandbox.world import world_of

STAMPS = ("created_at", "updated_at", "date_of_birth")


def natural_key(kind: str, fields: dict[str, Any]) -> str:
    """What makes two records the same to a person: names, birth date and sex, or the label."""
    if kind == "case":
        return str(fields.get("label"))
    names = (
        fields.get("given_names"),
        fields.get("family_name"),
        fields.get("date_of_birth"),
        fields.get("sex"),
    )
    return "|".join(" ".join(str(n).split()).casefold() for n in names)


@dataclass(frozen=True, slots=True)
class PersonCalls:
    """The five calls on one kind of person."""

    kind: Literal["patient", "case"]
    path: str
    known: tuple[str, ...]
    sorts: tuple[str, ...]
    check: Callable[..., Errors]

    async def collection(self, request: Request) -> Response:
        """A1, A6 (list) and A2, A7 (create)."""
        return await self._create(request) if request.method == "POST" else self._list(request)

    async def single(self, request: Request) -> Response:
        """A3–A5, A8–A10."""
        team = team_of(request)
        person = team.people.get(request.path_params["id"])
        if person is None or person.kind != self.kind:
            return message(404, "Not found")
        if request.method == "PUT":
            return await self._update(request, person)
        if request.method == "DELETE":
            del team.people[person.id]
            self._journal(request, "delete", person)
            return Response(status_code=204)
        return JSONResponse({"data": person.as_json()})

    def _list(self, request: Request) -> Response:
        query = dict(request.query_params)
        if errors := check_list(query, sorts=self.sorts):
            return not_valid(errors)
        archived = query.get("archived", "false") in ("true", "1")
        needle = query.get("search", "").casefold()
        found = [
            p
            for p in team_of(request).people.values()
            if p.kind == self.kind
            and p.archived == archived
            and not p.hidden.now()
            and needle in self._text(p)
        ]
        found.sort(key=lambda p: self._rank(p, query.get("sort", "created_at")))
        if query.get("direction", "desc" if "sort" not in query else "asc") == "desc":
            found.reverse()
        return page_of(request, [p.as_json() for p in found])

    async def _create(self, request: Request) -> Response:
        body = await body_of(request)
        if errors := self.check(body, creating=True):
            return not_valid(errors)
        state, now = world_of(request).aurabox, world_of(request).aurabox.now()
        person = Person(
            id=new_uuid(),
            kind=self.kind,
            fields={k: _trimmed(body[k]) for k in self.known if k in body},
            created_at=now,
            updated_at=now,
            sequence=state.next_sequence(),
            hidden=hidden_by_fault(request),
        )
        team_of(request).people[person.id] = person
        self._journal(request, "create", person)
        return JSONResponse({"data": person.as_json()}, 201)

    async def _update(self, request: Request, person: Person) -> Response:
        body = await body_of(request)
        if errors := self.check(body, creating=False):
            return not_valid(errors)
        person.fields |= {k: _trimmed(body[k]) for k in self.known if k in body}
        person.updated_at = world_of(request).aurabox.now()
        self._journal(request, "update", person)
        return JSONResponse({"data": person.as_json()})

    def _text(self, person: Person) -> str:
        fields = person.fields
        if self.kind == "case":
            return str(fields.get("label")).casefold()
        return f"{fields.get('given_names')} {fields.get('family_name')}".casefold()

    def _rank(self, person: Person, sort: str) -> tuple[str, int]:
        if sort == "name":
            key = f"{person.fields.get('family_name')} {person.fields.get('given_names')}"
        else:
            key = str(person.as_json().get(sort) or "")
        return key.casefold(), person.sequence

    def _journal(self, request: Request, verb: str, person: Person) -> None:
        world_of(request).journal.record_effect(
            f"aurabox.{self.kind}.{verb}",
            who=team_of(request).name,
            natural_key=natural_key(self.kind, person.fields),
            remote_id=person.id,
            digest=digest_of(person.fields),
            detail={"fields": dict(person.fields)},
        )

    def routes(self) -> list[Route]:
        """The paths of these five calls."""
        return [
            Route(self.path, with_team(self.collection), methods=["GET", "POST"]),
            Route(f"{self.path}/{{id}}", with_team(self.single), methods=["GET", "PUT", "DELETE"]),
        ]


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


PATIENTS = PersonCalls(
    kind="patient",
    path="/api/v1/patients",
    known=("given_names", "family_name", "date_of_birth", "sex", "address"),
    sorts=("name", *STAMPS),
    check=check_patient,
)
CASES = PersonCalls(
    kind="case",
    path="/api/v1/cases",
    known=("label", "sex", "date_of_birth"),
    sorts=("label", *STAMPS),
    check=check_case,
)
