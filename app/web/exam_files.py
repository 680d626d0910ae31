"""Files of an exam as pages and admin API give and take them: the bytes of a capture, a report for Clarius."""

from uuid import UUID

from fastapi.responses import FileResponse
from starlette.datastructures import UploadFile

from app.consoles.clarius import upload_report
from app.delivery.staged import staged_name
from app.errors import Misuse
from app.resources import Resources
from app.states import ExamState
from app.store.audit import By, audit
from app.store.captures import Capture, captures_of
from app.store.exams import Exam, wanted_exam

MAX_REPORT_BYTES = 32 * 1024 * 1024
MEDIA_TYPES = {
    "jpeg": ("image/jpeg", "jpg"),
    "png": ("image/png", "png"),
    "mp4": ("video/mp4", "mp4"),
    "dicom": ("application/dicom", "dcm"),
    "zip": ("application/zip", "zip"),
}


async def send_report(
    resources: Resources, request_uuid: UUID, *, name: str, file: UploadFile, content: bytes, by: By
) -> None:
    """C5, with a file name and type that fit into a header whatever the caller sent."""
    filename = (file.filename or "").rpartition("/")[2].rpartition("\\")[2]
    plain = "".join(
        char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in filename
    )
    kind = file.content_type or ""
    await upload_report(
        resources,
        request_uuid,
        name=name,
        filename=plain[-100:] or "report",
        content=content,
        content_type=kind
        if kind.isascii() and kind.isprintable() and "/" in kind
        else "application/octet-stream",
        by=by,
    )


async def capture_file(
    resources: Resources, request_uuid: UUID, n: int, *, by: By, inline: bool = False
) -> FileResponse:
    """The staged bytes of capture `n`, the view audited. Raises Misuse (`no_such_capture`)."""
    async with resources.sessions() as session:
        exam = await wanted_exam(session, request_uuid)
        row = next((capture for capture in await captures_of(session, exam.id) if capture.index == n), None)
    if row is None:
        raise Misuse("the exam has no such capture", code="no_such_capture")
    path = await resources.staging.fetch(exam.id, staged_name(row)) if row.downloaded_at else None
    if path is None:
        raise Misuse(_why_absent(row, exam, resources), code="no_such_capture")
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action="capture.view", subject=str(request_uuid), detail=f"capture {n}")
    kind, suffix = MEDIA_TYPES.get(row.kind or "", ("application/octet-stream", "bin"))
    return FileResponse(
        path,
        media_type=kind,
        filename=f"{request_uuid}-{n}.{suffix}",
        content_disposition_type="inline" if inline else "attachment",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def _why_absent(row: Capture, exam: Exam, resources: Resources) -> str:
    if row.purged_at is not None or exam.state == ExamState.DELIVERED:
        return "the bytes of this capture are no longer kept"
    if exam.staging_host not in {None, resources.host}:
        return "the bytes of this capture lie on another host"
    return "this capture has not been downloaded"
