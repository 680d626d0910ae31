"""Every call that the two clouds document can be made by a person: by a page or the admin API here, or by a command.

A row names who makes the call; the request that the sandbox saw, and what it holds afterwards, show that it was made.
"""

import ast
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.config.settings import Settings
from app.people.users import add_user
from app.states import ExamState
from app.store.audit import By
from sandbox.clarius.state import EXAM_APPLICATIONS
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.ops import Ops, open_ops
from tests.support.pages import Browsing, Page

APPLICATION = next(iter(EXAM_APPLICATIONS))
PASSWORD = "violet kettle seventeen"
BASE = "/api/public/v0"
BY_COMMAND = {
    "C17": "test_research_calls",
    "C18": "test_research_calls",
    "C19": "test_research_calls",
}
"""Rows that are made by command only, and the test of the command line that checks their effect."""


@dataclass(frozen=True)
class Row:
    """One call: what a person does, and the request that the vendor sees of it.

    `whenever`: the request may have been made before, by whoever was quicker; its path names this one thing.
    """

    name: str
    act: Callable[[], Awaitable[object]]
    method: str
    path: str
    server: str = "clarius"
    effect: str | None = None
    whenever: bool = False


async def prove(ops: Ops, row: Row) -> None:
    """Do it, and find the request (and the effect, if it has one) in the sandbox's journal."""
    journal = ops.sandbox.journal
    seen, done = 0 if row.whenever else len(journal.requests), len(journal.effects)
    answer = await row.act()
    status = getattr(answer, "status_code", getattr(answer, "status", 200))
    assert status < 400, f"{row.name}: {status} {getattr(answer, 'text', '')[:2000]}"
    made = [one for one in journal.requests_to(row.server, row.method, row.path) if one.sequence > seen]
    assert made, f"{row.name}: {row.server} did not see {row.method} {row.path}"
    assert made[-1].status is not None
    assert made[-1].status < 400, row.name
    if row.effect is not None:
        kinds = [effect.kind for effect in journal.effects[done:]]
        assert row.effect in kinds, f"{row.name}: {kinds}"


def test_no_row_is_left_out():
    source = ast.parse(Path(__file__).read_text("utf-8"))
    named = {
        node.args[0].value
        for node in ast.walk(source)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Row"
        and isinstance(node.args[0], ast.Constant)
    }
    documented = {f"C{number}" for number in range(1, 20)} | {f"A{number}" for number in range(1, 16)}
    assert named | BY_COMMAND.keys() == documented
    commands = ast.parse((Path(__file__).parents[1] / "cli" / "test_vendors.py").read_text("utf-8"))
    there = {node.name for node in ast.walk(commands) if isinstance(node, ast.FunctionDef)}
    assert set(BY_COMMAND.values()) <= there


@pytest.fixture
async def ops(settings: Settings):
    """A bridge without a worker: nobody but the person makes calls."""
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox), sandbox) as bridge,
        open_ops(bridge) as made,
    ):
        yield made


async def test_every_call_of_clarius(ops: Ops):
    sandbox, write = ops.sandbox, ops.write
    organization = await ops.bridge.organization()
    customer = await ops.bridge.customer(organization)
    refused = sandbox.add_customer()
    missed = await sandbox.submit_exam(customer=customer, captures=[], notify_times=0)
    spare = (await write.post("clarius/api-keys", json={"name": "spare"})).json()["prefix"]
    annotations = {"annotations": [{"title": "Side", "labels": ["left"], "linked": False}]}

    async def link_and_wait() -> None:
        await ops.bridge.link(refused, organization)

    async def import_and_wait() -> None:
        answer = await write.post("exams/import", json={"request_uuid": missed.request_uuid})
        assert answer.status_code == 201, answer.text
        await ops.bridge.reaches(missed.request_uuid, ExamState.DELIVERED)

    rows = (
        Row("C1", lambda: write.post("reconcile"), "GET", f"{BASE}/exams/accessible/"),
        # the poll may have found the exam, and a worker read its data, before this row's turn
        Row(
            "C2",
            import_and_wait,
            "GET",
            f"*/download-requests/{missed.request_uuid}/data/",
            whenever=True,
        ),
        Row("C3", link_and_wait, "POST", f"{BASE}/services/customer-confirmations/"),
        Row("C4", lambda: write.get("clarius/confirmed-tokens"), "GET", f"{BASE}/services/confirmed-tokens/"),
        Row(
            "C5",
            lambda: write.post(
                f"exams/{missed.request_uuid}/reports",
                data={"name": "Findings"},
                files={"file": ("a.pdf", b"%PDF-1.7", "application/pdf")},
            ),
            "POST",
            f"{BASE}/services/requests/{missed.request_uuid}/reports/",
        ),
        Row("C6", lambda: write.get("clarius/settings"), "GET", f"{BASE}/services/settings/"),
        Row(
            "C7",
            lambda: write.patch("clarius/settings", json={"notification_url": "https://a.example/hook"}),
            "PATCH",
            f"{BASE}/services/settings/",
            effect="clarius.settings.update",
        ),
        Row("C8", lambda: write.get("clarius/records"), "GET", f"{BASE}/services/notifications/records/"),
        Row("C9", lambda: write.get("clarius/api-keys"), "GET", f"{BASE}/services/api-keys/"),
        Row(
            "C10",
            lambda: write.post("clarius/api-keys", json={"name": "another"}),
            "POST",
            f"{BASE}/services/api-keys/",
            effect="clarius.key.create",
        ),
        Row(
            "C11",
            lambda: write.delete(f"clarius/api-keys/{spare}"),
            "DELETE",
            f"{BASE}/services/api-keys/{spare}/",
            effect="clarius.key.delete",
        ),
        Row("C12", lambda: write.get("clarius/applications"), "GET", f"{BASE}/exams/applications/"),
        Row(
            "C15",
            lambda: write.put(f"clarius/applications/{APPLICATION}", json=annotations),
            "PUT",
            f"{BASE}/services/applications/{APPLICATION}/",
            effect="clarius.application.update",
        ),
        Row(
            "C13",
            lambda: write.get("clarius/applications/customised"),
            "GET",
            f"{BASE}/services/applications/",
        ),
        Row(
            "C14",
            lambda: write.get(f"clarius/applications/{APPLICATION}"),
            "GET",
            f"{BASE}/services/applications/{APPLICATION}/",
        ),
        Row(
            "C16",
            lambda: write.delete(f"clarius/applications/{APPLICATION}"),
            "DELETE",
            f"{BASE}/services/applications/{APPLICATION}/",
            effect="clarius.application.delete",
        ),
    )
    for row in rows:
        await prove(ops, row)
    assert sandbox.clarius.reports[0].name == "Findings"
    assert sandbox.clarius.customers[refused] is True


async def test_every_call_of_aurabox(ops: Ops):
    organization = await ops.bridge.organization()
    await add_user(
        ops.bridge.resources,
        email="admin@harbour.example",
        organization="Harbour Clinic",
        role="admin",
        password=PASSWORD,
        by=By("test"),
    )
    team = ops.sandbox.team()
    base = f"/admin/aurabox/{organization.id}"
    async with Browsing(ops.bridge.url) as browser:
        await browser.sign_in("admin@harbour.example", PASSWORD)

        async def send(page: str, action: str, **typed: str) -> Page:
            return await browser.send(await browser.get(page), action, **typed)

        def newest(kind: str) -> str:
            return [one.id for one in team.people.values() if one.kind == kind][-1]

        person = {
            "given_names": "Ada",
            "family_name": "Winter",
            "date_of_birth": "1980-01-01",
            "sex": "female",
        }
        for row in (
            Row("A1", lambda: browser.get(f"{base}/patients"), "GET", "/api/v1/patients", "aurabox"),
            Row("A2", lambda: send(f"{base}/patients", f"{base}/patients", **person), "POST", "/api/v1/patients", "aurabox", "aurabox.patient.create"),
            Row("A6", lambda: browser.get(f"{base}/cases"), "GET", "/api/v1/cases", "aurabox"),
            Row("A7", lambda: send(f"{base}/cases", f"{base}/cases", label="Case 1", sex="unknown"), "POST", "/api/v1/cases", "aurabox", "aurabox.case.create"),
        ):  # fmt: skip
            await prove(ops, row)
        patient, case = newest("patient"), newest("case")
        at, of_case = f"{base}/patients/{patient}", f"{base}/cases/{case}"
        for row in (
            Row("A3", lambda: browser.get(at), "GET", f"/api/v1/patients/{patient}", "aurabox"),
            Row("A4", lambda: send(at, at, **(person | {"given_names": "Ada May"})), "PUT", f"/api/v1/patients/{patient}", "aurabox", "aurabox.patient.update"),
            Row("A8", lambda: browser.get(of_case), "GET", f"/api/v1/cases/{case}", "aurabox"),
            Row("A9", lambda: send(of_case, of_case, label="Case 2", sex="male"), "PUT", f"/api/v1/cases/{case}", "aurabox", "aurabox.case.update"),
            Row("A11", lambda: browser.get(at), "GET", f"/api/v1/patients/{patient}/studies", "aurabox"),
            Row("A12", lambda: send(at, f"{at}/studies", fields="description = Knee\nmodality = US"), "POST", f"/api/v1/patients/{patient}/studies", "aurabox", "aurabox.study.create"),
        ):  # fmt: skip
            await prove(ops, row)
        study = next(iter(team.people[patient].studies))
        one = f"{at}/studies/{study}"
        for row in (
            Row("A13", lambda: browser.get(one), "GET", f"/api/v1/patients/{patient}/studies/{study}", "aurabox"),
            Row("A14", lambda: send(one, one, fields="description = Hip", act="save"), "PUT", f"/api/v1/patients/{patient}/studies/{study}", "aurabox", "aurabox.study.update"),
            Row("A15", lambda: send(one, one, act="delete"), "DELETE", f"/api/v1/patients/{patient}/studies/{study}", "aurabox", "aurabox.study.delete"),
            Row("A5", lambda: send(at, f"{at}/delete"), "DELETE", f"/api/v1/patients/{patient}", "aurabox", "aurabox.patient.delete"),
            Row("A10", lambda: send(of_case, f"{of_case}/delete"), "DELETE", f"/api/v1/cases/{case}", "aurabox", "aurabox.case.delete"),
        ):  # fmt: skip
            await prove(ops, row)
