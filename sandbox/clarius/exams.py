"""C1–C5: the poll, exam data, customer confirmations, confirmed tokens, reports; reads and records, sends nothing."""

import json
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.clarius.captures import capture_url
from sandbox.clarius.http import invalid, json_object, page_of, problem, with_service_key
from sandbox.clarius.state import ExamRequest, Report, new_uuid
from sandbox.exam_shapes import exam_body
from sandbox.journal import digest_of
from sandbox.world import World, world_of

API = "/api/public/v0"
POLL_PAGE = 100
TOKENS_PAGE = 10_000


def notification_of(world: World, exam: ExamRequest, *, polled: bool) -> dict[str, Any]:
    """The payload of a webhook or of a poll result: they differ in the shape of the download URL."""
    part = "exams/download-requests" if polled else "download-requests"
    return {
        "request_uuid": exam.request_uuid,
        "exam_uuid": exam.exam_uuid,
        "customer_id": exam.customer_id,
        "download_url": f"{world.clarius_url}{API}/{part}/{exam.request_uuid}/data/",
        "submitted_at": exam.submitted_at,
    }


async def list_exams(request: Request) -> Response:
    """C1."""
    world = world_of(request)
    exams = world.clarius.newest_exams(request.query_params.get("customer_id"))
    return page_of(request, [notification_of(world, e, polled=True) for e in exams], default_limit=POLL_PAGE)


async def exam_data(request: Request) -> Response:
    """C2: every look signs the captures' links anew."""
    world = world_of(request)
    exam = world.clarius.exams.get(request.path_params["request_uuid"])
    if exam is None or exam.deleted:
        return problem(404, "Not found.")
    if exam.shape.raw is not None:
        content, headers = exam.shape.raw()
        return Response(content, headers=headers)
    if exam.has_data:
        return JSONResponse(exam.data)
    urls = [capture_url(world, c, at_clarius=exam.captures_at_clarius) for c in exam.capture_ids]
    body = exam_body(exam.shape, request_uuid=exam.request_uuid, number=exam.number, capture_urls=urls)
    return Response(json.dumps(body), media_type="application/json")


async def confirm_customer(request: Request) -> Response:
    """C3."""
    world = world_of(request)
    token = (await json_object(request) or {}).get("token")
    if not isinstance(token, str) or not token:
        return invalid(token="This field is required.")
    if token not in world.clarius.customers:
        return problem(404, "Not found.")
    world.clarius.customers[token] = True
    prefix = request.state.key.prefix
    world.journal.record_effect("clarius.confirmation", who=prefix, natural_key=token, remote_id=token)
    return JSONResponse({"token": token})


async def list_confirmed(request: Request) -> Response:
    """C4."""
    customers = world_of(request).clarius.customers
    return page_of(request, [t for t, confirmed in customers.items() if confirmed], default_limit=TOKENS_PAGE)


async def upload_report(request: Request) -> Response:
    """C5."""
    world = world_of(request)
    request_uuid = request.path_params["request_uuid"]
    if (exam := world.clarius.exams.get(request_uuid)) is None or exam.deleted:
        return problem(404, "Not found.")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return problem(415, "Unsupported media type.")
    async with request.form() as form:
        name, file = form.get("name"), form.get("file")
        if not isinstance(name, str) or not name.strip():
            return invalid(name="This field is required.")
        if not isinstance(file, UploadFile):
            return invalid(file="No file was submitted.")
        content = await file.read()
        if not content:
            return invalid(file="The submitted file is empty.")
        report = Report(request_uuid, name, file.filename or "", file.content_type or "", content)
    world.clarius.reports.append(report)
    world.journal.record_effect(
        "clarius.report",
        who=request.state.key.prefix,
        natural_key=f"{request_uuid}/{name}",
        remote_id=new_uuid(),
        digest=digest_of(content),
        detail={"bytes": len(content), "filename": report.filename},
    )
    return JSONResponse({"name": name}, 201)


def routes() -> list[Route]:
    """The paths of C1–C5."""
    data = with_service_key(exam_data)
    return [
        Route(f"{API}/exams/accessible/", with_service_key(list_exams), methods=["GET"]),
        Route(f"{API}/download-requests/{{request_uuid}}/data/", data, methods=["GET"]),
        Route(f"{API}/exams/download-requests/{{request_uuid}}/data/", data, methods=["GET"]),
        Route(
            f"{API}/services/customer-confirmations/", with_service_key(confirm_customer), methods=["POST"]
        ),
        Route(f"{API}/services/confirmed-tokens/", with_service_key(list_confirmed), methods=["GET"]),
        Route(
            f"{API}/services/requests/{{request_uuid}}/reports/",
            with_service_key(upload_report),
            methods=["POST"],
        ),
    ]
