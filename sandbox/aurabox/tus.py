"""A Tus 1.0.0 receiver ("lift"): creation, HEAD, PATCH, termination; keeps what arrived before a cut.

The bytes land in the sandbox's folder; a whole upload becomes `<upload_id>.whole` for `complete` to open.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.aurabox.state import BUCKET, new_uuid
from sandbox.world import World, world_of

TUS_VERSION = "1.0.0"
MAX_UPLOAD_BYTES = 8 << 30
PATH = "/files"
REQUIRED_METADATA = ("upload_id", "bucket", "mode", "filename", "filetype")


@dataclass(slots=True)
class TusUpload:
    """One Tus resource. `busy` while a PATCH is being read."""

    id: str
    team: str
    upload_id: str
    length: int
    metadata: dict[str, str]
    path: Path
    offset: int = 0
    busy: bool = False


class Lift:
    """The Tus endpoints and the uploads they hold."""

    def __init__(self) -> None:
        self.uploads: dict[str, TusUpload] = {}
        self.gone: set[str] = set()

    def drop(self, *, gone: bool = False) -> int:
        """Forgets every unfinished upload: later calls get 404, or 410 with `gone`. Answers how many."""
        unfinished = [u for u in self.uploads.values() if u.offset < u.length]
        for upload in unfinished:
            del self.uploads[upload.id]
            if gone:
                self.gone.add(upload.id)
        return len(unfinished)

    async def options(self, _request: Request) -> Response:
        """What this receiver speaks; needs no token."""
        headers = {"tus-version": TUS_VERSION, "tus-extension": "creation,termination"}
        return _answer(204, **headers, **{"tus-max-size": str(MAX_UPLOAD_BYTES)})

    async def create(self, request: Request) -> Response:
        """POST: makes room for an announced upload."""
        world = world_of(request)
        team = _team(request)
        if isinstance(team, Response):
            return team
        length = request.headers.get("upload-length", "")
        if not length.isascii() or not length.isdigit():
            return _answer(400, "Upload-Length is missing or not a number.")
        if int(length) > MAX_UPLOAD_BYTES:
            return _answer(413, "The upload is too large.")
        metadata = parse_metadata(request.headers.get("upload-metadata", ""))
        missing = [n for n in REQUIRED_METADATA if not (metadata or {}).get(n)]
        if metadata is None or missing:
            return _answer(400, f"Upload-Metadata is malformed or lacks {', '.join(missing)}.")
        announced = world.aurabox.uploads.get(metadata["upload_id"])
        if announced is None or announced.team != team or metadata["bucket"] != BUCKET:
            return _answer(422, "No such upload was announced, or the bucket is wrong.")
        upload_id = new_uuid()
        path = world.folder / f"{upload_id}.part"
        path.touch()
        upload = TusUpload(upload_id, team, metadata["upload_id"], int(length), metadata, path)
        self.uploads[upload_id] = upload
        world.journal.record_effect(
            "lift.upload.create",
            who=team,
            natural_key=f"{metadata['upload_id']}/{upload_id}",
            remote_id=upload_id,
            detail={"length": upload.length, "metadata": metadata},
        )
        _finish_if_whole(world, upload)
        base = "" if world.aurabox.relative_location else world.lift_url
        return _answer(201, location=f"{base}{PATH}/{upload_id}")

    async def resource(self, request: Request) -> Response:
        """HEAD, PATCH and DELETE of one upload."""
        upload = self._upload(request)
        if isinstance(upload, Response):
            return upload
        if request.method == "HEAD":
            offsets = {"upload-offset": str(upload.offset), "upload-length": str(upload.length)}
            return _answer(200, **offsets, **{"cache-control": "no-store"})
        if request.method == "DELETE":
            del self.uploads[upload.id]
            self.gone.add(upload.id)
            upload.path.unlink(missing_ok=True)
            return _answer(204)
        return await self._patch(request, upload)

    def _upload(self, request: Request) -> TusUpload | Response:
        team = _team(request)
        if isinstance(team, Response):
            return team
        upload = self.uploads.get(request.path_params["id"])
        if upload is None or upload.team != team:
            return _answer(410 if request.path_params["id"] in self.gone else 404, "Upload not found.")
        return upload

    async def _patch(self, request: Request, upload: TusUpload) -> Response:
        if request.headers.get("content-type") != "application/offset+octet-stream":
            return _answer(415, "Content-Type must be application/offset+octet-stream.")
        if upload.busy:
            return _answer(423, "Another request is writing to this upload.")
        if request.headers.get("upload-offset") != str(upload.offset):
            return _answer(409, "Upload-Offset does not match.", **{"upload-offset": str(upload.offset)})
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and upload.offset + int(announced) > upload.length:
            return _answer(413, "More bytes than Upload-Length.")
        world, start = world_of(request), upload.offset
        upload.busy = True
        try:
            await _append(request, upload)
        finally:
            # What came before a cut stays, as Tus wants it: the sender learns of it by HEAD.
            upload.busy = False
            if upload.offset > start:
                world.journal.record_effect(
                    "lift.patch",
                    who=upload.team,
                    natural_key=upload.upload_id,
                    remote_id=upload.id,
                    detail={"start": start, "end": upload.offset},
                )
            _finish_if_whole(world, upload)
        return _answer(204, **{"upload-offset": str(upload.offset)})

    def routes(self) -> list[Route]:
        """The Tus paths."""
        one = f"{PATH}/{{id}}"
        return [
            Route(PATH, self.options, methods=["OPTIONS"]),
            Route(PATH, self.create, methods=["POST"]),
            Route(one, self.options, methods=["OPTIONS"]),
            Route(one, self.resource, methods=["HEAD", "PATCH", "DELETE"]),
        ]


def parse_metadata(header: str) -> dict[str, str] | None:
    """Upload-Metadata: `name base64` pairs joined by commas; None when malformed."""
    pairs: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in header.split(","))):
        name, _, encoded = part.partition(" ")
        try:
            pairs[name] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
    return pairs


async def _append(request: Request, upload: TusUpload) -> None:
    with upload.path.open("ab") as file:
        try:
            async for chunk in request.stream():
                allowed = chunk[: upload.length - upload.offset]
                file.write(allowed)
                upload.offset += len(allowed)
        except ClientDisconnect:
            file.flush()
            raise


def _finish_if_whole(world: World, upload: TusUpload) -> None:
    if upload.offset == upload.length and upload.path.exists():
        upload.path.replace(world.folder / f"{upload.upload_id}.whole")


def _team(request: Request) -> str | Response:
    if request.headers.get("tus-resumable") != TUS_VERSION:
        return _answer(412, "Tus-Resumable must be 1.0.0.", **{"tus-version": TUS_VERSION})
    state = world_of(request).aurabox
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or token not in state.lift_tokens or token in state.expired_lift_tokens:
        return _answer(401, "The lift token is not valid.")
    return state.lift_tokens[token]


def _answer(status: int, text: str = "", **headers: str) -> Response:
    return Response(text or None, status, headers={"tus-resumable": TUS_VERSION, **headers})
