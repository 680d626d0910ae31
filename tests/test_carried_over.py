"""The first schema that was in use, with rows of each kind, brought to today's: nothing is lost and nothing is guessed."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.config.settings import sqlalchemy_url
from tests.test_migrations import alembic

FIRST = "0003"
OLD = datetime(2026, 3, 1, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "text": "x",
    "uuid": uuid.UUID(int=0),
    "bytea": b"x",
    "boolean": False,
    "bigint": 0,
    "jsonb": "{}",
    "timestamp with time zone": OLD,
}


class Old:
    """A database of the first schema, filled by table and column."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def add(self, table: str, **values: Any) -> Any:
        """One row; what is neither given nor has a default is filled with something of its type."""
        async with self.engine.begin() as connection:
            columns = await connection.execute(
                text(
                    "SELECT column_name, data_type FROM information_schema.columns"
                    " WHERE table_name = :table AND is_nullable = 'NO' AND column_default IS NULL"
                ),
                {"table": table},
            )
            row = {name: PLAIN[kind] for name, kind in columns} | (
                {"id": uuid.uuid4()} if "id" in await self._columns(connection, table) else {}
            )
            row |= values
            names = ", ".join(f'"{name}"' for name in row)
            marks = ", ".join(f":{name}" for name in row)
            await connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), row)
        return row.get("id")

    async def _columns(self, connection: Any, table: str) -> set[str]:
        found = await connection.execute(
            text(
                "SELECT column_name FROM information_schema.columns WHERE table_name = :table AND data_type = 'uuid'"
            ),
            {"table": table},
        )
        return set(found.scalars())

    async def rows(self, query: str) -> list[Any]:
        """What a query finds now."""
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query))]


@pytest.fixture
async def old(empty_database_url: str) -> AsyncIterator[Old]:
    done = alembic(empty_database_url, "upgrade", FIRST)
    assert done.returncode == 0, done.stderr[-2000:]
    engine = create_async_engine(sqlalchemy_url(empty_database_url))
    try:
        yield Old(engine)
    finally:
        await engine.dispose()


async def clinic(old: Old, name: str, identity: str) -> uuid.UUID:
    made: uuid.UUID = await old.add(
        "organizations", name=name, identity=identity, masks="[]", created_at=OLD, timezone="Europe/Oslo"
    )
    return made


async def case_of(old: Old, organization: uuid.UUID, key: bytes, *, days: int = 0) -> uuid.UUID:
    made: uuid.UUID = await old.add(
        "subjects",
        organization_id=organization,
        patient_key=key,
        kind="case",
        remote_id=f"case {key.hex()}",
        created_at=OLD + timedelta(days=days),
    )
    return made


@pytest.mark.slow
async def test_subjects_are_of_the_mode_that_their_organisation_had_and_of_none_where_that_changed(
    old: Old, empty_database_url: str
) -> None:
    named = await clinic(old, "Named", "identified")
    hidden = await clinic(old, "Hidden", "deidentified")
    changed = await clinic(old, "Changed", "deidentified")
    await old.add(
        "audit_events",
        id=1,
        actor="ann",
        action="organization.change",
        subject=str(changed),
        result="done",
        detail="identity, images",
        at=OLD + timedelta(days=5),
    )
    for organization, key, days in (
        (named, b"a", 0),
        (hidden, b"b", 0),
        (changed, b"c", 0),
        (changed, b"d", 9),
    ):
        await case_of(old, organization, key, days=days)
        await old.add(
            "creates",
            organization_id=organization,
            kind="case",
            natural_key=key.hex(),
            state="done",
            remote_id=f"case {key.hex()}",
        )
    exam_uuid = uuid.uuid4()
    await old.add(
        "creates",
        organization_id=hidden,
        kind="study",
        natural_key=str(exam_uuid),
        state="sending",
        sent_at=OLD,
    )
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr[-2000:]
    modes = await old.rows("SELECT patient_key, mode FROM subjects ORDER BY patient_key")
    assert [mode for _, mode in modes] == ["identified", "pseudonymous", "unknown", "pseudonymous"]
    keys = await old.rows("SELECT natural_key FROM creates ORDER BY natural_key")
    assert [key for (key,) in keys] == sorted(
        ["identified|61", "pseudonymous|62", "unknown|63", "pseudonymous|64", f"pseudonymous|{exam_uuid}"]
    )
    policies = await old.rows(
        "SELECT o.name, p.version, p.identity, p.timezone, o.policy_version"
        " FROM policies p JOIN organizations o ON o.id = p.organization_id ORDER BY o.name"
    )
    assert policies == [
        ("Changed", 1, "deidentified", "Europe/Oslo", 1),
        ("Hidden", 1, "deidentified", "Europe/Oslo", 1),
        ("Named", 1, "identified", "Europe/Oslo", 1),
    ]


@pytest.mark.slow
async def test_exams_under_way_keep_their_filing_and_the_question_that_they_wait_with(
    old: Old, empty_database_url: str
) -> None:
    named = await clinic(old, "Named", "identified")
    other = await case_of(old, named, b"a")
    link = await old.add("links", organization_id=named, customer_hash=b"them", state="confirmed")
    asked = {"organization_id": named, "customer_hash": b"them", "exam_data_at": OLD, "step": "match"}
    conflict = json.dumps({"conflict": str(other)})
    await old.add("exams", request_uuid=uuid.UUID(int=1), state="review", identity_decision=conflict, **asked)
    decided = json.dumps({"choice": "same", "conflict": str(other), "subject": str(other)})
    await old.add("exams", request_uuid=uuid.UUID(int=2), state="queued", identity_decision=decided, **asked)
    await old.add("exams", request_uuid=uuid.UUID(int=3), state="delivered", **asked)
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr[-2000:]
    exams = await old.rows("SELECT filing, question FROM exams ORDER BY request_uuid")
    question = {"conflicts": [str(other)]}
    assert exams == [(1, question), (1, question), (None, None)]
    filings = await old.rows(
        "SELECT f.link_id, f.policy_version, f.mode, f.decided_by, f.decision ->> 'choice', f.decision ->> 'subject'"
        " FROM filings f JOIN exams e ON e.id = f.exam_id ORDER BY e.request_uuid"
    )
    assert filings == [
        (link, 1, "identified", "rules", None, None),
        (link, 1, "identified", "person", "same", str(other)),
    ]


@pytest.mark.slow
async def test_objects_of_two_submissions_become_one_that_keeps_the_furthest_they_came(
    old: Old, empty_database_url: str
) -> None:
    named = await clinic(old, "Named", "identified")
    subject = await case_of(old, named, b"a")
    study = await old.add("studies", organization_id=named, exam_uuid=uuid.uuid4(), subject_id=subject)
    shared = {"organization_id": named, "subject_id": subject, "study_id": study}
    made: dict[int, tuple[uuid.UUID, uuid.UUID]] = {}
    for number, state in ((1, "delivered"), (2, "waiting")):
        exam = await old.add("exams", request_uuid=uuid.UUID(int=number), state=state, step="send", **shared)
        capture = await old.add("captures", exam_id=exam, index=0, sha256="same bytes")
        made[number] = exam, capture
        await old.add(
            "instances",
            exam_id=exam,
            capture_id=capture,
            sop_instance_uid="2.25.1",
            stored_at=OLD if number == 1 else None,
            confirmed_at=OLD if number == 1 else None,
        )
    exam, capture = made[2]
    await old.add("instances", exam_id=exam, capture_id=capture, sop_instance_uid="2.25.2")
    await old.add("uploads", exam_id=exam, upload_id=uuid.UUID(int=9), state="started", url_sealed=b"where")
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr[-2000:]
    outbox = await old.rows(
        "SELECT sop_instance_uid, state, exam_id, upload_id FROM study_instances ORDER BY sop_instance_uid"
    )
    assert outbox == [
        ("2.25.1", "stored", made[1][0], None),
        ("2.25.2", "in_upload", made[2][0], uuid.UUID(int=9)),
    ]
    linked = await old.rows(
        "SELECT c.capture_id, i.sop_instance_uid FROM capture_instances c"
        " JOIN study_instances i ON i.id = c.instance_id"
    )
    assert set(linked) == {(made[1][1], "2.25.1"), (made[2][1], "2.25.1"), (made[2][1], "2.25.2")}
    uploads = await old.rows("SELECT upload_id, study_id, exam_id, state, url_sealed FROM study_uploads")
    assert uploads == [(uuid.UUID(int=9), study, exam, "started", b"where")]


@pytest.mark.slow
async def test_a_bundle_is_told_by_its_source_and_not_by_a_missing_address(
    old: Old, empty_database_url: str
) -> None:
    clinics = {
        source: await old.add(
            "organizations",
            name=source,
            identity="identified",
            source=source,
            masks="[]",
            timezone="Europe/Oslo",
        )
        for source in ("clarius-dicom", "captures")
    }

    async def capture(source: str, number: int, index: int = 0, **values: Any) -> uuid.UUID:
        exam = await old.add(
            "exams",
            request_uuid=uuid.UUID(int=number),
            organization_id=clinics[source],
            state="waiting",
            exam_data_at=OLD,
        )
        made: uuid.UUID = await old.add("captures", exam_id=exam, index=index, **values)
        return made

    bundle = await capture("clarius-dicom", 1)
    # begun when the organisation took captures, without an address for one, and after a purge
    await capture("clarius-dicom", 2, url_sealed=b"where")
    await capture("clarius-dicom", 3, problem_code="capture_without_url")
    await capture("captures", 4)
    done = alembic(empty_database_url, "upgrade", "head")
    assert done.returncode == 0, done.stderr[-2000:]
    assert await old.rows("SELECT id FROM captures WHERE bundle") == [(bundle,)]
