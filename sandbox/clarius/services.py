"""C6–C16: settings, notification records, API keys and exam applications."""

from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.clarius.http import invalid, json_object, page_of, problem, with_service_key
from sandbox.clarius.state import EXAM_APPLICATIONS, ApiKey
from sandbox.journal import digest_of
from sandbox.world import world_of

API = "/api/public/v0"
RECORDS_PAGE = 100
NAME_LIMIT = 50


async def settings(request: Request) -> Response:
    """C6 and C7."""
    world = world_of(request)
    if request.method == "PATCH":
        body = await json_object(request)
        if body is None:
            return problem(400, "JSON parse error")
        complaints = {name: text for name, value in body.items() if (text := _wrong_setting(name, value))}
        if complaints:
            return invalid(**complaints)
        known = {k: v for k, v in body.items() if k in world.clarius.settings}
        world.clarius.settings |= known
        world.journal.record_effect(
            "clarius.settings.update",
            who=request.state.key.prefix,
            natural_key="settings",
            remote_id="settings",
            digest=digest_of(known),
            detail=known,
        )
    return JSONResponse(world.clarius.settings)


def _wrong_setting(name: str, value: Any) -> str:
    if name not in ("notification_url", "token_transfer_url"):
        return ""
    if not isinstance(value, str):
        return "Not a valid string."
    if value == "":
        return ""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in value:
        return "Enter a valid URL."
    if name == "token_transfer_url" and "{token}" not in value:
        return "URL must contain the string {token}."
    return ""


async def records(request: Request) -> Response:
    """C8, newest first."""
    return page_of(request, world_of(request).clarius.records[::-1], default_limit=RECORDS_PAGE)


async def api_keys(request: Request) -> Response:
    """C9 and C10."""
    world = world_of(request)
    if request.method == "GET":
        return JSONResponse([_described(k) for k in world.clarius.keys.values()])
    name = (await json_object(request) or {}).get("name")
    if not isinstance(name, str) or not name.strip():
        return invalid(name="This field is required.")
    if len(name) > NAME_LIMIT:
        return invalid(name=f"Ensure this field has no more than {NAME_LIMIT} characters.")
    key = world.clarius.new_key(name)
    world.journal.record_effect(
        "clarius.key.create", who=request.state.key.prefix, natural_key=key.prefix, remote_id=key.prefix
    )
    return JSONResponse({**_described(key), "key": key.key}, 201)


async def revoke_key(request: Request) -> Response:
    """C11."""
    world, prefix = world_of(request), request.path_params["prefix"]
    if prefix not in world.clarius.keys:
        return problem(404, "Not found.")
    if prefix == request.state.key.prefix:
        return problem(400, "You cannot revoke the key that you are using.")
    world.clarius.revoked_keys.add(world.clarius.keys.pop(prefix).key)
    world.journal.record_effect(
        "clarius.key.delete", who=request.state.key.prefix, natural_key=prefix, remote_id=prefix
    )
    return Response(status_code=204)


def _described(key: ApiKey) -> dict[str, str]:
    return {"prefix": key.prefix, "name": key.name, "created": key.created}


async def exam_applications(_request: Request) -> Response:
    """C12."""
    return JSONResponse([{"uuid": u, "name": n} for u, n in EXAM_APPLICATIONS.items()])


async def customised_applications(request: Request) -> Response:
    """C13."""
    customised = world_of(request).clarius.customised
    return JSONResponse([_application(u, a) for u, a in customised.items()])


async def one_application(request: Request) -> Response:
    """C14, C15 and C16."""
    world, uuid = world_of(request), request.path_params["uuid"]
    customised = world.clarius.customised
    if uuid not in EXAM_APPLICATIONS or (request.method != "PUT" and uuid not in customised):
        return problem(404, "Not found.")
    if request.method == "DELETE":
        del customised[uuid]
        world.journal.record_effect(
            "clarius.application.delete", who=request.state.key.prefix, natural_key=uuid, remote_id=uuid
        )
        return Response(status_code=204)
    if request.method == "PUT":
        annotations: Any = (await json_object(request) or {}).get("annotations")
        if complaint := _wrong_annotations(annotations):
            return invalid(annotations=complaint)
        customised[uuid] = annotations
        world.journal.record_effect(
            "clarius.application.update",
            who=request.state.key.prefix,
            natural_key=uuid,
            remote_id=uuid,
            digest=digest_of(annotations),
        )
    return JSONResponse(_application(uuid, customised[uuid]))


def _wrong_annotations(value: Any) -> str:
    if not isinstance(value, list):
        return "This field is required."
    for item in value:
        if not isinstance(item, dict) or not {"title", "labels", "linked"} <= item.keys():
            return "Each annotation needs title, labels and linked."
        if not isinstance(item["title"], str) or not isinstance(item["linked"], bool):
            return "title is a string and linked a boolean."
        if not isinstance(item["labels"], list) or not all(isinstance(x, str) for x in item["labels"]):
            return "labels is a list of strings."
    return ""


def _application(uuid: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"uuid": uuid, "name": EXAM_APPLICATIONS[uuid], "annotations": annotations}


def routes() -> list[Route]:
    """The paths of C6–C16."""
    key = with_service_key
    return [
        Route(f"{API}/services/settings/", key(settings), methods=["GET", "PATCH"]),
        Route(f"{API}/services/notifications/records/", key(records), methods=["GET"]),
        Route(f"{API}/services/api-keys/", key(api_keys), methods=["GET", "POST"]),
        Route(f"{API}/services/api-keys/{{prefix}}/", key(revoke_key), methods=["DELETE"]),
        Route(f"{API}/exams/applications/", key(exam_applications), methods=["GET"]),
        Route(f"{API}/services/applications/", key(customised_applications), methods=["GET"]),
        Route(
            f"{API}/services/applications/{{uuid}}/", key(one_application), methods=["GET", "PUT", "DELETE"]
        ),
    ]
