"""A11–A15: studies below a patient or a case; their fields vary, so whatever object comes is kept and returned."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.aurabox.http import body_of, hidden_by_fault, message, not_valid, page_of, team_of, with_team
from sandbox.aurabox.state import Study, new_uuid
from sandbox.aurabox.validate import check_list
from sandbox.journal import digest_of
from sandbox.world import world_of

PATH = "/api/v1/patients/{patient_id}/studies"
OWN_FIELDS = frozenset({"id", "patient_id", "created_at", "updated_at"})


def natural_key(patient_id: str, fields: dict[str, Any]) -> str:
    """A study's UID, else its accession number, else its content: what must not exist twice under one person."""
    name = fields.get("study_instance_uid") or fields.get("accession_number") or digest_of(fields)
    return f"{patient_id}/{name}"


async def collection(request: Request) -> Response:
    """A11 and A12."""
    world, team = world_of(request), team_of(request)
    if (person := team.people.get(request.path_params["patient_id"])) is None:
        return message(404, "Not found")
    if request.method == "GET":
        query = dict(request.query_params)
        if errors := check_list(query, sorts=("created_at", "updated_at")):
            return not_valid(errors)
        needle = query.get("search", "").casefold()
        found = [s for s in person.studies.values() if not s.hidden.now() and _mentions(s, needle)]
        found.sort(key=lambda s: s.sequence, reverse=query.get("direction", "desc") == "desc")
        return page_of(request, [_shown(request, s) for s in found])
    fields = {k: v for k, v in (await body_of(request)).items() if k not in OWN_FIELDS}
    if not fields:
        return not_valid({"study": ["The study field is required."]})
    now = world.aurabox.now()
    study = Study(
        id=new_uuid(),
        patient_id=person.id,
        fields=fields,
        created_at=now,
        updated_at=now,
        sequence=world.aurabox.next_sequence(),
        hidden=hidden_by_fault(request),
    )
    person.studies[study.id] = study
    _journal(request, "create", study)
    return JSONResponse({"data": _shown(request, study)}, 201)


async def single(request: Request) -> Response:
    """A13–A15."""
    person = team_of(request).people.get(request.path_params["patient_id"])
    study = person.studies.get(request.path_params["id"]) if person else None
    if person is None or study is None:
        return message(404, "Not found")
    if request.method == "DELETE":
        del person.studies[study.id]
        _journal(request, "delete", study)
        return Response(status_code=204)
    if request.method == "PUT":
        study.fields |= {k: v for k, v in (await body_of(request)).items() if k not in OWN_FIELDS}
        study.updated_at = world_of(request).aurabox.now()
        _journal(request, "update", study)
    return JSONResponse({"data": _shown(request, study)})


def _shown(request: Request, study: Study) -> dict[str, Any]:
    """The study, with the number of its images where this Aurabox shows one."""
    name = world_of(request).aurabox.image_count_field
    if name is None:
        return study.as_json()
    uids = {str(value) for value in study.fields.values()}
    held = sum(1 for one in team_of(request).instances.values() if one.study_instance_uid in uids)
    return {**study.as_json(), name: held}


def _mentions(study: Study, needle: str) -> bool:
    return any(needle in str(value).casefold() for value in study.fields.values())


def _journal(request: Request, verb: str, study: Study) -> None:
    world_of(request).journal.record_effect(
        f"aurabox.study.{verb}",
        who=team_of(request).name,
        natural_key=natural_key(study.patient_id, study.fields),
        remote_id=study.id,
        digest=digest_of(study.fields),
        detail={"patient_id": study.patient_id, "fields": dict(study.fields)},
    )


def routes() -> list[Route]:
    """The paths of A11–A15."""
    return [
        Route(PATH, with_team(collection), methods=["GET", "POST"]),
        Route(f"{PATH}/{{id}}", with_team(single), methods=["GET", "PUT", "DELETE"]),
    ]
