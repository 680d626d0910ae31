"""A whole bridge inside the test's event loop: the web application on a real port, and one worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import httpx
import uvicorn
from pydantic import SecretStr
from sqlalchemy import select

from app.config.settings import Settings
from app.linking.links import start_link
from app.main import create_app
from app.organizations.changes import add_organization
from app.resources import Resources, open_resources
from app.states import ExamState, LinkState, Reason
from app.store.audit import By
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import Organization
from sandbox.aurabox.state import Team
from sandbox.server import Sandbox
from tests.support.at_rest import AtRest
from tests.support.checker import ends
from tests.support.ports import free_port
from tests.support.wait import until
from workers.main import run_worker

UNDER_WAY = frozenset({ExamState.QUEUED, ExamState.RUNNING})


def settings_for(settings: Settings, sandbox: Sandbox, **more: object) -> Settings:
    """The test's settings, pointed at its sandbox."""
    given = sandbox.settings_for_bridge
    return settings.model_copy(
        update={
            "clarius_base_url": given["CLARIUS_BASE_URL"],
            "clarius_api_key": SecretStr(given["CLARIUS_API_KEY"]),
            "aurabox_base_url": given["AURABOX_BASE_URL"],
            "allowed_upstreams": frozenset(given["SONOBRIDGE_ALLOWED_UPSTREAMS"].split(",")),
            **more,
        }
    )


@dataclass
class Bridge:
    """What a test holds of it. `url` is the web application's."""

    resources: Resources
    sandbox: Sandbox
    url: str

    async def organization(
        self, name: str = "Harbour Clinic", *, team: Team | None = None, **options: object
    ) -> Organization:
        """An organisation over a team of the sandbox."""
        key = (team or self.sandbox.team()).key
        return await add_organization(
            self.resources, {"name": name, "aurabox_key": key, **options}, by=By("test")
        )

    async def customer(self, organization: Organization | None = None) -> str:
        """A new Clarius customer; with an organisation linked to it, and confirmed by the worker."""
        token = self.sandbox.add_customer()
        if organization is not None:
            await self.link(token, organization)
        return token

    async def link(self, token: str, organization: Organization) -> None:
        """Link a token and wait for Clarius's confirmation."""
        link = await start_link(
            self.resources, token=token, organization_id=organization.id, user_id=None, by=By("test")
        )

        async def confirmed() -> bool:
            async with self.resources.sessions() as session:
                return (await session.get_one(Link, link.id)).state == LinkState.CONFIRMED

        await until(confirmed)

    async def exam(self, request_uuid: str) -> Exam:
        """The row of a request."""
        async with self.resources.sessions() as session:
            found = select(Exam).where(Exam.request_uuid == UUID(request_uuid))
            exam = (await session.scalars(found)).one_or_none()
        assert exam is not None, f"no row for {request_uuid}"
        return exam

    async def reaches(self, request_uuid: str, *states: ExamState, timeout: float = 75.0) -> Exam:
        """Wait until the exam is in one of the states."""

        async def there() -> Exam:
            exam = await self.exam(request_uuid)
            assert exam.state in states, (
                f"{exam.state}/{exam.reason} at {exam.step}: {exam.error_code} {exam.error_message}"
            )
            return exam

        return await until(there, timeout=timeout)

    async def rests(self, *, timeout: float = 60.0) -> list[Exam]:
        """Wait until no exam is under way: each is final or waits for something with a name."""

        async def still() -> list[Exam]:
            async with self.resources.sessions() as session:
                exams = list(await session.scalars(select(Exam).order_by(Exam.received_at)))
            for exam in exams:
                assert exam.state not in UNDER_WAY, f"{exam.state} at {exam.step}"
                assert exam.lease_until is None, f"{exam.state} and leased"
                # a delivered exam may still have its receipt to report
                assert exam.state != ExamState.DELIVERED or exam.due_at is None, "delivered and due"
                if exam.state == ExamState.WAITING:
                    assert exam.reason in set(Reason), f"waits: {exam.reason}"
                    assert exam.due_at is None, f"waits: {exam.reason} {exam.error_code}"
            assert exams
            return exams

        return await until(still, timeout=timeout)

    async def ends_well(self, *, timeout: float = 60.0) -> None:
        """Faults stop, the system comes to rest, the invariants hold."""
        system = AtRest(resources=self.resources, sandbox=self.sandbox)
        await ends(system, lambda: self.rests(timeout=timeout))


@asynccontextmanager
async def serving(resources: Resources) -> AsyncIterator[str]:
    """The web application on a free loopback port; yields its URL."""
    port = free_port()
    config = uvicorn.Config(
        create_app(resources=resources),
        host="127.0.0.1",
        port=port,
        log_config=None,
        access_log=False,
        lifespan="on",
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    url = f"http://127.0.0.1:{port}"
    try:
        await until(lambda: server.started)
        yield url
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def working(resources: Resources) -> AsyncIterator[None]:
    """One worker of its own, until the body ends."""
    stopping = asyncio.Event()
    worker = asyncio.create_task(run_worker(resources, stopping))
    try:
        yield
    finally:
        stopping.set()
        await worker


@asynccontextmanager
async def open_bridge(settings: Settings, sandbox: Sandbox, *, worker: bool = True) -> AsyncIterator[Bridge]:
    """Web application and worker on the test's stores; the sandbox's webhook points at them."""
    async with open_resources(settings) as resources, serving(resources) as url:
        sandbox.clarius.settings["notification_url"] = f"{url}/webhooks/clarius"
        bridge = Bridge(resources=resources, sandbox=sandbox, url=url)
        if not worker:
            yield bridge
            return
        async with working(resources):
            yield bridge


async def get(bridge: Bridge, path: str) -> httpx.Response:
    """One GET on the web application."""
    async with httpx.AsyncClient(base_url=bridge.url, trust_env=False, verify=False) as client:
        return await client.get(path)
