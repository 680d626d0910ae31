"""A TCP proxy on loopback that cuts, holds, slows or deadens what goes through it; must not look at the bytes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import make_url

PIECE_BYTES = 64 * 1024


class Proxy:
    """Passes bytes between a port of its own and a target until it is told otherwise.

    `refuse`: new connections are cut at once. `hold`: nothing passes, nothing is closed (a hung server);
    `hold_at`: the proxy does so by itself once so many bytes have passed in all.
    `seconds`: how long each piece of an answer is delayed. `piece_bytes`: how much passes at a time.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: dict[tuple[asyncio.StreamWriter, asyncio.StreamWriter], asyncio.Event] = {}
        self._open = asyncio.Event()
        self._open.set()
        self.refuse = False
        self.seconds = 0.0
        self.piece_bytes = PIECE_BYTES
        self.port = 0
        self.connections = 0
        self.passed_bytes = 0
        self.hold_at: int | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing passes now."""
        return not self._open.is_set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and close."""
        self.release()
        for living in self._pairs.values():
            living.set()
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def hold(self) -> None:
        """From now on nothing passes, though nothing is closed either."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def deaden(self) -> int:
        """The connections that are open now go dead: nothing passes any more and no end hears of the other's end.

        New ones pass as before. How many went dead.
        """
        for living in self._pairs.values():
            living.clear()
        return len(self._pairs)

    def cut(self) -> None:
        """Break every connection that is open now."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.transport.abort()
            return
        try:
            if isinstance(self._target, str):
                there, onward = await asyncio.open_unix_connection(self._target)
            else:
                there, onward = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, onward)
        living = self._pairs[pair] = asyncio.Event()
        living.set()
        try:
            await asyncio.gather(
                self._pass(reader, onward, living, slow=False), self._pass(there, writer, living, slow=True)
            )
        finally:
            del self._pairs[pair]
            for end in pair:
                end.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, living: asyncio.Event, *, slow: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(self.piece_bytes):
                await living.wait()
                await self._open.wait()
                if slow and self.seconds:
                    await asyncio.sleep(self.seconds)
                sink.write(piece)
                self.passed_bytes += len(piece)
                if self.hold_at is not None and self.passed_bytes >= self.hold_at:
                    self.hold_at = None
                    self.hold()
                await sink.drain()
        await living.wait()
        with contextlib.suppress(OSError):
            if sink.can_write_eof():
                sink.write_eof()


@asynccontextmanager
async def before_postgres(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the PostgreSQL of this URL, wherever it listens, and the URL that goes through it."""
    url = make_url(database_url)
    folder = unquote(str(url.query.get("host", "")))
    proxy = Proxy(f"{folder}/.s.PGSQL.5432" if folder else (url.host or "127.0.0.1", url.port or 5432))
    await proxy.start()
    try:
        yield (
            proxy,
            url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False),
        )
    finally:
        await proxy.stop()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server of an `http`, `redis` or `unix` URL, and the URL that goes through it."""
    parts = urlsplit(url)
    is_path = parts.scheme == "unix"
    proxy = Proxy(parts.path if is_path else (parts.hostname or "127.0.0.1", parts.port or 80))
    await proxy.start()
    try:
        through = f"127.0.0.1:{proxy.port}"
        if is_path:
            yield proxy, f"redis://{through}/0"
        else:
            user, at, _ = parts.netloc.rpartition("@")
            yield proxy, parts._replace(netloc=f"{user}{at}{through}").geturl()
    finally:
        await proxy.stop()
