"""Running the sandbox each way, its webhook sender, and its control API."""

import asyncio
import base64
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.server import Sandbox
from sandbox.serving import Connections, RunningServer, listen
from tests.support.wait import until

FORGED = {"request_uuid": "00000000-0000-4000-8000-000000000000", "customer_id": "nobody"}


@dataclass
class Hook:
    """A webhook receiver that keeps what it got."""

    url: str = ""
    status: int = 202
    bodies: list[Any] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    gate: asyncio.Event | None = None

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        self.at_once -= 1
        self.bodies.append(body)
        return JSONResponse({"status": "accepted"}, self.status)


@pytest.fixture
async def hook(sandbox) -> AsyncIterator[Hook]:
    made = Hook()
    app = Starlette(routes=[Route("/hook", made.receive, methods=["POST"])])
    server = RunningServer(app, connections=Connections(), host="127.0.0.1", listener=listen("127.0.0.1", 0))
    await server.start()
    made.url = f"{server.url}/hook"
    sandbox.clarius.settings["notification_url"] = made.url
    yield made
    await server.stop()


async def test_an_exam_is_notified_once_and_recorded(sandbox, clarius, hook):
    submitted = await sandbox.submit_exam(customer=sandbox.add_customer(), shape="no-captures")
    assert submitted.answers == (202,)
    assert [json.loads(b) for b in hook.bodies] == [submitted.notification]
    record = (await clarius.get("services/notifications/records/")).json()["results"][0]
    assert record["event"]["request"] == {
        "url": hook.url,
        "method": "POST",
        "content": json.dumps(submitted.notification),
    }
    assert record["event"]["response"]["status_code"] == 202
    assert record["event"]["error"] is None
    assert record["logged_at"] >= record["event"]["sent_at"]
    assert sandbox.acknowledged() == {submitted.request_uuid}


async def test_a_failed_webhook_is_recorded_and_not_repeated(sandbox, clarius, hook):
    hook.status = 503
    customer = sandbox.add_customer()
    assert (await sandbox.submit_exam(customer=customer, shape="no-captures")).answers == (503,)
    closed = listen("127.0.0.1", 0)
    sandbox.clarius.settings["notification_url"] = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    closed.close()
    assert (await sandbox.submit_exam(customer=customer, shape="no-captures")).answers == (None,)
    page = (await clarius.get("services/notifications/records/", params={"limit": 1})).json()
    assert page["count"] == 2
    assert page["results"][0]["event"]["response"] is None
    assert page["results"][0]["event"]["error"]
    assert len(hook.bodies) == 1
    assert sandbox.acknowledged() == set()


async def test_missed_doubled_and_simultaneous_webhooks(sandbox, hook):
    customer = sandbox.add_customer()
    missed = await sandbox.submit_exam(customer=customer, shape="no-captures", notify_times=0)
    assert (missed.answers, hook.bodies) == ((), [])
    twice = await sandbox.submit_exam(customer=customer, shape="no-captures", notify_times=2)
    assert twice.answers == (202, 202)
    hook.gate = asyncio.Event()
    burst = asyncio.create_task(sandbox.notify(missed.request_uuid, times=10, at_once=True))
    await until(lambda: hook.at_once == 10)
    hook.gate.set()
    assert await burst == [202] * 10
    assert hook.most_at_once == 10


async def test_a_forgery_is_posted_and_not_recorded(sandbox, clarius, hook):
    assert await sandbox.notify_raw(FORGED) == [202]
    assert await sandbox.notify_raw(b"{not json", headers={"content-type": "text/plain"}) == [202]
    assert hook.bodies == [json.dumps(FORGED).encode(), b"{not json"]
    assert (await clarius.get("services/notifications/records/")).json()["count"] == 0


async def test_an_unknown_customer_cannot_submit(sandbox):
    with pytest.raises(ValueError, match="unknown customer"):
        await sandbox.submit_exam(customer="nobody")


async def test_two_sandboxes_run_side_by_side_and_leave_nothing(sandbox):
    async with Sandbox(teams=("A", "B")) as other:
        assert other.clarius_url != sandbox.clarius_url
        assert len(other.allowed_upstreams.split(",")) == 4
        assert other.team("B").key != other.team("A").key
        folder = other.folder
        assert folder.exists()
    assert not folder.exists()
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            await client.get(other.clarius_url)


async def test_a_taken_port_is_an_error(sandbox):
    port = int(sandbox.clarius_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        async with Sandbox(ports={"aurabox": port}):
            pass


def test_in_a_thread_without_a_loop():
    with Sandbox.in_thread() as running:
        sandbox = running.sandbox
        customer = sandbox.add_customer()
        submitted = running.run(sandbox.submit_exam(customer=customer, shape="no-captures"))
        answer = httpx.get(
            submitted.notification["download_url"],
            headers={"authorization": f"Service-API-Key {sandbox.clarius_key}"},
            trust_env=False,
            verify=False,
        )
        assert answer.json()["request_uuid"] == submitted.request_uuid


@pytest.fixture
async def control(sandbox, hook) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"{sandbox.clarius_url}/_sandbox/", trust_env=False, verify=False
    ) as client:
        yield client


async def test_control_submits_and_shows(sandbox, control, hook):
    customer = (await control.post("customers", json={"confirmed": True})).json()
    assert customer["connect_url"] == ""
    body = {"customer": customer["token"], "shape": "minimal", "captures": ["png"], "notify_times": 1}
    submitted = (await control.post("exams", json=body)).json()
    assert submitted["answers"] == [202]
    assert submitted["captures"][0]["kind"] == "png"
    again = await control.post(f"exams/{submitted['request_uuid']}/notify", json={"times": 2})
    assert again.json() == {"answers": [202, 202]}
    assert (await control.post("notify", json={"body": FORGED})).json() == {"answers": [202]}
    packed = base64.b64encode(b"{x").decode()
    assert (await control.post("notify", json={"base64": packed})).json() == {"answers": [202]}
    assert len(hook.bodies) == 5
    state = (await control.get("state")).json()
    assert state["exams"] == 1
    assert state["environment"]["CLARIUS_API_KEY"] == sandbox.clarius_key
    assert state["customers"] == {customer["token"]: True}
    capture = submitted["captures"][0]["id"]
    changed = await control.post(f"captures/{capture}/change", json={"seed": 5})
    assert changed.json()["sha256"] != submitted["captures"][0]["sha256"]
    assert (await control.delete(f"exams/{submitted['request_uuid']}")).status_code == 200
    assert sandbox.clarius.newest_exams() == []


async def test_control_arms_releases_and_clears(sandbox, control, aurabox):
    held = {"fault": {"kind": "hold"}, "server": "aurabox", "method": "GET"}
    rule = (await control.post("faults", json=held)).json()
    call = asyncio.create_task(aurabox.get("patients"))

    async def waiting():
        return (await control.get("faults")).json()["rules"][0]["waiting"]

    assert await until(waiting) == 1
    await control.post(f"faults/{rule['id']}/release")
    assert (await call).status_code == 200
    await control.post("faults", json={"fault": {"kind": "status", "status": 503}, "times": None})
    assert (await aurabox.get("patients")).status_code == 503
    assert (await control.delete("faults")).json() == {"rules": []}
    assert (await aurabox.get("patients")).status_code == 200
    assert (await control.get("faults")).json()["hits"] == 2


async def test_control_shows_journal_people_and_checks(sandbox, control, aurabox):
    case = (await aurabox.post("cases", json={"label": "CASE-1"})).json()["data"]
    await aurabox.post(f"patients/{case['id']}/studies", json={"study_instance_uid": "2.25.1"})
    journal = (await control.get("journal", params={"effects_after": 1})).json()
    assert [e["kind"] for e in journal["effects"]] == ["aurabox.study.create"]
    assert len(journal["requests"]) == 2
    people = (await control.get("people")).json()
    assert (people[0]["label"], people[0]["studies"][0]["instances"]) == ("CASE-1", 0)
    checks = (await control.get("checks")).json()
    assert checks == {"doubled_creates": [], "bytes_sent_twice": [], "misplaced_secrets": []}
    team = (await control.post("teams", json={"name": "Other"})).json()
    assert sandbox.team("Other").key == team["key"]


async def test_control_flips_the_other_switches(sandbox, control):
    assert (await control.put("limits", json={"documented": True})).json()["exchange"] == 10
    assert (await control.patch("settings", json={"notification_url": ""})).json()["notification_url"] == ""
    customer = sandbox.add_customer()
    kept = await sandbox.submit_exam(customer=customer, shape="complete", listed=False)
    await control.post(f"exams/{kept.request_uuid}/list")
    assert len(sandbox.clarius.newest_exams()) == 1
    sandbox.clarius.sign(kept.captures[0].id)
    assert (await control.post("captures/expire")).json() == {"expired": 1}
    assert (await control.post("uploads/drop")).json() == {"dropped": 0}
    token = sandbox.aurabox.new_lift_token("Team One")
    await control.post("tokens/expire")
    assert token in sandbox.aurabox.expired_lift_tokens


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "exams", {"customer": "nobody"}),
        ("POST", "exams", {"shape": "complete"}),
        ("POST", "faults", {"fault": {"kind": "meteor"}}),
        ("POST", "faults/99/release", {}),
        ("POST", "teams", {"name": "Team One"}),
        ("POST", "customers", {"shoe_size": 1}),
    ],
)
async def test_control_says_what_is_wrong(control, method, path, body):
    answer = await control.request(method, path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_the_command_runs_until_it_is_told_to_stop():
    command = [sys.executable, "-m", "sandbox", "--json", "--notification-url", "http://127.0.0.1:9/hook"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            described = json.loads(process.stdout.readline())
            state = httpx.get(f"{described['control_url']}/state", trust_env=False, verify=False).json()
            assert state["settings"]["notification_url"] == "http://127.0.0.1:9/hook"
            assert described["customer"] in state["customers"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


def test_the_command_says_that_a_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "sandbox", "--clarius-port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cannot listen:")
    assert "Traceback" not in done.stderr
