"""`reconcile`, `gaps`, `purge`, `keys`, `doctor`: what they find, what they delete, and that they stop half-way well."""

import os
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, text, update

from app.config.sealing import Sealer, new_key
from app.resources import Resources
from app.states import ExamState, Step
from app.store.audit import AuditEvent, By, audit
from app.store.base import in_seconds
from app.store.captures import Capture
from app.store.exams import Exam
from app.store.organizations import Organization
from app.store.workers import beat
from app.upkeep.key_rotation import sealed_columns
from app.upkeep.retention import purge_when_due
from sandbox.server import Sandbox, SandboxThread
from tests.cli.conftest import Cli
from tests.support.exams import add_exam, reread


def test_reconcile_takes_in_what_no_notification_told(
    bridge: Cli, vendors: SandboxThread, sandbox: Sandbox
) -> None:
    for _ in range(3):
        vendors.run(sandbox.submit_exam(customer=sandbox.add_customer(), captures=[], notify_times=0))
    assert bridge.right("reconcile") == {"looked_at": 3, "new": 3}
    assert bridge.right("reconcile") == {"looked_at": 3, "new": 0}
    assert len(bridge.right("gaps")) == 3
    assert "waiting for a link" in bridge("gaps").out


def test_reconcile_that_fails_is_one_line(bridge: Cli, sandbox: Sandbox) -> None:
    done = bridge("reconcile", CLARIUS_API_KEY="wrong-key")
    assert done.status == 1
    assert "list exams" in done.err
    assert "wrong-key" not in done.err


def _delivered(cli: Cli, *, hours_ago: float, state: ExamState = ExamState.DELIVERED) -> tuple[Exam, Path]:
    """An exam at rest with one staged capture and sealed exam data."""

    async def make(resources: Resources) -> tuple[Exam, Path]:
        exam = await add_exam(
            resources, state=state, step=Step.CONFIRM, due_in=None, exam_data_sealed=resources.seal_text("{}")
        )
        path = resources.staging.path(exam.id, "capture-0000")
        path.write_bytes(b"bytes")
        async with resources.sessions.begin() as session:
            at = await session.scalar(select(in_seconds(-hours_ago * 3600)))
            session.add(Capture(exam_id=exam.id, index=0, already_delivered=False, bytes=5, downloaded_at=at))
            await session.execute(
                update(Exam).where(Exam.id == exam.id).values(delivered_at=at, exam_data_at=at, updated_at=at)
            )
        return exam, path

    return cli.within(make)


def test_purge_deletes_what_is_over_and_says_so(cli: Cli) -> None:
    old, old_file = _delivered(cli, hours_ago=31 * 24)
    recent, recent_file = _delivered(cli, hours_ago=25)
    _, new_file = _delivered(cli, hours_ago=1)
    _, held_file = _delivered(cli, hours_ago=31 * 24, state=ExamState.REVIEW)
    wanted = {
        "captures": 2,
        "capture_bytes": 10,
        "folders": 2,
        # not that of the one in review: a decision without data is none
        "exam_data": 1,
        "events": 0,
        "audit_events": 0,
    }
    assert cli.right("purge", "--dry-run").items() >= (wanted | {"dry_run": True}).items()
    assert old_file.exists()
    assert cli.right("purge").items() >= (wanted | {"dry_run": False}).items()
    files = old_file.exists(), recent_file.exists(), new_file.exists(), held_file.exists()
    assert files == (False, False, True, True)
    rows = [cli.within(lambda resources, one=one: reread(resources, one.id)) for one in (old, recent)]
    assert [row.exam_data_sealed is None for row in rows] == [True, False]
    assert cli.right("purge")["captures"] == 0

    async def told(resources: Resources) -> list[str | None]:
        async with resources.sessions() as session:
            found = await session.scalars(select(AuditEvent.detail).where(AuditEvent.action == "purge"))
            return list(found)

    assert "captures 2, capture_bytes 10" in (cli.within(told)[0] or "")


def test_purge_takes_an_upstreams_words_with_the_exam_data_and_where_there_never_was_any(cli: Cli) -> None:
    async def refused(resources: Resources, *, days: int, data: bool) -> Exam:
        sealed = resources.seal_text("{}")
        exam = await add_exam(
            resources,
            state=ExamState.FAILED,
            due_in=None,
            exam_data_sealed=sealed if data else None,
            upstream_words_sealed=sealed,
        )
        async with resources.sessions.begin() as session:
            at = await session.scalar(select(in_seconds(-days * 24 * 3600)))
            values = {"exam_data_at": at if data else None, "updated_at": at}
            await session.execute(update(Exam).where(Exam.id == exam.id).values(values))
        return exam

    cases = ((31, True), (31, False), (29, True), (29, False))
    exams = [
        cli.within(lambda resources, days=days, data=data: refused(resources, days=days, data=data))
        for days, data in cases
    ]
    assert cli.right("purge")["exam_data"] == 2
    rows = [cli.within(lambda resources, one=one: reread(resources, one.id)) for one in exams]
    assert [row.upstream_words_sealed is None for row in rows] == [True, True, False, False]
    assert [row.exam_data_sealed is None for row in rows] == [True, True, False, True]


def test_the_same_by_the_clock_once_an_hour(cli: Cli) -> None:
    _, file = _delivered(cli, hours_ago=48)

    async def twice(resources: Resources) -> list[bool]:
        return [await purge_when_due(resources) is not None for _ in range(2)]

    assert cli.within(twice) == [True, False]
    assert not file.exists()


def test_old_events_go(cli: Cli) -> None:
    async def age(resources: Resources) -> None:
        async with resources.sessions.begin() as session:
            await audit(session, by=By("somebody"), action="sign-in")
        async with resources.sessions.begin() as session:
            await session.execute(text("UPDATE audit_events SET at = now() - interval '8 years'"))

    cli.within(age)
    assert cli.right("purge")["audit_events"] == 1


def test_a_rotation_seals_everything_anew_and_can_be_repeated(cli: Cli) -> None:
    cli.right("org", "add", "--name", "A", "--aurabox-key-stdin", given="aura-key-0123456789")
    _delivered(cli, hours_ago=1)
    old = cli.environment["SONOBRIDGE_SECRET_KEYS"]
    new = cli("keys", "new").out.strip()
    both = f"{new},{old}"
    done = cli.right("keys", "rotate", SONOBRIDGE_SECRET_KEYS=both)
    assert done["unreadable"] == 0
    assert done["resealed"] == done["looked_at"] >= 3
    assert cli.right("keys", "rotate", SONOBRIDGE_SECRET_KEYS=both)["resealed"] == 0
    newest = Sealer([type(new_key())(new)])

    async def opens(resources: Resources) -> bytes:
        async with resources.sessions() as session:
            organization = (await session.scalars(select(Organization))).one()
        assert organization.aurabox_key_sealed is not None
        return newest.unseal(organization.aurabox_key_sealed)

    assert cli.within(opens) == b"aura-key-0123456789"


def test_a_value_that_no_key_opens_is_counted_and_left(cli: Cli) -> None:
    cli.right("org", "add", "--name", "A", "--aurabox-key-stdin", given="aura-key-0123456789")
    done = cli("keys", "rotate", "--json", SONOBRIDGE_SECRET_KEYS=Fernet.generate_key().decode())
    assert done.status == 1
    assert done.json["unreadable"] == done.json["looked_at"] > 0


def test_generated_keys_are_not_rotated_under_running_workers(cli: Cli) -> None:
    cli.environment.pop("SONOBRIDGE_SECRET_KEYS")
    cli.right("org", "add", "--name", "A", "--aurabox-key-stdin", given="aura-key-0123456789")
    keys = Path(cli.environment["SONOBRIDGE_DATA_DIR"]) / "secret-keys"
    before = keys.read_text()

    async def live(resources: Resources) -> None:
        async with resources.sessions.begin() as session:
            await beat(session, f"host:{os.getpid()}:x", "host")

    cli.within(live)
    refused = cli("keys", "rotate")
    assert (refused.status, keys.read_text()) == (1, before)
    assert "stop them" in refused.err

    async def gone(resources: Resources) -> None:
        async with resources.sessions.begin() as session:
            await session.execute(text("DELETE FROM workers"))

    cli.within(gone)
    assert cli.right("keys", "rotate")["unreadable"] == 0
    assert keys.read_text() != before
    assert len(keys.read_text().split()) == 1
    assert cli("org", "list").status == 0


def test_every_sealed_column_is_known() -> None:
    names = {f"{table.name}.{column.name}" for table, column in sealed_columns()}
    assert names >= {
        "secrets.sealed",
        "links.token_sealed",
        "exams.exam_data_sealed",
        "subjects.facts_sealed",
    }


def _checks(cli: Cli, **environment: str) -> dict[str, tuple[bool, str | None]]:
    done = cli("doctor", "--json", **environment)
    shown = done.json
    assert shown["ok"] is (done.status == 0)
    return {one["name"]: (one["ok"], one["remedy"]) for one in shown["checks"]}


def test_doctor_finds_everything_in_order(bridge: Cli, clinic: str) -> None:
    bridge.right("clarius", "register")

    async def live(resources: Resources) -> None:
        async with resources.sessions.begin() as session:
            await beat(session, resources.worker_id, resources.host)

    bridge.within(live)
    checks = _checks(bridge)
    assert set(checks) >= {
        *(
            "configuration",
            "database",
            "schema",
            "redis",
            "disk",
            "sealing keys",
            "clarius key",
            "clarius urls",
        ),
        *("clock", "aurabox of Harbour Clinic", "images of Harbour Clinic", "paused accounts", "workers"),
    }
    assert [name for name, (ok, _) in checks.items() if not ok] == []


def test_doctor_says_what_to_do_about_what_is_wrong(bridge: Cli, sandbox: Sandbox, clinic: str) -> None:
    sandbox.clarius.settings["notification_url"] = "https://elsewhere.example/"
    sandbox.team().key = "another-key"
    checks = _checks(bridge, REDIS_URL="redis://127.0.0.1:9/0")
    wrong = {name for name, (ok, _) in checks.items() if not ok}
    assert wrong == {"redis", "clarius urls", "aurabox of Harbour Clinic", "paused accounts", "workers"}
    assert all(remedy for _, (ok, remedy) in checks.items() if not ok)
    assert "WRONG workers" in bridge("doctor").out


@pytest.mark.parametrize(
    ("environment", "wrong"),
    [
        ({"SONOBRIDGE_LEASE_SECONDS": "soon"}, "configuration"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, "database"),
        ({"SONOBRIDGE_SECRET_KEYS": Fernet.generate_key().decode()}, "sealing keys"),
    ],
)
def test_doctor_goes_on_as_far_as_it_can(
    bridge: Cli, clinic: str, environment: dict[str, str], wrong: str
) -> None:
    bridge.right("org", "list")
    assert _checks(bridge, **environment)[wrong][0] is False
