"""The outbox takes over what the version before had recorded: nothing of it is sent again, nothing is lost."""

import uuid

import asyncpg
import pytest

from app.config.settings import asyncpg_dsn
from tests.test_migrations import alembic

BEFORE = "0010"
ORGANIZATION, SUBJECT, STUDY, FIRST, SECOND = (uuid.UUID(int=number) for number in range(1, 6))
UPLOAD = uuid.UUID(int=77)


def capture_of(exam: uuid.UUID, number: int) -> uuid.UUID:
    return uuid.UUID(int=exam.int * 100 + number)


async def _fill(connection: asyncpg.Connection) -> None:
    """Two submissions of one study: the first has two images, one seen and one in an upload; the second the same and
    one more, which is only planned.
    """
    await connection.execute(
        "INSERT INTO organizations (id, name, pseudonym_key_sealed, identity, incomplete, animals, match_existing,"
        " keep_birth_date, source, images, video, burned_in, masks, report, timezone)"
        " VALUES ($1, 'Clinic', 'k', 'identified', 'case', 'case', 'exact', false, 'captures', 'dicomweb', 'cine',"
        " 'no', '[]', false, 'UTC')",
        ORGANIZATION,
    )
    await connection.execute(
        "INSERT INTO subjects (id, organization_id, patient_key, kind, remote_id, facts_sealed, adopted)"
        " VALUES ($1, $2, 'k', 'patient', 'p', 'f', false)",
        SUBJECT,
        ORGANIZATION,
    )
    await connection.execute(
        "INSERT INTO studies (id, organization_id, exam_uuid, subject_id, remote_id, study_instance_uid,"
        " accession_number, adopted) VALUES ($1, $2, $1, $3, 's', '2.25.1', 'A', false)",
        STUDY,
        ORGANIZATION,
        SUBJECT,
    )
    for exam, state, seen in ((FIRST, "failed", 1), (SECOND, "queued", None)):
        await connection.execute(
            "INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, organization_id, study_id,"
            " seen_count, submitted_at) VALUES ($1, $1, $2, 'webhook', $3, 'send', $4, $2, $5, $6)",
            *(exam, STUDY, state, ORGANIZATION, seen),
            *(await connection.fetchrow("SELECT now() - $1 * interval '1 hour'", 10 - exam.int)),
        )
    made = [
        *((FIRST, 1, "now()", "now()"), (FIRST, 2, "NULL", "NULL")),
        *((SECOND, 2, "NULL", "NULL"), (SECOND, 3, "NULL", "NULL")),
    ]
    await _captures(connection, [(exam, number) for exam, number, _, _ in made] + [(SECOND, 1)])
    for exam, number, stored, confirmed in made:
        await connection.execute(
            "INSERT INTO instances (id, exam_id, capture_id, sop_class_uid, sop_instance_uid, series_uid,"
            f" transfer_syntax, frames, bytes, sha256, stored_at, confirmed_at) VALUES (gen_random_uuid(), $1, $2,"
            f" '1.2', $3, '1.3', '1.4', 1, 9, 'x', {stored}, {confirmed})",
            *(exam, capture_of(exam, number), f"2.25.{number}"),
        )
    await connection.execute(
        "INSERT INTO uploads (exam_id, upload_id, state, bytes, sha256) VALUES ($1, $2, 'sent', 7, 'abc')",
        *(FIRST, UPLOAD),
    )
    await connection.execute(
        "INSERT INTO study_contents (study_id, sha256, sop_instance_uid, exam_id) VALUES ($1, 'sha-1', '2.25.1', $2)",
        *(STUDY, FIRST),
    )


async def _captures(connection: asyncpg.Connection, which: list[tuple[uuid.UUID, int]]) -> None:
    for exam, number in which:
        await connection.execute(
            'INSERT INTO captures (id, exam_id, "index", sha256, already_delivered) VALUES ($1, $2, $3, $4, $5)',
            *(capture_of(exam, number), exam, number, f"sha-{number}", (exam, number) == (SECOND, 1)),
        )


@pytest.mark.slow
async def test_what_was_recorded_before_is_carried_over(empty_database_url: str) -> None:
    assert alembic(empty_database_url, "upgrade", BEFORE).returncode == 0
    connection = await asyncpg.connect(asyncpg_dsn(empty_database_url))
    try:
        await _fill(connection)
        done = alembic(empty_database_url, "upgrade", "head")
        assert done.returncode == 0, done.stderr[-2000:]
        rows = await connection.fetch(
            "SELECT sop_instance_uid, state, exam_id, upload_id FROM study_instances ORDER BY 1"
        )
        assert [tuple(row) for row in rows] == [
            ("2.25.1", "seen", FIRST, None),
            ("2.25.2", "in_upload", FIRST, UPLOAD),
            ("2.25.3", "planned", SECOND, None),
        ]
        (upload,) = await connection.fetch(
            "SELECT study_id, exam_id, state, bytes, sha256 FROM study_uploads"
        )
        assert tuple(upload) == (STUDY, FIRST, "sent", 7, "abc")
        links = await connection.fetch(
            "SELECT c.exam_id, i.sop_instance_uid FROM capture_instances l JOIN captures c ON c.id = l.capture_id"
            " JOIN study_instances i ON i.id = l.instance_id ORDER BY 1, 2"
        )
        # what the first submission had delivered stands for the second one's capture of the same bytes too
        assert [tuple(row) for row in links] == [
            *((FIRST, f"2.25.{number}") for number in (1, 2)),
            *((SECOND, f"2.25.{number}") for number in (1, 2, 3)),
        ]
        (at,) = await connection.fetch(
            "SELECT studied_at = (SELECT min(submitted_at) FROM exams) FROM studies"
        )
        assert at[0] is True
    finally:
        await connection.close()
