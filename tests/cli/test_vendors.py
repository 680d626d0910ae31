"""`clarius …` and `aurabox …`: each call that a person can make by command has its effect at the vendor (C1–C19, A1–A15)."""

import hashlib
import json
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select

from app.resources import Resources
from app.store.audit import AuditEvent
from app.store.upstreams import upstream
from sandbox.server import Sandbox, SandboxThread
from tests.cli.conftest import Cli


def test_urls_are_shown_changed_and_registered(bridge: Cli, sandbox: Sandbox) -> None:
    other = "https://elsewhere.example/hook"
    assert bridge.right("clarius", "settings", "--notification-url", other)["notification_url"] == other
    assert sandbox.clarius.settings["notification_url"] == other
    done = bridge.right("clarius", "register", SONOBRIDGE_WEBHOOK_SECRET="s3cret-part-of-the-path")
    assert done["matches"] is True
    assert sandbox.clarius.settings == {
        "notification_url": "http://127.0.0.1:8000/webhooks/clarius/s3cret-part-of-the-path",
        "token_transfer_url": "http://127.0.0.1:8000/connect/clarius/{token}",
    }
    assert "s3cret" not in json.dumps(done), "who knows the path can post notifications"
    assert "s3cret" not in bridge("clarius", "settings").out


def test_a_refused_url_tells_why(bridge: Cli) -> None:
    done = bridge("clarius", "settings", "--token-transfer-url", "https://elsewhere.example/")
    assert done.status == 1
    assert "{token}" in done.err


def test_exams_records_and_tokens(bridge: Cli, vendors: SandboxThread, sandbox: Sandbox) -> None:
    sandbox.clarius.settings["notification_url"] = "http://127.0.0.1:9/webhooks/clarius"
    token = sandbox.add_customer(confirmed=True)
    submitted = vendors.run(sandbox.submit_exam(customer=token, captures=[]))
    listed = bridge("clarius", "exams", "--customer", token, "--json")
    assert [one["request_uuid"] for one in listed.json] == [submitted.request_uuid]
    assert token not in listed.out
    records = bridge.right("clarius", "records")
    assert [(one["request_uuid"], one["known"]) for one in records] == [(submitted.request_uuid, False)]
    tokens = bridge("clarius", "tokens", "--json")
    assert [(one["customer_hint"], one["difference"]) for one in tokens.json] == [(token[-4:], "no_link")]
    assert token not in tokens.out


def test_keys_are_made_revoked_and_rotated(bridge: Cli, sandbox: Sandbox) -> None:
    made = bridge.right("clarius", "keys", "create", "second site")
    assert sandbox.clarius.keys[made["prefix"]].key == made["key"]
    bridge.right("clarius", "keys", "revoke", made["prefix"])
    assert made["prefix"] not in sandbox.clarius.keys
    before = bridge.right("clarius", "keys", "list")
    assert [one["in_use"] for one in before] == [True]
    rotated = bridge.right("clarius", "keys", "rotate")
    assert rotated["revoked"] == before[0]["prefix"]
    assert set(sandbox.clarius.keys) == {rotated["prefix"]}
    # the environment still names the old key: the stored one is used
    assert [one["prefix"] for one in bridge.right("clarius", "keys", "list")] == [rotated["prefix"]]


def test_annotations_of_an_application(bridge: Cli, sandbox: Sandbox, tmp_path: Path) -> None:
    application = bridge.right("clarius", "applications", "list")[0]["uuid"]
    file = tmp_path / "annotations.json"
    file.write_text('[{"title": "Liver", "labels": ["normal", "fatty"], "linked": false}]')
    bridge.right("clarius", "applications", "set", application, str(file))
    assert sandbox.clarius.customised[application][0]["labels"] == ["normal", "fatty"]
    assert bridge.right("clarius", "applications", "show", application)["annotations"][0]["title"] == "Liver"
    assert [one["uuid"] for one in bridge.right("clarius", "applications", "customised")] == [application]
    bridge.right("clarius", "applications", "remove", application)
    assert bridge("clarius", "applications", "show", application).status == 1
    file.write_text('{"annotations": [{"labels": 3}]}')
    assert "must be JSON" in bridge.wrong("clarius", "applications", "set", application, str(file))


def test_a_report_of_ones_own(bridge: Cli, vendors: SandboxThread, sandbox: Sandbox, tmp_path: Path) -> None:
    submitted = vendors.run(sandbox.submit_exam(customer=sandbox.add_customer(), captures=[], notify_times=0))
    file = tmp_path / "findings.pdf"
    file.write_bytes(b"%PDF-1.4 invented")
    asked = ("clarius", "report", submitted.request_uuid, str(file), "--name", "Findings")
    assert "no exam with this request UUID" in bridge.wrong(*asked), "only onto exams that we carry"
    bridge.right("exam", "import", submitted.request_uuid)
    bridge.right(*asked)
    assert [(one.name, one.content) for one in sandbox.clarius.reports] == [
        ("Findings", b"%PDF-1.4 invented")
    ]


def test_research_calls(bridge: Cli, vendors: SandboxThread, sandbox: Sandbox, tmp_path: Path) -> None:
    submitted = vendors.run(
        sandbox.submit_exam(
            customer=sandbox.add_customer(), captures=["jpeg"], notify_times=0, busy_answers=1
        )
    )
    assert bridge.right("clarius", "research", "login") == {"ok": True}
    out = tmp_path / "raw"
    busy = bridge("clarius", "research", "rawdata", submitted.exam_uuid, "--out", str(out))
    assert busy.status == 1
    assert "still processing" in busy.err
    files = bridge.right("clarius", "research", "rawdata", submitted.exam_uuid, "--out", str(out))["files"]
    assert [Path(one).stat().st_size > 0 for one in files] == [True]
    assert json.loads(Path(files[0]).with_suffix(".json").read_text())
    export = tmp_path / "exam.zip"
    done = bridge.right(
        *("clarius", "research", "dicom", submitted.exam_uuid, "--out", str(export)),
        *("--syntax", "jpeg-ls", "--resolution", "640x480", "--demographic", "PATIENT_ID"),
    )
    assert done["sha256"] == hashlib.sha256(export.read_bytes()).hexdigest()
    assert "there is no NAME" in bridge.wrong(
        "clarius", "research", "dicom", "1", "--out", str(export), "--demographic", "NAME"
    )


def test_a_mistyped_research_password_pauses_nobody(bridge: Cli) -> None:
    done = bridge("clarius", "research", "login", "--password-stdin", given="mistyped")
    assert done.status == 1
    assert "refused the name or the password" in done.err

    async def paused(resources: Resources) -> bool:
        async with resources.sessions() as session:
            known = await upstream(session, "clarius-research")
        return known is not None and known.refused_since is not None

    assert not bridge.within(paused)


def test_patients_cases_and_studies(bridge: Cli, clinic: str, sandbox: Sandbox) -> None:
    org = ("--org", clinic)
    team = sandbox.team()
    said = (
        "--given-names",
        "Ada",
        "--family-name",
        "Ashgrove",
        "--date-of-birth",
        "1970-01-31",
        "--sex",
        "female",
    )
    patient = bridge.right("aurabox", "patients", "create", *org, *said, "--country", "AU")["id"]
    assert team.people[patient].fields["date_of_birth"] == "1970-01-31"
    bridge.right("aurabox", "patients", "update", patient, *org, "--sex", "other")
    assert bridge.right("aurabox", "patients", "get", patient, *org)["sex"] == "other"
    assert [one["id"] for one in bridge.right("aurabox", "patients", "list", *org, "--search", "ash")] == [
        patient
    ]
    case = bridge.right("aurabox", "cases", "create", *org, "--label", "Case 17")["id"]
    bridge.right("aurabox", "cases", "update", case, *org, "--label", "Case 18")
    assert bridge.right("aurabox", "cases", "get", case, *org)["label"] == "Case 18"
    assert len(bridge.right("aurabox", "cases", "list", *org, "--sort", "label", "--descending")) == 1
    under = (*org, "--patient", case)
    study = bridge.right(
        "aurabox",
        "studies",
        "create",
        *under,
        "--field",
        "description=Liver",
        "--field",
        "number_of_images:=3",
    )["id"]
    assert team.people[case].studies[study].fields == {"description": "Liver", "number_of_images": 3}
    bridge.right("aurabox", "studies", "update", study, *under, "--field", "description=Kidney")
    assert bridge.right("aurabox", "studies", "get", study, *under)["description"] == "Kidney"
    assert [one["id"] for one in bridge.right("aurabox", "studies", "list", *under)] == [study]
    bridge.right("aurabox", "studies", "delete", study, *under)
    bridge.right("aurabox", "cases", "delete", case, *org)
    bridge.right("aurabox", "patients", "delete", patient, *org)
    assert team.people == {}

    async def audited(resources: Resources) -> list[tuple[str, str | None]]:
        async with resources.sessions() as session:
            rows = await session.execute(
                select(AuditEvent.action, AuditEvent.subject)
                .where(AuditEvent.action.like("aurabox.patient.%"))
                .order_by(AuditEvent.id)
            )
            return [(row[0], row[1]) for row in rows]

    assert bridge.within(audited) == [
        ("aurabox.patient.create", None),
        ("aurabox.patient.update", patient),
        ("aurabox.patient.get", patient),
        ("aurabox.patient.list", None),
        ("aurabox.patient.delete", patient),
    ]


def test_what_aurabox_refuses_is_said_field_by_field(bridge: Cli, clinic: str) -> None:
    done = bridge("aurabox", "patients", "create", "--org", clinic, "--given-names", "Ada")
    assert done.status == 1
    assert "family_name" in done.err
    missing = bridge("aurabox", "patients", "get", str(uuid4()), "--org", clinic)
    assert missing.status == 1
    assert missing.err.count("\n") == 1
