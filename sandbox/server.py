"""The sandbox itself: serves the simulated vendors on loopback ports, for as long as it is open.

`async with Sandbox() as sandbox:` inside a loop; `with Sandbox.in_thread() as running:` without one.
"""

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sandbox import apps, control
from sandbox.handle import SERVERS, Handle
from sandbox.serving import RunningServer, listen

HOST = "127.0.0.1"
T = TypeVar("T")


class Sandbox(Handle):
    """The simulated vendors, served on loopback ports."""

    def __init__(
        self,
        *,
        ports: dict[str, int] | None = None,
        notification_url: str = "",
        teams: tuple[str, ...] = ("Team One",),
    ) -> None:
        """`ports` by server name (clarius, media, aurabox, lift); a server not named takes a free port."""
        folder = Path(tempfile.mkdtemp(prefix="sonobridge-sandbox-"))
        super().__init__(folder, notification_url=notification_url, teams=teams)
        self._ports = ports or {}
        self._servers: list[RunningServer] = []

    async def start(self) -> Self:
        """Binds the ports and serves. OSError when a port is taken."""
        listeners = {}
        try:
            for name in SERVERS:
                listeners[name] = listen(HOST, self._ports.get(name, 0))
        except OSError:
            for listener in listeners.values():
                listener.close()
            self._remove_folder()
            raise
        built = apps.build(self, lift=self.lift, control=control.routes(self))
        for name in SERVERS:
            app, connections = built[name]
            server = RunningServer(app, connections=connections, host=HOST, listener=listeners[name])
            setattr(self, f"{name}_url", server.url)
            self._servers.append(server)
        await asyncio.gather(*(server.start() for server in self._servers))
        return self

    async def stop(self) -> None:
        """Lets go of everything held, closes the servers and removes the captures."""
        self.faults.clear()
        await asyncio.gather(*(server.stop() for server in self._servers))
        self._servers.clear()
        self._remove_folder()

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @classmethod
    @contextlib.contextmanager
    def in_thread(cls, **options: Any) -> Iterator["SandboxThread"]:
        """A sandbox that runs in a thread of its own, for callers without an event loop."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
        thread.start()
        running = SandboxThread(cls(**options), loop)
        try:
            running.run(running.sandbox.start())
            try:
                yield running
            finally:
                running.run(running.sandbox.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@dataclass(frozen=True, slots=True)
class SandboxThread:
    """A running sandbox and the loop that it runs in."""

    sandbox: Sandbox
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs one of the sandbox's coroutines in its loop and waits for the answer."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()
