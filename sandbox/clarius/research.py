"""C17–C19: the Research API's sign-in, raw data and DICOM export."""

import io
import json
import re
import secrets
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.clarius.captures import capture_url, keep_capture
from sandbox.clarius.http import invalid, json_object, problem, with_research_token
from sandbox.clarius.state import RESEARCH_LINK_LIFETIME_SECONDS, Capture, ExamRequest
from sandbox.dicom_files import dicom_zip
from sandbox.media import Made
from sandbox.world import World, world_of

API = "/api/public/v0"
SYNTAXES = ("jpeg lossless nonheirarchical process 14", "jpeg ls lossless")
FLAGS = (
    "b_image_only",
    "include_annotations",
    "include_demographics",
    "include_measurements",
    "include_scan_parameters",
)
DEMOGRAPHICS = frozenset(
    {
        "PATIENT_NAME",
        "PATIENT_ID",
        "PATIENT_GENDER",
        "PATIENT_DATE_OF_BIRTH",
        "INSTITUTION_NAME",
        "INSTITUTION_ADDRESS",
        "OPERATOR_ID",
        "EXAM_DATE",
        "PROBE_MODEL",
        "APPLICATION",
        "ACOUSTIC_INDICES",
    }
)
RESOLUTION = re.compile(r"[1-9]\d{0,3}x[1-9]\d{0,3}")


async def sign_in(request: Request) -> Response:
    """C17."""
    world = world_of(request)
    body = await json_object(request) or {}
    username, password = body.get("username"), body.get("password")
    users = world.clarius.research_users
    if not isinstance(username, str) or not isinstance(password, str) or users.get(username) != password:
        return problem(400, "Unable to log in with provided credentials.")
    token = secrets.token_hex(32)
    world.clarius.research_tokens[token] = username
    return JSONResponse({"token": token})


def _found(request: Request) -> ExamRequest | Response:
    state = world_of(request).clarius
    research = state.research_exam(request.path_params["exam_id"])
    if research is None:
        return problem(404, "Not found.")
    if research.forbidden:
        return problem(403, "You do not have permission to perform this action.")
    exam = next((e for e in state.newest_exams() if e.exam_uuid == research.exam_uuid), None)
    if exam is None:
        return problem(404, "Not found.")
    if research.busy_answers > 0:
        research.busy_answers -= 1
        return problem(400, "The exam is still being processed.")
    return exam


async def raw_data(request: Request) -> Response:
    """C18: one entry for each capture; links live for seven days."""
    world = world_of(request)
    exam = _found(request)
    if isinstance(exam, Response):
        return exam
    entries = []
    for capture_id in exam.capture_ids:
        link = capture_url(world, capture_id, lifetime_seconds=RESEARCH_LINK_LIFETIME_SECONDS)
        blob = {
            "id": f"{{{capture_id}}}",
            "exam id": f"{{{exam.exam_uuid}}}",
            "date and time": exam.submitted_at,
            "probe serial": "PROBE-SERIAL",
            "probe model": "EXAMPLE-MODELNUMBER",
            "sections": [],
            "acoustic": {"mi": 1.001, "tib": 0.266, "tis": 0.2350692},
        }
        entries.append({"capture_uuid": capture_id, "blob": json.dumps(blob), "raw_image": link})
    return JSONResponse(entries)


async def dicom_export(request: Request) -> Response:
    """C19: a link, good for seven days, to a zip of DICOM files."""
    world = world_of(request)
    parameters = await json_object(request) if await request.body() else {}
    if parameters is None:
        return problem(400, "JSON parse error")
    if complaints := _complaints(parameters):
        return invalid(**complaints)
    exam = _found(request)
    if isinstance(exam, Response):
        return exam
    patient = exam.shape.patient(exam.number)
    content = await run_in_threadpool(
        _export,
        world,
        exam,
        patient=patient if isinstance(patient, dict) else {},
        syntax=parameters.get("syntax"),
    )
    # One stored file per exam: exporting it again gives a new link to the same bytes.
    made = Made("dicom-zip", content, "application/zip", "zip")
    capture = keep_capture(world, made, capture_id=f"dicom-{exam.exam_uuid}")
    link = capture_url(world, capture.id, lifetime_seconds=RESEARCH_LINK_LIFETIME_SECONDS)
    return JSONResponse({"download_url": link})


def _complaints(parameters: dict[str, Any]) -> dict[str, str]:
    complaints: dict[str, str] = {}
    if parameters.get("syntax", SYNTAXES[0]) not in SYNTAXES:
        complaints["syntax"] = f'"{parameters["syntax"]}" is not a valid choice.'
    for name in FLAGS:
        if not isinstance(parameters.get(name, False), bool):
            complaints[name] = "Must be a valid boolean."
    if not RESOLUTION.fullmatch(str(parameters.get("resolution", "1024x768"))):
        complaints["resolution"] = "Must be of format <number>x<number>."
    demographics = parameters.get("demographics", [])
    if not isinstance(demographics, list) or not all(d in DEMOGRAPHICS for d in demographics):
        complaints["demographics"] = "Not a valid choice."
    if parameters.get("tz", "UTC") not in available_timezones():
        complaints["tz"] = "Not a valid time zone."
    return complaints


def _export(world: World, exam: ExamRequest, *, patient: dict[str, Any], syntax: str | None) -> bytes:
    stills = [s for c in exam.capture_ids if (s := _still(world.clarius.captures[c])) is not None]
    # Nothing at hand writes JPEG-LS; that choice is answered with uncompressed pixels, which every reader takes.
    lossless_jpeg = syntax in (None, SYNTAXES[0])
    return dicom_zip(stills, exam_uuid=exam.exam_uuid, patient=patient, lossless_jpeg=lossless_jpeg)


def _still(capture: Capture) -> Image.Image | None:
    if (
        capture.path is None
        or not capture.kind.startswith(("jpeg", "png"))
        or capture.kind.endswith("truncated")
    ):
        return None
    return Image.open(io.BytesIO(Path(capture.path).read_bytes()))


def routes() -> list[Route]:
    """The paths of C17–C19; the two research paths have no trailing slash, as documented."""
    return [
        Route(f"{API}/token-auth/", sign_in, methods=["POST"]),
        Route(f"{API}/exams/rawdata/{{exam_id}}", with_research_token(raw_data), methods=["GET"]),
        Route(f"{API}/exams/dicom/{{exam_id}}", with_research_token(dicom_export), methods=["POST"]),
    ]
