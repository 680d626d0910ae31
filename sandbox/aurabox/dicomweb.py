"""A small DICOMweb face: STOW-RS in, QIDO-RS of studies and instances out, for demos of that transport."""

import hashlib
import io
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.aurabox.http import message, team_of, with_team
from sandbox.aurabox.intake import ArchiveError, read_instance, take_in
from sandbox.aurabox.state import Instance
from sandbox.world import world_of

DICOM_JSON = "application/dicom+json"
BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
CANNOT_UNDERSTAND, OUT_OF_RESOURCES, WRONG_STUDY = 0xC000, 0xA700, 0xA900


async def store(request: Request) -> Response:
    """STOW-RS: 200 all stored, 202 some, 409 none; every failed object is named."""
    content_type = request.headers.get("content-type", "")
    boundary = BOUNDARY.search(content_type)
    if (
        not content_type.startswith("multipart/related")
        or "application/dicom" not in content_type
        or not boundary
    ):
        return message(415, "multipart/related; type=application/dicom is wanted.")
    parts = split_parts(await request.body(), boundary[1].encode())
    if not parts:
        return message(400, "No DICOM objects were sent.")
    stored: list[Instance] = []
    failed: list[tuple[Instance | None, int]] = []
    wanted_study = request.path_params.get("study")
    for part in parts:
        instance, reason = await _store_one(request, part, wanted_study)
        if instance is not None and not reason:
            stored.append(instance)
        else:
            failed.append((instance, reason))
    answer: dict[str, Any] = {}
    base = f"{world_of(request).aurabox_url}/dicomweb"
    if stored:
        answer["00081199"] = _sequence([_reference(i) | _retrieve(base, i) for i in stored])
    if failed:
        answer["00081198"] = _sequence([_reference(i) | _value("00081197", "US", r) for i, r in failed])
    status = 200 if not failed else 202 if stored else 409
    return JSONResponse(answer, status, media_type=DICOM_JSON)


async def _store_one(request: Request, part: bytes, wanted_study: str | None) -> tuple[Instance | None, int]:
    world, team = world_of(request), team_of(request)
    digest = hashlib.sha256(part).hexdigest()
    try:
        instance = await run_in_threadpool(
            read_instance, io.BytesIO(part), sha256=digest, size_bytes=len(part)
        )
    except ArchiveError:
        return None, CANNOT_UNDERSTAND
    if wanted_study is not None and instance.study_instance_uid != wanted_study:
        return instance, WRONG_STUDY
    if instance.sop_instance_uid in world.aurabox.refused_instances:
        return instance, OUT_OF_RESOURCES
    if world.aurabox.refuse_next_instances > 0:
        world.aurabox.refuse_next_instances -= 1
        return instance, OUT_OF_RESOURCES
    take_in(world, team, instance, via="dicomweb")
    return instance, 0


async def find_studies(request: Request) -> Response:
    """QIDO-RS for studies, by StudyInstanceUID."""
    wanted = request.query_params.get("StudyInstanceUID") or request.query_params.get("0020000D")
    found = {i.study_instance_uid: i for i in team_of(request).instances.values()}
    chosen = [i for uid, i in sorted(found.items()) if wanted in (None, uid)]
    held = team_of(request).instances_of
    return _found(
        [
            _value("0020000D", "UI", i.study_instance_uid)
            | _value("00201208", "IS", len(held(i.study_instance_uid)))
            | _value("00100020", "LO", i.patient_id)
            for i in chosen
        ]
    )


async def find_instances(request: Request) -> Response:
    """QIDO-RS for the instances of a study; `limit` and `offset` page through them."""
    instances = team_of(request).instances_of(request.path_params["study"])
    offset = int(request.query_params.get("offset", "0"))
    limit = int(request.query_params.get("limit", str(len(instances) or 1)))
    return _found(
        [
            _value("00080016", "UI", i.sop_class_uid)
            | _value("00080018", "UI", i.sop_instance_uid)
            | _value("0020000D", "UI", i.study_instance_uid)
            | _value("0020000E", "UI", i.series_instance_uid)
            | _value("00280008", "IS", i.number_of_frames)
            for i in instances[offset : offset + limit]
        ]
    )


def split_parts(body: bytes, boundary: bytes) -> list[bytes]:
    """The payloads of a multipart body; a body without its closing boundary has none."""
    delimiter = b"\r\n--" + boundary
    body = b"\r\n" + body
    if delimiter + b"--" not in body:
        return []
    payloads = []
    for piece in body.split(delimiter)[1:]:
        if piece.startswith(b"--"):
            break
        _, gap, payload = piece.partition(b"\r\n\r\n")
        if gap:
            payloads.append(payload)
    return payloads


def _found(items: list[dict[str, Any]]) -> Response:
    return JSONResponse(items, media_type=DICOM_JSON) if items else Response(status_code=204)


def _reference(instance: Instance | None) -> dict[str, Any]:
    if instance is None:
        return {}
    return _value("00081150", "UI", instance.sop_class_uid) | _value(
        "00081155", "UI", instance.sop_instance_uid
    )


def _retrieve(base: str, instance: Instance) -> dict[str, Any]:
    path = f"studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
    return _value("00081190", "UR", f"{base}/{path}/instances/{instance.sop_instance_uid}")


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}


def _value(tag: str, vr: str, value: object) -> dict[str, Any]:
    return {tag: {"vr": vr, "Value": [value]}}


def routes() -> list[Route]:
    """The DICOMweb paths."""
    return [
        Route("/dicomweb/studies", with_team(store), methods=["POST"]),
        Route("/dicomweb/studies", with_team(find_studies), methods=["GET"]),
        Route("/dicomweb/studies/{study}", with_team(store), methods=["POST"]),
        Route("/dicomweb/studies/{study}/instances", with_team(find_instances), methods=["GET"]),
    ]
