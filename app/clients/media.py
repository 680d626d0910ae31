"""Downloads one file to disk, resumable and within bounds; must not judge what kind of media it is.

Beside `<name>` lie, while it is not whole, `<name>.part` (the bytes held) and `<name>.part.etag` (the version they
belong to), so that a download goes on after a crash. Both are gone when the file is there under its own name.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from app.clients.http import Call, Credentials, Http, Limits, Streamed, parse_url, same_origin
from app.clients.storage_errors import StorageError, read_storage_error
from app.errors import CaptureUrlExpired, DiskFull, GiveUp, LocalTrouble, Rejected, TryLater, Upstream

CHUNK_BYTES = 256 * 1024
DISK_RESERVE_BYTES = 64 * 1024 * 1024
MEDIA_LIMITS = Limits(total_seconds=3600.0)

OPERATION = "media"
EXPIRED = frozenset({401, 403, 404, 410})
# a link that ran out, or a request that is wrong: the storage's own word tells them apart
BAD_REQUEST = 400
RANGE_NOT_SATISFIABLE = 416
ERROR_BODY_CAP_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Partial:
    """Bytes held of a download that is not whole, and the version (strong ETag) they belong to."""

    bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A whole file on disk: its size, sha256 (hex), and what the other side said of it."""

    bytes: int
    sha256: str
    etag: str | None
    content_type: str | None


def part_path(dest: Path) -> Path:
    """Where the bytes of an unfinished download lie."""
    return dest.with_name(f"{dest.name}.part")


def etag_path(dest: Path) -> Path:
    """Where the version of an unfinished download is kept."""
    return dest.with_name(f"{dest.name}.part.etag")


def partial(dest: Path) -> Partial | None:
    """What is held of an unfinished download, if it can be resumed."""
    try:
        size = part_path(dest).stat().st_size
        etag = etag_path(dest).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return Partial(size, etag) if size and etag else None


def discard(dest: Path) -> None:
    """Forget an unfinished download."""
    part_path(dest).unlink(missing_ok=True)
    etag_path(dest).unlink(missing_ok=True)


def room_in(folder: Path) -> int:
    """Bytes that may be written where a folder is, so that the reserve stays free."""
    return shutil.disk_usage(folder).free - DISK_RESERVE_BYTES


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds besides the size: of time and speed, and of the disk (`room`: bytes that may still be written)."""

    limits: Limits = MEDIA_LIMITS
    room: Callable[[Path], int] = room_in


def _strong(etag: str | None) -> str | None:
    """The ETag if it can name a range's version: weak ones may not (RFC 9110 13.1.5)."""
    return etag if etag and etag.isascii() and etag.startswith('"') else None


def _starts_at(streamed: Streamed) -> int | None:
    unit, _, rest = streamed.headers.get("content-range", "").partition(" ")
    first = rest.partition("-")[0].strip()
    return int(first) if unit.lower() == "bytes" and first.isascii() and first.isdigit() else None


def _is_whole(streamed: Streamed) -> bool:
    """Whether a range that nobody asked for is all there is (RFC 9110 14.4: `bytes 0-99/100`)."""
    content_range = re.fullmatch(
        r"bytes 0-(\d{1,18})/(\d{1,18})", streamed.headers.get("content-range", ""), re.ASCII
    )
    return content_range is not None and int(content_range[1]) + 1 == int(content_range[2])


def _hash_of(path: Path, count: int) -> "hashlib._Hash":
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while count > 0 and (block := file.read(min(CHUNK_BYTES, count))):
            digest.update(block)
            count -= len(block)
    return digest


def _finish(file: BinaryIO, dest: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    part_path(dest).replace(dest)
    etag_path(dest).unlink(missing_ok=True)
    folder = os.open(dest.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _local(error: OSError) -> LocalTrouble:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk is full")
    return LocalTrouble(f"the file could not be written: {os.strerror(error.errno or 0)}")


DEFAULT_POLICY = Policy()


async def download(
    http: Http,
    url: str,
    dest: Path,
    *,
    cap: int,
    resume: Partial | None = None,
    credentials: Credentials | None = None,
    account: str | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> Downloaded:
    """Fetch a URL into `dest`, at most `cap` bytes, going on from `resume` while the ETag is the same.

    `credentials` go along only when the URL is on their own origin. `CaptureUrlExpired`: read the exam data again; of
    one that is fresh its `status` says whether the file is there no more. `TryLater`: cut, too slow or out of time;
    what came is kept, see `partial`. `GiveUp` with the code `capture_too_large`: over the cap. `DiskFull`: it would
    not fit.
    """
    at_home = credentials is not None and same_origin(parse_url(url), parse_url(credentials.base))
    upstream: Upstream = "clarius" if at_home else "media"
    headers = {"Range": f"bytes={resume.bytes}-", "If-Range": resume.etag} if resume else {}
    call = Call(
        upstream=upstream,
        operation=OPERATION,
        method="GET",
        url=url,
        account=account,
        credentials=credentials if at_home else None,
        pinned=False,
        headers=headers,
        # On Clarius's own origin a 401 speaks of the key and not of the link.
        accept=(EXPIRED - {401} if at_home else EXPIRED) | {BAD_REQUEST, RANGE_NOT_SATISFIABLE},
        media=True,
        # The cap is on the whole file, held bytes included, and is counted where the file is written.
        limits=replace(policy.limits, cap_bytes=sys.maxsize),
    )
    try:
        async with http.stream(call) as streamed:
            if streamed.status in EXPIRED or streamed.status == BAD_REQUEST:
                raise await _refused(streamed)
            if streamed.status != RANGE_NOT_SATISFIABLE:
                return await _receive(streamed, dest, resume=resume, cap=cap, spare=policy.room(dest.parent))
    except OSError as error:
        raise _local(error) from error
    # What is held does not fit what is there now: start over.
    discard(dest)
    if resume is None:
        raise TryLater(
            f"{OPERATION}: the media host answered 416", upstream=upstream, status=416, account=account
        )
    return await download(http, url, dest, cap=cap, credentials=credentials, account=account, policy=policy)


async def _refused(streamed: Streamed) -> CaptureUrlExpired | Rejected:
    """What a link's refusal means, with the storage's code for it."""
    call, status = streamed.call, streamed.status
    body = await streamed.read_some(ERROR_BODY_CAP_BYTES)
    error: StorageError = read_storage_error(streamed.headers, body)
    kind = CaptureUrlExpired if status in EXPIRED or error.expired else Rejected
    suffix = f" ({error.code})" if error.code else ""
    return kind(
        f"{call.operation}: the media link answered {status}{suffix}",
        upstream=call.upstream,
        status=status,
        account=call.account,
    )


async def _receive(
    streamed: Streamed, dest: Path, *, resume: Partial | None, cap: int, spare: int
) -> Downloaded:
    call = streamed.call
    etag = _strong(streamed.headers.get("etag"))
    held = 0
    if streamed.status == 206 and not (resume is None and _is_whole(streamed)):
        if resume is None or _starts_at(streamed) != resume.bytes or (etag and etag != resume.etag):
            discard(dest)
            raise TryLater(f"{call.operation}: the media host sent another range", upstream=call.upstream)
        held, etag = resume.bytes, resume.etag
    length = streamed.headers.get("content-length", "")
    coming = int(length) if length.isascii() and length.isdigit() else None
    if held + (coming or 0) > cap:
        discard(dest)
        raise _too_large(call, cap)
    if (coming or 0) > spare or spare <= 0:
        raise DiskFull("not enough free disk for the download")
    digest = await asyncio.to_thread(_hash_of, part_path(dest), held) if held else hashlib.sha256()
    size = held
    with part_path(dest).open("r+b" if held else "wb", buffering=CHUNK_BYTES) as file:
        file.truncate(held)
        file.seek(held)
        etag_path(dest).write_text(etag or "", "ascii")
        async with aclosing(streamed.chunks()) as parts:
            async for part in parts:
                size += len(part)
                if size > cap:
                    discard(dest)
                    raise _too_large(call, cap)
                # Not in a thread: a cancelled await would leave it open whether these bytes are in the file.
                file.write(part)
                digest.update(part)
        if coming is not None and size - held != coming:
            raise TryLater(
                f"{call.operation}: the media was cut", upstream=call.upstream, account=call.account
            )
        await asyncio.to_thread(_finish, file, dest)
    return Downloaded(size, digest.hexdigest(), etag, streamed.headers.get("content-type"))


def _too_large(call: Call, cap: int) -> GiveUp:
    return GiveUp(
        f"{call.operation}: the media is larger than {cap} bytes",
        upstream=call.upstream,
        account=call.account,
        code="capture_too_large",
    )
