"""The demo end to end as a process, with a worker killed at work; and that its check can fail."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.cli.demo.checking import Journal, check
from app.cli.demo.sandbox import Sandbox
from app.cli.demo.scenario import ABOUT, PLAIN_SHAPES, Scenario
from app.cli.demo.submitting import Clinic, Expected
from app.states import ExamState
from app.store.subjects import SubjectKind
from tests.cli.programs import clean_environment, command

DEMO_SECONDS = 300


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's folder, which is closed to the user that PostgreSQL runs as when we are root."""
    made = Path(tempfile.mkdtemp(prefix="sonobridge-demo-test-"))
    yield made
    shutil.rmtree(made)


def demo(folder: Path, *options: str) -> dict[str, Any]:
    """What `sonobridge demo` prints as JSON, once it ended well."""
    done = subprocess.run(
        command("demo", "--json", *options, "--data-dir", str(folder / "demo")),
        env=clean_environment(folder / "unused"),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.slow
@pytest.mark.timeout(DEMO_SECONDS)
def test_a_killed_worker_changes_the_time_not_the_result(folder: Path) -> None:
    shown = demo(folder, "--kill-worker")
    assert shown["ok"] is True
    assert shown["problems"] == []
    assert shown["killed_worker"] > 0
    assert len(shown["exams"]) == 40
    states = [one["state"] for one in shown["exams"]]
    assert [states.count(state) for state in ("delivered", "review", "unverified")] == [36, 3, 1]
    log = (folder / "demo" / "bridge.log").read_text()
    assert "child_ended" in log, "the worker that was killed was started again"
    assert not (folder / "demo" / "data" / "postgres" / "postmaster.pid").exists()


@pytest.mark.slow
@pytest.mark.timeout(DEMO_SECONDS)
def test_one_exam_is_a_demo_too(folder: Path) -> None:
    shown = demo(folder, "--exams", "1")
    assert (shown["ok"], shown["problems"]) == (True, [])
    assert [(one["about"], one["state"]) for one in shown["exams"]] == [(ABOUT["complete"], "delivered")]


def _vendors(request: httpx.Request) -> httpx.Response:
    """Takes every exam and says what the sandbox would."""
    captures = [{"id": f"c{number}", "sha256": "aa"} for number in range(3)]
    made = {"captures": captures, "answers": [202], "rules": [], "id": 1}
    return httpx.Response(200, json=made | {"request_uuid": str(uuid4()), "exam_uuid": str(uuid4())})


class _Nobody:
    """Opens clinics on paper; nothing that is submitted waits for more."""

    async def open(self, name: str, *, linked: bool = True) -> Clinic:
        return Clinic(name=name, team=name, customer="linked" if linked else "")

    async def link(self, customer: str) -> None:
        raise AssertionError(customer)

    async def hide_names(self, clinic: Clinic) -> None:
        raise AssertionError(clinic)

    async def move(self, clinic: Clinic, *, to: Clinic, under_way: str) -> None:
        raise AssertionError((clinic, to, under_way))

    async def decide(self, request_uuid: UUID, choice: str) -> None:
        raise AssertionError((request_uuid, choice))


async def _submitted(count: int) -> list[str]:
    described = {"environment": {"CLARIUS_BASE_URL": "http://clarius"}, "team": "t", "team_key": "k"}
    async with httpx.AsyncClient(transport=httpx.MockTransport(_vendors)) as client:
        sandbox = Sandbox(described | {"control_url": "http://sandbox/_sandbox"}, client)
        scenario = Scenario(sandbox, "linked", "stranger", _Nobody())
        await scenario.submit_all(count)
    return [one.about for one in scenario.expected]


async def test_any_number_of_exams_is_that_many_the_plain_and_the_special_ones_first() -> None:
    whole = await _submitted(43)
    for count in range(1, 43):
        assert len(await _submitted(count)) == count
    assert await _submitted(1) == [ABOUT["complete"]]
    assert await _submitted(7) == whole[:7]
    # two exams of one kind no longer fit: what comes after them does
    assert await _submitted(8) == [*whole[:7], "notification missed, found by polling"]
    shapes = [ABOUT[shape] for shape, _ in PLAIN_SHAPES]
    assert whole[26:38] == shapes[1:]
    assert whole[38:40] == shapes[:2]


ONE = Expected(
    about="one", request_uuid="r1", exam_uuid="e1", kind=SubjectKind.PATIENT, person="p", sha256=("aa",)
)


def _exam(**changes: Any) -> dict[str, Any]:
    return {
        "state": "delivered",
        "step": "confirm",
        "reason": None,
        "error": None,
        "source": "webhook",
        "captures": [{"sha256": "aa"}],
        "aurabox": {"kind": "patient", "patient_id": "P", "study_id": "S", "study_instance_uid": "1.2"},
    } | changes


def _effects() -> list[dict[str, Any]]:
    study = {"patient_id": "P", "fields": {"source_exam_uuid": "e1", "study_instance_uid": "1.2"}}
    return [
        {"kind": "aurabox.patient.create", "who": "t", "remote_id": "P", "detail": {}},
        {"kind": "aurabox.study.create", "who": "t", "remote_id": "S", "detail": study},
    ]


def _journal(**changes: Any) -> Journal:
    people = [{"id": "P", "family_name": "Ash", "studies": [{"id": "S", "instances": 1}]}]
    whole = {"effects": _effects(), "checks": {}, "faults": [], "people": people, "first_team": "t"}
    return Journal(**whole | changes)


def test_what_is_right_passes() -> None:
    assert check([ONE], {"r1": _exam()}, _journal(), images=True).ok


@pytest.mark.parametrize(
    ("exams", "journal", "told"),
    [
        ({}, _journal(), "does not know it"),
        ({"r1": _exam(state="failed")}, _journal(), "must be delivered"),
        ({"r1": _exam(captures=[])}, _journal(), "0 of 1 captures"),
        ({"r1": _exam(source="import")}, _journal(), "came by import"),
        ({"r1": _exam(aurabox=_exam()["aurabox"] | {"kind": "case"})}, _journal(), "must be a patient"),
        ({"r1": _exam(aurabox=_exam()["aurabox"] | {"study_id": "X"})}, _journal(), "another than the one"),
        ({"r1": _exam()}, _journal(effects=_effects()[:1]), "0 studies"),
        ({"r1": _exam()}, _journal(effects=[*_effects(), _effects()[1] | {"remote_id": "T"}]), "2 studies"),
        (
            {"r1": _exam()},
            _journal(effects=[*_effects(), _effects()[0] | {"remote_id": "Q"}]),
            "2 patients were",
        ),
        ({"r1": _exam()}, _journal(checks={"doubled_creates": ["x"]}), "doubled creates"),
        ({"r1": _exam()}, _journal(faults=[{"kind": "expire", "path": "/c", "hits": 0}]), "acted 0 times"),
        (
            {"r1": _exam()},
            _journal(faults=[{"kind": "status", "path": "/c", "hits": 0, "times": None}]),
            "acted 0 times",
        ),
        ({"r1": _exam()}, _journal(people=[]), "images in Aurabox"),
        ({"r1": _exam()}, _journal(first_team="another"), "the study is at t"),
        ({"r1": _exam(), "r9": _exam()}, _journal(), "was never submitted"),
    ],
)
def test_what_differs_is_named(exams: dict[str, Any], journal: Journal, told: str) -> None:
    verdict = check([ONE], exams, journal, images=True)
    assert not verdict.ok
    assert told in " ".join([*verdict.of_run, *verdict.of_exam["r1"]])


def test_a_forgery_that_got_through_is_found() -> None:
    forged = replace(ONE, state=ExamState.UNVERIFIED, kind=None)
    unverified = _exam(state="unverified", aurabox=dict.fromkeys(_exam()["aurabox"]))
    verdict = check([forged], {"r1": unverified}, _journal(), images=False)
    assert "has a study in Aurabox" in verdict.of_exam["r1"]


def test_strangers_who_share_a_patient_are_found() -> None:
    other = replace(ONE, request_uuid="r2", exam_uuid="e2", person="q")
    verdict = check([ONE, other], {"r1": _exam(), "r2": _exam()}, _journal(), images=False)
    assert "2 strangers share P" in verdict.of_run


def test_one_person_who_became_two_is_found() -> None:
    other = replace(ONE, request_uuid="r2", exam_uuid="e2")
    second = _exam(aurabox=_exam()["aurabox"] | {"patient_id": "Q"})
    verdict = check([ONE, other], {"r1": _exam(), "r2": second}, _journal(), images=False)
    assert "p is 2 in Aurabox" in verdict.of_run


@pytest.mark.parametrize(
    ("changes", "exam", "told"),
    [
        ({"renamed": "Ashgrove"}, {}, "the patient's name is ['Ash']"),
        ({"unnamed": ("1.2",)}, {}, "names somebody"),
        ({"unnamed": ("nobody",)}, {}, "names the exam"),
        ({"team": "another"}, {}, "the study is at t"),
        (
            {"state": ExamState.REVIEW, "code": "link_changed"},
            {"state": "review", "error": {"code": "captures_missing", "message": "m"}},
            "must be for link_changed",
        ),
        (
            {"state": ExamState.REVIEW, "code": "link_changed"},
            {"state": "review", "error": {"code": "link_changed", "message": "m"}},
            "has a study in Aurabox",
        ),
        ({"images": 0}, {}, "1 of 1 captures"),
        ({"leaves": SubjectKind.CASE}, {}, "0 cases were created, 1 must be"),
    ],
)
def test_what_changed_mid_way_is_looked_at(changes: dict[str, Any], exam: dict[str, Any], told: str) -> None:
    verdict = check([replace(ONE, **changes)], {"r1": _exam(**exam)}, _journal(), images=True)
    assert told in " ".join([*verdict.of_run, *verdict.of_exam["r1"]])
