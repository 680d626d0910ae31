"""Sets the demo up: simulated vendors, a whole bridge on free ports and stores of its own; takes all of it down again."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx

from app.cli.demo.processes import free_port, process
from app.cli.demo.sandbox import Sandbox, run_sandbox
from app.cli.demo.submitting import Clinic
from app.cli.worker import python
from app.config.settings import load_settings
from app.consoles.registration import register_ours
from app.delivery.actions import decide
from app.errors import SonobridgeError
from app.linking.links import move_link, start_link
from app.opening import UNTIL_STDIN_CLOSES, opened
from app.organizations.changes import add_organization, set_organization
from app.people.users import add_user
from app.resources import Resources
from app.states import LinkState
from app.store.audit import By
from app.store.links import Link, link_in_force
from app.store.organizations import Images, Organization
from app.store.users import Role

BY = By("demo")
ORGANIZATION = "Harbour Clinic"
TIMEZONE = "Australia/Melbourne"
# said of every clinic, because one that hides names sends nothing before it is
BURNED_IN = "no"
READY_SECONDS = 90.0
CONFIRM_SECONDS = 30.0
POLL_SECONDS = 0.1
OURS = ("SONOBRIDGE_", "CLARIUS_", "AURA", "DATABASE_URL", "REDIS_URL")
"""Beginnings of the variables that the demo chooses itself."""

MOMENTS = {
    "CLARIUS_POLL_INTERVAL": "2",
    "CLARIUS_VERIFY_WINDOW": "5",
    "SONOBRIDGE_RETRY_BASE_SECONDS": "0.5",
    "SONOBRIDGE_RETRY_CAP_SECONDS": "4",
    "SONOBRIDGE_REQUEST_SECONDS": "2",
    "SONOBRIDGE_SETTLE_SECONDS": "3",
    "SONOBRIDGE_LEASE_SECONDS": "8",
    "SONOBRIDGE_SWEEP_SECONDS": "1",
}
"""What takes minutes in earnest takes moments here."""


@dataclass(frozen=True)
class SignIn:
    """A user of the demo. The password is for this run alone."""

    role: Role
    email: str
    password: str


@dataclass(frozen=True)
class Stage:
    """All that the demo works with while it runs."""

    resources: Resources
    sandbox: Sandbox
    organization: Organization
    url: str
    folder: Path


@asynccontextmanager
async def set_up(folder: Path, *, workers: int, images: bool) -> AsyncIterator[Stage]:
    """Vendors, bridge and an organisation, until the block ends. Raises SonobridgeError when something does not start."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    log = folder / "sandbox.log"
    async with run_sandbox(base, log) as sandbox:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = (
            base
            | sandbox.environment
            | MOMENTS
            | {"SONOBRIDGE_DATA_DIR": str(folder / "data"), "SONOBRIDGE_PUBLIC_URL": url}
        )
        async with (
            _bridge(environment, folder / "bridge.log", port=port, workers=workers),
            opened(load_settings(environment)) as resources,
        ):
            await register_ours(resources, by=BY)
            organization = await add_organization(
                resources,
                {
                    "name": ORGANIZATION,
                    "aurabox_key": sandbox.team_key,
                    "images": Images.UPLOADER if images else Images.NONE,
                    "timezone": TIMEZONE,
                },
                by=BY,
            )
            yield Stage(resources, sandbox, organization, url, folder)


@asynccontextmanager
async def _bridge(environment: dict[str, str], log: Path, *, port: int, workers: int) -> AsyncIterator[None]:
    """`sonobridge up` as a child, ready for work."""
    command = python("app.cli", "up", "--port", str(port), "--workers", str(workers), UNTIL_STDIN_CLOSES)
    async with process(command, environment, log) as running:
        ended = asyncio.create_task(running.wait())
        ready = asyncio.create_task(_ready(f"http://127.0.0.1:{port}/readyz"))
        try:
            await asyncio.wait({ended, ready}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise SonobridgeError(f"the bridge did not start; its log is {log}", code="not_started")
            yield
        finally:
            ready.cancel()
            ended.cancel()


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.HTTPError:
                # not listening yet
                await asyncio.sleep(POLL_SECONDS)
            await asyncio.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class People:
    """What people at the bridge do in the demo, as the commands and pages would."""

    stage: Stage

    async def open(self, name: str, *, linked: bool = True) -> Clinic:
        """A new organisation over a new team, of the first one's policy; `linked`: with an account of its own."""
        key = await self.stage.sandbox.add_team(name)
        options = {"images": self.stage.organization.images, "timezone": TIMEZONE, "burned_in": BURNED_IN}
        organization = await add_organization(
            self.stage.resources, {"name": name, "aurabox_key": key, **options}, by=BY
        )
        customer = ""
        if linked:
            customer, _ = await self.stage.sandbox.customer()
            await link(self.stage, customer, organization)
        return Clinic(name=name, team=name, customer=customer)

    async def link(self, customer: str) -> None:
        """Link an account to the first organisation."""
        await link(self.stage, customer)

    async def hide_names(self, clinic: Clinic) -> None:
        """Change the organisation's policy to de-identified."""
        await set_organization(self.stage.resources, clinic.name, {"identity": "deidentified"}, by=BY)

    async def move(self, clinic: Clinic, *, to: Clinic, under_way: str) -> None:
        """Move the clinic's account to another organisation, and say what becomes of exams under way."""
        hashed = await self.stage.resources.hash_customer(clinic.customer)
        async with self.stage.resources.sessions() as session:
            held = await link_in_force(session, hashed)
        if held is None:
            raise SonobridgeError("the account that is moved is not linked", code="not_linked")
        await move_link(self.stage.resources, held.id, organization=to.name, by=BY, under_way=under_way)

    async def decide(self, request_uuid: UUID, choice: str) -> None:
        """Decide an exam in review."""
        await decide(self.stage.resources, request_uuid, choice, by=BY)


async def link(stage: Stage, token: str, organization: Organization | None = None) -> None:
    """Link a Clarius account to an organisation (the first one) and wait for the worker to have it confirmed."""
    link = await start_link(
        stage.resources,
        token=token,
        organization_id=(organization or stage.organization).id,
        user_id=None,
        by=BY,
    )
    deadline = time.monotonic() + CONFIRM_SECONDS
    while time.monotonic() < deadline:
        async with stage.resources.sessions() as session:
            if (await session.get_one(Link, link.id)).state == LinkState.CONFIRMED:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise SonobridgeError(
        f"no worker had the link confirmed within {CONFIRM_SECONDS:.0f} s; see {stage.folder / 'bridge.log'}",
        code="not_confirmed",
    )


async def add_sign_ins(stage: Stage) -> list[SignIn]:
    """A clinician and an admin with passwords for this run."""
    sign_ins = [SignIn(role, f"{role}@harbour.example", secrets.token_urlsafe(12)) for role in Role]
    for sign_in in sign_ins:
        await add_user(
            stage.resources,
            email=sign_in.email,
            organization=str(stage.organization.id),
            role=sign_in.role.value,
            password=sign_in.password,
            by=BY,
        )
    return sign_ins
