"""A whole installation of separate processes on the test's stores, with a sandbox beside it; knows no single fault."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr

from app.config.settings import Settings
from app.resources import open_resources
from app.store.organizations import Organization
from sandbox.aurabox.state import Team
from tests.support.at_rest import AtRest
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.checker import ends
from tests.support.clarius import Sandbox
from tests.support.ports import free_port
from tests.support.processes import Running, Zygote, start
from tests.support.wait import until

# Short enough for tests; long enough that a machine under load does not lose leases for nothing.
SHORT = {
    "lease_seconds": 2.0,
    "sweep_seconds": 1.0,
    "request_seconds": 1.0,
    "settle_seconds": 2.0,
    "credentials_probe_seconds": 1.0,
    "retry_base_seconds": 0.1,
    "retry_cap_seconds": 0.5,
    "clarius_verify_window": 6.0,
    # on its own it would hide what a test wants to see; tests that need the poll set it shorter
    "clarius_poll_interval": 3600.0,
    "capture_retention_hours": 0.0,
    "worker_concurrency": 4,
}


@dataclass
class Rig(Bridge):
    """`resources` are the test's own, for looking at the database; the processes have theirs."""

    settings: Settings
    zygote: Zygote = field(repr=False)
    folder: Path
    processes: list[Running] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    canaries: set[str] = field(default_factory=set)

    async def organization(
        self, name: str = "Harbour Clinic", *, team: Team | None = None, **options: object
    ) -> Organization:
        """An organisation over a team of the sandbox; without images unless `options` say otherwise."""
        return await super().organization(name, team=team, **{"images": "none", **options})

    def worker(self, point: str | None = None, **environ: str) -> Running:
        """Start a worker process; `point` is the fault point armed in it."""
        return self._start("worker", point, **environ)

    async def api(self, point: str | None = None, **environ: str) -> Running:
        """Start the web application on the rig's port and wait until it answers."""
        running = self._start("api", point, PORT=self.url.rpartition(":")[2], **environ)
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False) as client:

            async def answers() -> bool:
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await until(answers, timeout=60, what="the API answers")
        return running

    def _start(self, role: str, point: str | None, **environ: str) -> Running:
        log = self.folder / f"{role}-{len(self.processes)}.log"
        running = start(self.zygote, role, self.settings, log, point=point, **environ)
        self.processes.append(running)
        return running

    async def ends_well(self, *, timeout: float = 90.0) -> None:
        """Faults stop, the system comes to rest, the invariants hold."""
        system = AtRest(
            resources=self.resources,
            sandbox=self.sandbox,
            logs=[process.log for process in self.processes],
            acknowledged=self.acknowledged,
            canaries=self.canaries,
        )
        await ends(system, lambda: self.rests(timeout=timeout))

    async def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            await process.kill()


def image_credentials(sandbox: Sandbox) -> dict[str, object]:
    """What the uploader transport and the Research API need."""
    given = sandbox.settings_for_bridge
    return {
        "aura_app_id": given["AURA_APP_ID"],
        "aura_app_secret": SecretStr(given["AURA_APP_SECRET"]),
        "clarius_research_username": given["CLARIUS_RESEARCH_USERNAME"],
        "clarius_research_password": SecretStr(given["CLARIUS_RESEARCH_PASSWORD"]),
    }


@asynccontextmanager
async def open_short_bridge(settings: Settings, **more: object) -> AsyncIterator[Bridge]:
    """A bridge in this process over two teams; `more` are settings that differ from `SHORT`."""
    async with Sandbox(teams=("Team One", "Team Two")) as sandbox:
        wanted = settings_for(settings, sandbox, **{**SHORT, **more})
        async with open_bridge(wanted, sandbox) as bridge:
            yield bridge


@asynccontextmanager
async def open_rig(
    settings: Settings,
    zygote: Zygote,
    folder: Path,
    *,
    teams: tuple[str, ...] = ("Team One",),
    **more: object,
) -> AsyncIterator[Rig]:
    """A rig without any process yet; `more` are settings that differ from `SHORT`."""
    async with Sandbox(teams=teams) as sandbox:
        wanted = settings_for(settings, sandbox, **{**SHORT, **image_credentials(sandbox), **more})
        async with open_resources(wanted) as resources:
            url = f"http://127.0.0.1:{free_port()}"
            sandbox.clarius.settings["notification_url"] = f"{url}/webhooks/clarius"
            rig = Rig(
                resources=resources,
                sandbox=sandbox,
                url=url,
                settings=wanted,
                zygote=zygote,
                folder=folder,
            )
            try:
                yield rig
            finally:
                await rig.close()
