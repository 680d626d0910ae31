"""The sandbox itself: starts the simulated vendors on loopback ports and is the handle to steer them by.

`async with Sandbox() as sandbox:` inside a loop; `with Sandbox.in_thread() as running:` without one.
Every method that does not send anything is plain and may be called from any thread.
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
from urllib.parse import urlsplit

from sandbox import apps, control
from sandbox.aurabox.state import AuraboxState, Team
from sandbox.aurabox.tus import Lift
from sandbox.clarius.state import ClariusState, new_token
from sandbox.faults import Faults
from sandbox.journal import Journal
from sandbox.serving import RunningServer, listen
from sandbox.submitting import Submitting
from sandbox.world import World

HOST = "127.0.0.1"
SERVERS = ("clarius", "media", "aurabox", "lift")
T = TypeVar("T")


class Sandbox(Submitting):
    """Simulated Clarius, its capture store, Aurabox and its upload receiver ("lift")."""

    def __init__(
        self,
        *,
        ports: dict[str, int] | None = None,
        notification_url: str = "",
        teams: tuple[str, ...] = ("Team One",),
    ) -> None:
        """`ports` by server name (clarius, media, aurabox, lift); a server not named takes a free port."""
        super().__init__(World(folder=Path(tempfile.mkdtemp(prefix="sonobridge-sandbox-"))))
        self.lift = Lift()
        self._ports = ports or {}
        self._servers: list[RunningServer] = []
        self.clarius.settings["notification_url"] = notification_url
        self.clarius_key = self.clarius.new_key("Sandbox key").key
        self.clarius.research_users["researcher"] = "sandbox-password"
        for team in teams:
            self.aurabox.add_team(team)

    @property
    def journal(self) -> Journal:
        """What was accepted and what was asked."""
        return self.world.journal

    @property
    def faults(self) -> Faults:
        """Where faults are armed."""
        return self.world.faults

    @property
    def clarius(self) -> ClariusState:
        """What Clarius holds."""
        return self.world.clarius

    @property
    def aurabox(self) -> AuraboxState:
        """What Aurabox holds."""
        return self.world.aurabox

    @property
    def clarius_url(self) -> str:
        """Base URL of Clarius."""
        return self.world.clarius_url

    @property
    def media_url(self) -> str:
        """Base URL of the presigned capture store."""
        return self.world.media_url

    @property
    def aurabox_url(self) -> str:
        """Base URL of Aurabox, its uploader API below `/api`."""
        return self.world.aurabox_url

    @property
    def lift_url(self) -> str:
        """Base URL of the Tus receiver."""
        return self.world.lift_url

    @property
    def dicomweb_url(self) -> str:
        """Base URL of Aurabox's DICOMweb face."""
        return f"{self.aurabox_url}/dicomweb"

    @property
    def allowed_upstreams(self) -> str:
        """What SONOBRIDGE_ALLOWED_UPSTREAMS must hold: `host:port` of each server, comma separated."""
        return ",".join(urlsplit(getattr(self.world, f"{name}_url")).netloc for name in SERVERS)

    @property
    def settings_for_bridge(self) -> dict[str, str]:
        """The environment that points a bridge at this sandbox (keys of organisations are the teams' own)."""
        return {
            "SONOBRIDGE_ENV": "development",
            "SONOBRIDGE_ALLOWED_UPSTREAMS": self.allowed_upstreams,
            "CLARIUS_BASE_URL": self.clarius_url,
            "CLARIUS_API_KEY": self.clarius_key,
            "AURABOX_BASE_URL": self.aurabox_url,
            "AURA_APP_ID": self.aurabox.app_id,
            "AURA_APP_SECRET": self.aurabox.app_secret,
            "CLARIUS_RESEARCH_USERNAME": "researcher",
            "CLARIUS_RESEARCH_PASSWORD": "sandbox-password",
        }

    def team(self, name: str | None = None) -> Team:
        """A team by name, or the first one; KeyError when there is none."""
        return self.aurabox.teams[name] if name is not None else next(iter(self.aurabox.teams.values()))

    def add_team(self, name: str, *, service_key: str | None = None) -> Team:
        """A new realm with its own API key."""
        return self.aurabox.add_team(name, service_key=service_key)

    def add_customer(self, token: str | None = None, *, confirmed: bool = False) -> str:
        """Makes a customer known to Clarius and answers the token: what a token transfer would carry."""
        token = token or new_token()
        self.clarius.customers[token] = confirmed
        return token

    def connect_url(self, token: str) -> str:
        """Where Clarius would send this customer's browser; "" when no token_transfer_url is registered."""
        return self.clarius.settings["token_transfer_url"].replace("{token}", token)

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
        built = apps.build(self.world, lift=self.lift, control=control.routes(self))
        for name in SERVERS:
            app, connections = built[name]
            server = RunningServer(app, connections=connections, host=HOST, listener=listeners[name])
            setattr(self.world, f"{name}_url", server.url)
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
        shutil.rmtree(self.world.folder, ignore_errors=True)

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
