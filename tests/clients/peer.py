"""A loopback HTTP/1.1 server that says exactly what a test tells it to, byte by byte; must not know any vendor."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Seen:
    """A request as it came in; `target` is the request line's own."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What to say. `declared` overrides the Content-Length; `silent` closes without a word after reading."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    silent: bool = False
    hang: bool = False


Handler = Callable[[Seen], Reply | Awaitable[Reply]]


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    body = b"" if value is None else json.dumps(value).encode()
    return Reply(status, body, {"Content-Type": "application/json", **headers})


class Peer:
    """Records what it sees; answers by `handler`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.dialled = 0
        self.port = 0
        self.handler: Handler = lambda _seen: Reply(404)
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, *replies: Reply) -> None:
        """Give these answers in turn, the last one for ever."""
        left = list(replies)
        self.handler = lambda _seen: left.pop(0) if len(left) > 1 else left[0]

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side left, or the test is over: both are how a connection ends here
        finally:
            self._open.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (item.partition(":") for item in rest if item)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(method, target, headers, body)
        self.seen.append(seen)
        found = self.handler(seen)
        reply = found if isinstance(found, Reply) else await found
        if reply.hang:
            await asyncio.Event().wait()
        if reply.silent:
            return False
        length = len(reply.body) if reply.declared is None else reply.declared
        writer.write(f"HTTP/1.1 {reply.status} X\r\n".encode())
        for name, value in reply.headers.items():
            writer.write(f"{name}: {value}\r\n".encode())
        if reply.status not in (204, 304):
            writer.write(f"Content-Length: {length}\r\n".encode())
        writer.write(b"\r\n")
        if method != "HEAD":
            writer.write(reply.body)
        await writer.drain()
        return length == len(reply.body)

    async def stop(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@asynccontextmanager
async def running_peer(tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    peer = Peer()
    server = await asyncio.start_server(peer.connection, "127.0.0.1", 0, limit=2**20, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await peer.stop()
