"""Keeps captures on disk and serves them as a presigned object store would: no credentials, one signature a link.

The same bytes can also be served on Clarius's own origin, where the API key is wanted.
"""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox.clarius.http import with_service_key
from sandbox.clarius.state import LINK_LIFETIME_SECONDS, Capture, new_uuid
from sandbox.media import Made, endless_chunks
from sandbox.world import World, world_of

CHUNK_BYTES = 64 * 1024
ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def keep_capture(world: World, made: Made, *, capture_id: str | None = None) -> Capture:
    """Stores a capture's bytes; with the id of an existing one, what that link serves changes (new ETag)."""
    capture_id = capture_id or new_uuid()
    path = None
    if not made.endless:
        path = str(world.folder / f"{capture_id}.{made.suffix}")
        Path(path).write_bytes(made.content)
    capture = Capture(
        id=capture_id,
        kind=made.kind,
        path=path,
        length=-1 if made.endless else len(made.content),
        sha256=hashlib.sha256(made.content).hexdigest(),
        etag=f'"{hashlib.md5(made.content, usedforsecurity=False).hexdigest()}"',
        content_type=made.content_type,
        suffix=made.suffix,
    )
    world.clarius.captures[capture_id] = capture
    return capture


def capture_url(
    world: World, capture_id: str, *, at_clarius: bool = False, lifetime_seconds: int = LINK_LIFETIME_SECONDS
) -> str:
    """A fresh link to a capture."""
    name = f"{capture_id}.{world.clarius.captures[capture_id].suffix}"
    if at_clarius:
        return f"{world.clarius_url}/media/captures/{name}"
    signature, expires = world.clarius.sign(capture_id, lifetime_seconds=lifetime_seconds)
    return f"{world.media_url}/captures/{name}?signature={signature}&expires={expires}"


async def presigned(request: Request) -> Response:
    """GET and HEAD of a presigned link; S3's errors, in S3's XML."""
    world, query = world_of(request), request.query_params
    for header in ("authorization", "x-api-key"):
        if header in request.headers:
            return _refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
    capture_id = request.path_params["name"].partition(".")[0]
    link = world.clarius.links.get(query.get("signature", ""))
    if link is None or link[0] != capture_id:
        return _refusal(403, "SignatureDoesNotMatch", "The request signature does not match")
    if link[1] <= datetime.now(UTC).timestamp():
        return _refusal(403, "AccessDenied", "Request has expired")
    if query.get("expires") != str(link[1]):
        return _refusal(403, "SignatureDoesNotMatch", "The request signature does not match")
    return _serve(world, request, capture_id)


async def at_clarius(request: Request) -> Response:
    """The same capture on Clarius's origin, behind the API key."""
    return _serve(world_of(request), request, request.path_params["name"].partition(".")[0])


def _serve(world: World, request: Request, capture_id: str) -> Response:
    capture = world.clarius.captures.get(capture_id)
    if capture is None:
        return _refusal(404, "NoSuchKey", "The specified key does not exist.")
    headers = {"content-type": capture.content_type, "etag": capture.etag, "accept-ranges": "bytes"}
    if capture.path is None:
        return StreamingResponse(endless_chunks(), headers=headers)
    if (wanted := request.headers.get("if-match")) is not None and wanted not in ("*", capture.etag):
        return _refusal(412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
    start, end, status = 0, capture.length, 200
    unchanged = request.headers.get("if-range") in (None, capture.etag)
    if unchanged and (match := ONE_RANGE.fullmatch(request.headers.get("range", ""))) and any(match.groups()):
        first, last = match.groups()
        if first:
            start, end = int(first), min(int(last) + 1, capture.length) if last else capture.length
        else:
            start = max(0, capture.length - int(last))
        if start >= end:
            refusal = _refusal(416, "InvalidRange", "The requested range is not satisfiable")
            refusal.headers["content-range"] = f"bytes */{capture.length}"
            return refusal
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{capture.length}"
    headers["content-length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_chunks(capture.path, start, end), status, headers)


def _chunks(path: str, start: int, end: int) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _refusal(status: int, code: str, message: str) -> Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
    return Response(text, status, media_type="application/xml")


def media_routes() -> list[Route]:
    """The presigned origin."""
    return [Route("/captures/{name}", presigned, methods=["GET", "HEAD"])]


def clarius_routes() -> list[Route]:
    """Captures on Clarius's own origin."""
    return [Route("/media/captures/{name}", with_service_key(at_clarius), methods=["GET", "HEAD"])]
