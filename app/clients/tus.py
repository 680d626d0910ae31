"""Sends one file by Tus 1.0.0, resumable over crashes; must not know what the file is or who wants it.

Written by hand over our own request function: the libraries block on file reads, or lose the upload's URL in a
crash (imaging design, "Archive and upload"). Only the server's offset is trusted.
"""

import asyncio
import base64
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.clients.files import blocks
from app.clients.http import Answer, Call, Credentials, Http, Limits, Upload, parse_url, same_origin
from app.errors import (
    BadAnswer,
    LookFirst,
    NotThere,
    RenewCredentials,
    TryLater,
    UpstreamError,
)

TUS_VERSION = "1.0.0"
PATCH_BYTES = 5 * 1024 * 1024
PATCH_LIMITS = Limits(total_seconds=600.0)
MAX_STALLS = 4
MAX_RESTARTS = 2
STALL_BASE_SECONDS = 0.5
STALL_CAP_SECONDS = 8.0
CONFLICT = 409
LOCKED = 423


@dataclass(frozen=True, slots=True)
class Target:
    """Where uploads are created, and the credentials for it."""

    endpoint: str
    credentials: Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the caller does along the way.

    `created` stores the upload's URL; no byte is sent before it returns. `renewed` gives a target with a fresh
    token after a 401. `progress` hears the server's offset in bytes. `pause` waits seconds (tests do not).
    """

    created: Callable[[str], Awaitable[None]]
    renewed: Callable[[], Awaitable[Target]]
    progress: Callable[[int], Awaitable[None]] | None = None
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


def encode_metadata(metadata: Mapping[str, str]) -> str:
    """`Upload-Metadata`: names in the clear, values in base64."""
    return ",".join(
        f"{name} {base64.b64encode(value.encode()).decode()}".strip() for name, value in metadata.items()
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


class _Sending:
    """One file on its way: the target and the upload's URL change under it, the file does not."""

    def __init__(
        self,
        http: Http,
        target: Target,
        *,
        path: Path,
        metadata: Mapping[str, str],
        account: str,
        hooks: Hooks,
    ) -> None:
        self.http = http
        self.target = target
        self.path = path
        self.length = path.stat().st_size
        self.metadata = metadata
        self.account = account
        self.hooks = hooks
        self.url: str | None = None
        self.best = -1
        self.stalls = 0
        self.restarts = 0

    async def ask(self, method: str, url: str, *, headers: Mapping[str, str], **more: Any) -> Answer:
        call = Call(
            upstream="aurabox",
            operation=f"tus {method}",
            method=method,
            url=url,
            account=self.account,
            credentials=self.target.credentials,
            headers={"Tus-Resumable": TUS_VERSION, **headers},
            **more,
        )
        return await self.http.request(call)

    async def create(self) -> str:
        """POST: an upload of the file's length. A lost answer leaves an empty upload behind, which does no harm."""
        headers = {"Upload-Length": str(self.length), "Upload-Metadata": encode_metadata(self.metadata)}
        answer = await self.ask("POST", self.target.endpoint, headers=headers, effect=False)
        location = answer.headers.get("location")
        if not location:
            raise BadAnswer("tus POST: the answer names no upload", upstream="aurabox", account=self.account)
        return str(parse_url(self.target.endpoint).join(parse_url(location)))

    async def offset(self, url: str) -> int:
        """HEAD: how many bytes the server holds."""
        answer = await self.ask("HEAD", url, headers={})
        offset = _number(answer.headers.get("upload-offset"))
        length = _number(answer.headers.get("upload-length"))
        if offset is None or offset > self.length or length not in (None, self.length):
            raise NotThere(
                "tus HEAD: the upload is of another file", upstream="aurabox", account=self.account
            )
        return offset

    async def patch(self, offset: int) -> int | None:
        """PATCH: at most 5 MiB from `offset`; the server's new offset, None when only a HEAD can tell it."""
        count = min(PATCH_BYTES, self.length - offset)
        answer = await self.ask(
            "PATCH",
            self.url or "",
            headers={"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"},
            content=Upload(length=count, chunks=lambda: blocks(self.path, offset=offset, count=count)),
            limits=PATCH_LIMITS,
            accept=frozenset({CONFLICT, LOCKED}),
        )
        if answer.status in (CONFLICT, LOCKED):
            raise TryLater(
                f"tus PATCH: the upload answered {answer.status}",
                upstream="aurabox",
                status=answer.status,
                account=self.account,
            )
        new = _number(answer.headers.get("upload-offset"))
        return new if new is not None and offset < new <= self.length else None

    async def open(self) -> int:
        """The offset of the upload at hand if it is still there, else of a new one, whose URL is stored at once."""
        if self.url is not None and same_origin(parse_url(self.url), parse_url(self.target.endpoint)):
            return await self.offset(self.url)
        self.url = await self.create()
        await self.hooks.created(self.url)
        return 0

    async def reached(self, offset: int) -> None:
        """Progress forgives the stalls before it."""
        if offset > self.best:
            self.best, self.stalls = offset, 0
            if self.hooks.progress is not None:
                await self.hooks.progress(offset)

    async def recover(self, trouble: UpstreamError) -> None:
        """Put right what can be put right here, wait a little; or raise, once that has been tried often enough."""
        if isinstance(trouble, NotThere):
            self.url, self.best = None, -1
            self.restarts += 1
            if self.restarts > MAX_RESTARTS:
                raise TryLater(
                    "tus: the upload keeps vanishing",
                    upstream="aurabox",
                    status=trouble.status,
                    account=self.account,
                )
        self.stalls += 1
        if self.stalls > MAX_STALLS:
            raise trouble
        if isinstance(trouble, RenewCredentials):
            if trouble.status != 401:
                raise trouble
            self.target = await self.hooks.renewed()
            return
        ceiling = min(STALL_CAP_SECONDS, STALL_BASE_SECONDS * 2.0**self.stalls)
        await self.hooks.pause(random.uniform(0.5, 1.0) * ceiling)  # noqa: S311 - jitter is no secret


async def send_file(
    http: Http,
    target: Target,
    path: Path,
    *,
    metadata: Mapping[str, str],
    stored_url: str | None,
    account: str,
    hooks: Hooks,
) -> str:
    """Send a whole file, or the rest of one; gives the upload's URL once the server holds every byte.

    `stored_url` is what `hooks.created` was told in an earlier run. Rules by answer: 409 → HEAD; 404 and 410 →
    start over; 401 → fresh token, same URL; 423, 5xx and cuts → back off, then HEAD; all of it a few times without
    progress, then the error goes to the caller, who comes back later with the stored URL. 429 goes there at once, because the
    whole account waits.
    """
    sending = _Sending(http, target, path=path, metadata=metadata, account=account, hooks=hooks)
    sending.url = stored_url
    offset: int | None = None
    while True:
        try:
            if offset is None:
                offset = await sending.open()
            await sending.reached(offset)
            if offset == sending.length and sending.url is not None:
                return sending.url
            offset = await sending.patch(offset)
        except (NotThere, RenewCredentials, TryLater, LookFirst) as trouble:
            offset = None
            await sending.recover(trouble)
