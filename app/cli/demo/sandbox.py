"""The simulated vendors of the demo: a process of their own, steered over HTTP; must not import the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from app.cli.demo.processes import process
from app.cli.worker import python
from app.errors import SonobridgeError

START_SECONDS = 60.0
CALL_SECONDS = 60.0
HOLD_SECONDS = 30.0
POLL_SECONDS = 0.1


class Sandbox:
    """The control calls that the demo uses (`/_sandbox/…`)."""

    def __init__(self, described: dict[str, Any], client: httpx.AsyncClient) -> None:
        self.environment: dict[str, str] = described["environment"]
        self.team: str = described["team"]
        self.team_key: str = described["team_key"]
        self.control_url: str = described["control_url"]
        self._client = client

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._client.request(method, f"{self.control_url}{path}", json=body)
        if answer.is_error:
            raise SonobridgeError(f"the sandbox refused {path}: {answer.text}", code="sandbox")
        return answer.json()

    async def customer(self) -> tuple[str, str]:
        """A new Clarius customer: the token, and the URL by which Clarius would send the browser to us."""
        customer = await self._ask("POST", "/customers", {})
        return customer["token"], customer["connect_url"]

    async def submit(self, **arguments: Any) -> dict[str, Any]:
        """Submit an exam and notify."""
        exam: dict[str, Any] = await self._ask("POST", "/exams", arguments)
        return exam

    async def list_and_notify(self, request_uuid: str) -> list[int | None]:
        """Let Clarius list a request that was kept back, and post its notification."""
        await self._ask("POST", f"/exams/{request_uuid}/list")
        answers: list[int | None] = (await self._ask("POST", f"/exams/{request_uuid}/notify", {}))["answers"]
        return answers

    async def forge(self, body: dict[str, Any]) -> list[int | None]:
        """Post a notification that Clarius knows nothing of."""
        answers: list[int | None] = (await self._ask("POST", "/notify", {"body": body}))["answers"]
        return answers

    async def add_team(self, name: str) -> str:
        """A new team in Aurabox; its key."""
        key: str = (await self._ask("POST", "/teams", {"name": name}))["key"]
        return key

    async def archive(self, exam_uuid: str) -> None:
        """Archive the patient or case below which the exam's study lies."""
        await self._ask("POST", f"/people/of/{exam_uuid}/archive")

    async def reorder(self, request_uuid: str) -> None:
        """List an exam's captures the other way round from now on, by links of which the old ones are dead."""
        await self._ask("POST", f"/exams/{request_uuid}/reorder")

    async def arm(self, fault: dict[str, Any], **match: Any) -> int:
        """Arm a fault for the next request that matches (`times`: how many; None: all); its number."""
        number: int = (await self._ask("POST", "/faults", {"fault": fault, **match}))["id"]
        return number

    async def holds(self, number: int) -> None:
        """Wait until a fault holds a request. Raises TimeoutError when it never does."""
        async with asyncio.timeout(HOLD_SECONDS):
            while True:
                if any(rule["id"] == number and rule["waiting"] for rule in await self.faults()):
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def release(self, number: int) -> None:
        """Let go of what a fault holds."""
        await self._ask("POST", f"/faults/{number}/release")

    async def faults(self) -> list[dict[str, Any]]:
        """The rules that were armed, with how often each acted."""
        rules: list[dict[str, Any]] = (await self._ask("GET", "/faults"))["rules"]
        return rules

    async def effects(self) -> list[dict[str, Any]]:
        """The journal: every effect that a vendor accepted."""
        effects: list[dict[str, Any]] = (await self._ask("GET", "/journal?requests_after=100000000"))[
            "effects"
        ]
        return effects

    async def checks(self) -> dict[str, list[Any]]:
        """What must be empty whatever happened."""
        checks: dict[str, list[Any]] = await self._ask("GET", "/checks")
        return checks

    async def people(self) -> list[dict[str, Any]]:
        """Every team's patients and cases with their studies and instance counts."""
        state = await self._ask("GET", "/state")
        items: list[dict[str, Any]] = []
        for team in state["teams"]:
            items += await self._ask("GET", f"/people?team={quote(team['name'])}")
        return items


@asynccontextmanager
async def run_sandbox(environment: dict[str, str], log: Path) -> AsyncIterator[Sandbox]:
    """The sandbox on free ports, until the block ends."""
    async with process(python("sandbox", "--json"), environment, log) as running:
        if running.stdout is None:
            raise RuntimeError("the sandbox's output is not ours to read")
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                line = await running.stdout.readline()
        if not line:
            raise SonobridgeError(f"the sandbox did not start; its log is {log}", code="sandbox")
        async with httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False) as client:
            yield Sandbox(json.loads(line), client)
