"""No outside effect without kill points, and no check that cannot fail: both are shown on planted breaches."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from app.config.settings import Settings
from app.faultpoints import EFFECTS, POINTS
from app.resources import open_resources
from app.states import ExamState, Reason, Step
from app.store.base import in_seconds
from app.store.creates import Create, CreateState
from tests.support.at_rest import AtRest
from tests.support.bridge import settings_for
from tests.support.checker import violations
from tests.support.clarius import Sandbox
from tests.support.effects import points_missing, uncovered_calls
from tests.support.exams import add_exam
from tests.support.linked import add_clinic

ROOT = Path(__file__).parents[2]
FILES = [
    *sorted((ROOT / "app/delivery").rglob("*.py")),
    ROOT / "app/inbox/reconcile.py",
    ROOT / "app/linking/confirm.py",
    ROOT / "app/upkeep/leftovers.py",
    ROOT / "app/upstreams/probes.py",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_call_to_a_vendor_stands_within_an_effect(path: Path) -> None:
    assert uncovered_calls(path) == []
    assert points_missing(path, POINTS) == []


def test_every_effect_is_used_by_the_source() -> None:
    source = "".join(path.read_text("utf-8") for path in FILES)
    for effect in EFFECTS:
        step, _, what = effect.partition(":")
        named = f'"{effect}"' in source or f'"{step}:before_{what}"' in source
        assert named, f"{effect} is registered, and nothing has it"


COVERED = """
async def step(work):
    async with work.effect("fetch:read_exam_data", "clarius"):
        clarius = await work.resources.clarius()
        await clarius.exam_data("url")
        await helper(clarius)

async def helper(client: ClariusClient):
    await client.exams()
"""
BREACHES = {
    "a call after the effect": COVERED.replace(
        "    await helper(clarius)", "pass\n    await clarius.exam_data(1)"
    ),
    "a call without an effect": "async def step(work):\n    await work.resources.aurabox(1).study(1, 2)",
    "a download without an effect": "async def step(work):\n    await download(work.resources.http, 1)",
    "a helper used outside": COVERED + "\nasync def other(work, client):\n    await helper(client)",
    "a loop": "async def step(work):\n    c = work.resources.aurabox(1)\n    async for x in c.cases():\n        pass",
}


def test_the_reader_finds_a_planted_call(tmp_path: Path) -> None:
    file = tmp_path / "step.py"
    file.write_text(COVERED, "utf-8")
    assert uncovered_calls(file) == []
    for name, source in BREACHES.items():
        file.write_text(source, "utf-8")
        assert uncovered_calls(file), name


def test_the_reader_finds_a_missing_point(tmp_path: Path) -> None:
    file = tmp_path / "step.py"
    whole = 'async def f():\n    async with calling(r, "x"):\n        fault_point("link:before_confirm_customer")\n        fault_point("link:after_confirm_customer")\n'
    file.write_text(whole, "utf-8")
    assert points_missing(file, POINTS) == []
    file.write_text(whole.replace('        fault_point("link:after_confirm_customer")\n', ""), "utf-8")
    assert points_missing(file, POINTS)


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[AtRest]:
    async with Sandbox() as sandbox, open_resources(settings_for(settings, sandbox)) as resources:
        yield AtRest(resources=resources, sandbox=sandbox)


async def found(system: AtRest) -> set[str]:
    return {line.partition(":")[0] for line in await violations(system)}


async def test_a_sound_scene_has_no_violation(system: AtRest) -> None:
    await add_exam(system.resources, state=ExamState.WAITING, reason=Reason.LINK, due_in=None)
    assert await violations(system) == []


async def test_planted_rows_are_found(system: AtRest, tmp_path: Path) -> None:
    system.acknowledged = ["00000000-0000-0000-0000-000000000001"]
    assert await found(system) == {"I1"}
    await add_exam(system.resources, state=ExamState.QUEUED)
    await add_exam(system.resources, state=ExamState.DELIVERED, step=Step.CONFIRM, due_in=None)
    assert await found(system) == {"I1", "I2"}
    clinic = await add_clinic(system.resources)
    async with system.resources.sessions.begin() as session:
        session.add(
            Create(
                organization_id=clinic.id,
                kind="case",
                natural_key="x",
                state=CreateState.DONE,
                holder=clinic.id,
                held_until=await session.scalar(select(in_seconds(0))),
                remote_id="nobody made this",
            )
        )
    assert "I4" in await found(system)
    exam = await add_exam(system.resources, state=ExamState.GONE, due_in=None)
    system.resources.staging.folder(exam.id)
    assert "I8" in await found(system)
    async with system.resources.sessions.begin() as session:
        late = await session.scalar(select(in_seconds(-3600)))
    await add_exam(system.resources, state=ExamState.RUNNING, lease_until=late)
    assert "I9" in await found(system)
    log = tmp_path / "worker.log"
    log.write_text(f"the key is {system.sandbox.team().key}", "utf-8")
    system.logs = [log]
    assert "I6" in await found(system)


async def test_planted_effects_are_found(system: AtRest) -> None:
    sandbox = system.sandbox
    headers = {"authorization": f"Bearer {sandbox.team().key}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        for _ in range(2):
            made = await client.post(f"{sandbox.aurabox_url}/api/v1/cases", json={"label": "the same"})
            assert made.status_code == 201
        assert await found(system) == {"I3"}
        await client.get(f"{sandbox.media_url}/captures/x.jpg")
        assert await found(system) == {"I3", "I5"}
