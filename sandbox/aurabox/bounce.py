"""The uploader API below `/api`: exchange, config and the upload's lifecycle; the bytes go through `tus.py`."""

import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.aurabox.intake import ArchiveError, read_archive, take_in
from sandbox.aurabox.signing import SignedRequest, complaint_about
from sandbox.aurabox.state import BEARER_LIFETIME_SECONDS, BUCKET, Bearer, Team, Upload
from sandbox.world import World, world_of

SCOPES = ("upload:init", "upload:manage", "integration:read")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DOCUMENTED_LIMITS_PER_MINUTE = {"exchange": 10, "config": 30, "lifecycle": 60}
MAX_TTL_SECONDS = 86_400

Lifecycle = Callable[[Request, Team, dict[str, Any]], Awaitable[Response]]


def error(status: int, text: str) -> JSONResponse:
    """`{"error": {"message": …}}`."""
    return JSONResponse({"error": {"message": text}}, status)


async def exchange(request: Request) -> Response:
    """A signed request and a team's service key → a bearer token."""
    world = world_of(request)
    state = world.aurabox
    body = await request.body()
    team = state.team_with_service_key(request.headers.get("x-api-key", ""))
    if team is None:
        return error(401, "Unknown API key.")
    if limited := _limited(world, "exchange", team.name):
        return limited
    signed = SignedRequest(
        method=request.method,
        raw_path=request.scope["raw_path"].decode("ascii"),
        query=request.url.query,
        headers=dict(request.headers),
        body=body,
    )
    complaint = complaint_about(
        signed,
        app_id=state.app_id,
        app_secret=state.app_secret,
        used_nonces=state.nonces,
        now=datetime.now(UTC),
    )
    if complaint:
        return error(401, complaint)
    wanted = _object(body)
    if wrong := _wrong_wish(wanted):
        return error(422, wrong)
    ttl, scopes = wanted.get("ttl", BEARER_LIFETIME_SECONDS), wanted.get("scopes", list(SCOPES))
    uses = wanted.get("max_uses")
    token = f"aubt_{secrets.token_hex(24)}"
    bearer = Bearer(team.name, tuple(scopes), datetime.now(UTC) + timedelta(seconds=ttl), uses)
    state.bearers[token] = bearer
    world.journal.record_effect(
        "bounce.exchange", who=team.name, natural_key=token[-6:], remote_id=token[-6:]
    )
    expires_at = bearer.expires_at.isoformat().replace("+00:00", "Z")
    return JSONResponse({"token": token, "expires_at": expires_at, "scopes": scopes, "max_uses": uses})


def _wrong_wish(wanted: dict[str, Any]) -> str:
    ttl, scopes, uses = wanted.get("ttl", 1), wanted.get("scopes", list(SCOPES)), wanted.get("max_uses")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 1 <= ttl <= MAX_TTL_SECONDS:
        return f"ttl must be between 1 and {MAX_TTL_SECONDS} seconds."
    if not isinstance(scopes, list) or not scopes or not all(s in SCOPES for s in scopes):
        return f"scopes must be some of {', '.join(SCOPES)}."
    if uses is not None and (not isinstance(uses, int) or uses < 1):
        return "max_uses must be a positive integer."
    return ""


async def config(request: Request) -> Response:
    """Where and with which token to send bytes."""
    world = world_of(request)
    team = _admitted(request, "integration:read")
    if isinstance(team, Response):
        return team
    if limited := _limited(world, "config", team.name):
        return limited
    endpoint, token = f"{world.lift_url}/files", ""
    if world.aurabox.lift_elsewhere is not None:
        endpoint, token = world.aurabox.lift_elsewhere
    lift = {
        "endpoint": endpoint,
        "token": token or world.aurabox.new_lift_token(team.name),
        "bucket": BUCKET,
    }
    return JSONResponse({"lift": lift, "mode": "uploader"})


def lifecycle(scope: str, handle: Lifecycle) -> Callable[[Request], Awaitable[Response]]:
    """Wraps a lifecycle call: token, scope, limit and a JSON object with an upload_id."""

    async def endpoint(request: Request) -> Response:
        team = _admitted(request, scope)
        if isinstance(team, Response):
            return team
        if limited := _limited(world_of(request), "lifecycle", team.name):
            return limited
        body = _object(await request.body())
        if not UUID4.fullmatch(str(body.get("upload_id", ""))):
            return error(422, "upload_id must be a version 4 UUID.")
        return await handle(request, team, body)

    return endpoint


async def init(request: Request, team: Team, body: dict[str, Any]) -> Response:
    """Announces an upload and its studies."""
    world, studies, patient_id = world_of(request), body.get("studies"), body.get("patient_id")
    if not isinstance(studies, dict) or not studies:
        return error(422, "studies must be an object with at least one study.")
    for uid, described in studies.items():
        if not isinstance(described, dict) or described.get("study_uid") != uid:
            return error(422, f"studies.{uid}.study_uid must equal its key.")
    if body.get("mode") != "bulk" or body.get("type") != "uploader":
        return error(422, "mode must be bulk and type uploader.")
    if patient_id is not None and patient_id not in team.people:
        return error(422, "The selected patient_id is invalid.")
    known = world.aurabox.uploads.get(body["upload_id"])
    if known is not None and (known.team != team.name or known.state == "completed"):
        return error(409, "This upload_id is taken.")
    if known is None:
        world.aurabox.uploads[body["upload_id"]] = Upload(
            body["upload_id"], team.name, studies, patient_id, body
        )
        _journal(
            world, team, "init", body["upload_id"], {"studies": sorted(studies), "patient_id": patient_id}
        )
    return JSONResponse({"studies": [{"id": _study_id(team, uid)} for uid in studies]}, 201)


async def start(request: Request, team: Team, body: dict[str, Any]) -> Response:
    """Says that bytes are about to be sent."""
    world, upload = world_of(request), _upload(request, team, body)
    if upload is None:
        return error(404, "Upload not found.")
    if upload.state in ("completed", "cancelled"):
        return error(409, f"The upload is {upload.state}.")
    if not body.get("assembly_id"):
        return error(422, "assembly_id is required.")
    upload.state, upload.assembly_id = "started", str(body["assembly_id"])
    _journal(world, team, "start", upload.id, {"assembly_id": upload.assembly_id})
    return JSONResponse({"status": "started"})


async def complete(request: Request, team: Team, body: dict[str, Any]) -> Response:
    """Opens the archive and takes its objects in; asked again, it answers the same and does nothing."""
    world, upload = world_of(request), _upload(request, team, body)
    if upload is None:
        return error(404, "Upload not found.")
    if upload.state == "completed":
        return JSONResponse({"status": "completed"})
    archive = world.folder / f"{upload.id}.whole"
    if refusal := _not_ready(upload, body, archive):
        return refusal
    try:
        instances = await run_in_threadpool(read_archive, archive)
    except ArchiveError as problem:
        return error(422, str(problem))
    unknown = sorted({i.study_instance_uid for i in instances} - upload.studies.keys())
    unknown += [uid for uid in upload.studies if team.study_by_uid(uid) is None]
    if unknown:
        return error(422, f"Unknown study: {', '.join(unknown)}.")
    new = [i for i in instances if take_in(world, team, i, via="uploader")]
    upload.state = "completed"
    archive.unlink()
    _journal(world, team, "complete", upload.id, {"instances": len(instances), "new": len(new)})
    return JSONResponse({"status": "completed"})


def _not_ready(upload: Upload, body: dict[str, Any], archive: Path) -> Response | None:
    if upload.state != "started":
        return error(409, f"The upload is {upload.state}.")
    if body.get("assembly_id") != upload.assembly_id:
        return error(422, "assembly_id does not match.")
    return None if archive.exists() else error(409, "The archive has not arrived whole.")


async def fail(request: Request, team: Team, body: dict[str, Any]) -> Response:
    """The sender gave up."""
    return _ended(request, team, body, state="failed")


async def cancel(request: Request, team: Team, body: dict[str, Any]) -> Response:
    """A person called it off."""
    return _ended(request, team, body, state="cancelled")


def _ended(request: Request, team: Team, body: dict[str, Any], *, state: str) -> Response:
    upload = _upload(request, team, body)
    if upload is None:
        return error(404, "Upload not found.")
    if upload.state == "completed":
        return error(409, "The upload is completed.")
    verb = "cancel" if state == "cancelled" else "error"
    upload.state = "cancelled" if state == "cancelled" else "failed"
    upload.message = str(body.get("message") or "") or None
    _journal(world_of(request), team, verb, upload.id, {"message": upload.message})
    return JSONResponse({"status": state})


def _admitted(request: Request, scope: str) -> Team | Response:
    state = world_of(request).aurabox
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = state.bearers.get(token) if scheme == "Bearer" else None
    team = state.team_with_service_key(request.headers.get("x-api-key", ""))
    if bearer is None or team is None or team.name != bearer.team:
        return error(401, "The token or API key is not valid.")
    if bearer.expires_at <= datetime.now(UTC) or bearer.uses_left == 0:
        return error(401, "The token has expired.")
    if scope not in bearer.scopes:
        return error(403, f"The token lacks the scope {scope}.")
    if bearer.uses_left is not None:
        bearer.uses_left -= 1
    return team


def _limited(world: World, name: str, team: str) -> Response | None:
    limit = world.aurabox.limits_per_minute.get(name)
    if limit is None:
        return None
    now = time.monotonic()
    recent = [at for at in world.aurabox.calls.get((name, team), []) if now - at < 60]
    if len(recent) >= limit:
        refusal = error(429, "Too Many Attempts.")
        refusal.headers["retry-after"] = str(int(60 - (now - recent[0])) + 1)
        return refusal
    world.aurabox.calls[(name, team)] = [*recent, now]
    return None


def _upload(request: Request, team: Team, body: dict[str, Any]) -> Upload | None:
    upload = world_of(request).aurabox.uploads.get(body["upload_id"])
    return upload if upload is not None and upload.team == team.name else None


def _study_id(team: Team, uid: str) -> str | None:
    study = team.study_by_uid(uid)
    return study.id if study else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _journal(world: World, team: Team, verb: str, upload_id: str, detail: dict[str, Any]) -> None:
    world.journal.record_effect(
        f"bounce.upload.{verb}", who=team.name, natural_key=upload_id, remote_id=upload_id, detail=detail
    )


def routes() -> list[Route]:
    """The uploader API's paths."""
    upload = "/api/uploader/upload"
    return [
        Route("/api/auth/exchange", exchange, methods=["POST"]),
        Route("/api/uploader/config", config, methods=["GET"]),
        Route(f"{upload}/init", lifecycle("upload:init", init), methods=["POST"]),
        Route(f"{upload}/start", lifecycle("upload:manage", start), methods=["POST"]),
        Route(f"{upload}/complete", lifecycle("upload:manage", complete), methods=["POST"]),
        Route(f"{upload}/error", lifecycle("upload:manage", fail), methods=["POST"]),
        Route(f"{upload}/cancel", lifecycle("upload:manage", cancel), methods=["POST"]),
    ]
