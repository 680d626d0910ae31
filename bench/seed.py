"""Fills the tables that grow as an installation of a given age has them; measures nothing.

A day brings a thousand exams, whatever the size: more exams are more years. What is under way, what came within a day and
what is due to be deleted is the same then, and only history is longer.
"""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from app.config.settings import asyncpg_dsn
from app.resources import Resources
from app.states import UNDER_WAY as UNDER_WAY_STATES
from app.states import ExamState, LinkState, Reason, Source, Step
from app.store.base import Base
from app.store.exam_waiting import EXPIRED
from app.store.links import Link
from app.store.organizations import Organization
from app.store.workers import Worker

A_DAY = 1000
ORGANIZATIONS, LINKED = 12, 400
HOST = "host-a"
# every second one of the newest is under way
NEWEST = 3400
DUE, RUNNING, ASLEEP = 300, 100, 500
# what the hourly purge finds: exam data, files, and lines of history
TO_PURGE, LINES_TO_PURGE = 40, 100
PURGED_FROM = 2 * NEWEST
DATA_DAYS = 30
SEALED = 400
LINES_A_PIECE = 5000
EXAM_COLUMNS = [
    "id",
    "request_uuid",
    "exam_uuid",
    "source",
    "state",
    "step",
    "reason",
    "verified_at",
    "customer_hash",
    "download_url",
    "organization_id",
    "exam_data_sealed",
    "exam_data_at",
    "filing",
    "staging_host",
    "due_at",
    "lease_owner",
    "lease_until",
    "error_code",
    "received_at",
    "delivered_at",
    "sent_count",
    "seen_count",
    "updated_at",
]
SECONDS = 300
SESSION = (
    "SET session_replication_role = replica; SET synchronous_commit = off; SET maintenance_work_mem = '256MB'"
)


@dataclass(frozen=True)
class Seeded:
    """How many exams there are; every other thing follows from an exam's age in exams: the newest has none."""

    exams: int
    organizations: list[uuid.UUID]
    at: float

    def received(self, age: int) -> datetime:
        """When the exam came in."""
        return datetime.fromtimestamp(self.at - age * 86400 / A_DAY, UTC)

    def exam(self, age: int) -> uuid.UUID:
        """Its id, which begins with the time as the application's do."""
        return _ordered(self.received(age), age)

    def request(self, age: int) -> uuid.UUID:
        """Its request UUID: Clarius chooses them at random."""
        return _scattered(age, 1)

    def is_lively(self, age: int) -> bool:
        """Whether something is still to be done about it."""
        return age < 2 * NEWEST and age % 2 == 0

    def organization(self, age: int) -> uuid.UUID:
        """Whose it is: half of all are those of the first organisation, and the last has one in thousands."""
        number = min((age % 4096 + 1).bit_length(), ORGANIZATIONS)
        return self.organizations[ORGANIZATIONS - number]


def customer(number: int) -> bytes:
    """The hash of a clinician's customer; the first ones are linked."""
    return _scattered(number, 2).bytes * 2


async def seed(resources: Resources, exams: int) -> Seeded:
    """Empty the tables and fill them; for two million exams that takes a minute and a half."""
    seeded = Seeded(exams, [uuid.uuid4() for _ in range(ORGANIZATIONS)], time.time())
    connection = await asyncpg.connect(asyncpg_dsn(resources.settings.database_url))
    try:
        await connection.execute(SESSION)
        await connection.execute("TRUNCATE organizations, exams, runs, workers RESTART IDENTITY CASCADE")
        async with resources.sessions.begin() as session:
            for some in _few(seeded):
                session.add_all(some)
                await session.flush()
        async with _without_indexes(connection, "exams"):
            await connection.copy_to_table(
                "exams", source=_lines(seeded), columns=EXAM_COLUMNS, timeout=SECONDS
            )
        async with asyncio.TaskGroup() as group:
            for table in REST:
                group.create_task(_rest(resources, table))
        await connection.execute("VACUUM ANALYZE", timeout=SECONDS)
        await connection.execute("CHECKPOINT", timeout=SECONDS)
    finally:
        await connection.close()
    return seeded


def _few(seeded: Seeded) -> list[list[Base]]:
    """Organisations, the clinicians' links, and the worker."""
    organizations: list[Base] = [
        Organization(id=one, name=f"Clinic {number}", pseudonym_key_sealed=b"k")
        for number, one in enumerate(seeded.organizations)
    ]
    links: list[Base] = [
        Link(
            organization_id=seeded.organizations[number % ORGANIZATIONS],
            token_sealed=b"t",
            customer_hash=customer(number),
            customer_hint="hint",
            state=LinkState.CONFIRMED,
        )
        for number in range(LINKED)
    ]
    return [organizations, links, [Worker(id=f"{HOST}:1:0", host=HOST)]]


async def _rest(resources: Resources, table: str) -> None:
    """What follows from the exams, on a connection of its own."""
    connection = await asyncpg.connect(asyncpg_dsn(resources.settings.database_url))
    try:
        await connection.execute(SESSION)
        async with _without_indexes(connection, table):
            await connection.execute(REST[table], timeout=SECONDS)
    finally:
        await connection.close()


@asynccontextmanager
async def _without_indexes(connection: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """The indexes of a table are made again once it is filled: row by row they would cost several times as much."""
    indexes = await connection.fetch(
        """
        SELECT coalesce('ALTER TABLE ' || i.indrelid::regclass || ' DROP CONSTRAINT ' || c.conname,
                'DROP INDEX ' || i.indexrelid::regclass) AS drop,
            coalesce('ALTER TABLE ' || i.indrelid::regclass || ' ADD CONSTRAINT ' || c.conname || ' '
                || pg_get_constraintdef(c.oid), pg_get_indexdef(i.indexrelid)) AS make
        FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
        WHERE i.indrelid = $1::text::regclass AND NOT i.indisprimary
        """,
        table,
    )
    for index in indexes:
        await connection.execute(index["drop"])
    yield
    for index in indexes:
        await connection.execute(index["make"], timeout=SECONDS)


async def _lines(seeded: Seeded) -> AsyncIterator[bytes]:
    """Exams as COPY reads them, the oldest first."""
    for oldest in range(seeded.exams - 1, -1, -LINES_A_PIECE):
        ages = range(oldest, max(oldest - LINES_A_PIECE, -1), -1)
        yield "".join("\t".join(_exam(seeded, age)) + "\n" for age in ages).encode()


def _exam(seeded: Seeded, age: int) -> list[str]:
    came = seeded.received(age)
    known = {
        "id": seeded.exam(age),
        "request_uuid": seeded.request(age),
        "exam_uuid": _scattered(age, 3),
        "source": Source.WEBHOOK,
        "received_at": came,
        "updated_at": came + timedelta(seconds=60),
        "verified_at": came + timedelta(seconds=1),
        "customer_hash": customer(age % LINKED),
        "organization_id": seeded.organization(age),
        "download_url": f"https://cloud.example/download-requests/{age}/data/",
    }
    known |= _lively(seeded, age, came) if seeded.is_lively(age) else _done(age, came)
    return [_text(known.get(name)) for name in EXAM_COLUMNS]


UNVERIFIED = {"verified_at": None, "customer_hash": None, "organization_id": None, "download_url": None}


def _lively(seeded: Seeded, age: int, came: datetime) -> dict[str, object]:
    """The first are due, then some run (one in ten of their workers died), some wait for a while, most for a link."""
    place, at = age // 2, seeded.received(0)
    if place < DUE:
        return {"state": ExamState.QUEUED, "step": list(Step)[place % 8], "due_at": came}
    if place < DUE + RUNNING:
        until = at + timedelta(days=-1 if place % 10 == 0 else 1)
        lease = {"lease_owner": f"{HOST}:1:0", "lease_until": until, "staging_host": HOST}
        return {"state": ExamState.RUNNING, "step": Step.SEND, "due_at": came, **lease}
    if place < DUE + RUNNING + ASLEEP:
        reason = (Reason.RETRY, Reason.PAUSED, Reason.SETTLING)[place % 3]
        return {
            "state": ExamState.WAITING,
            "step": Step.MATCH,
            "reason": reason,
            "due_at": at + timedelta(days=1),
        }
    return {"state": ExamState.WAITING, "step": Step.VERIFY, "reason": Reason.LINK, **UNVERIFIED}


def _done(age: int, came: datetime) -> dict[str, object]:
    """Ninety-seven in a hundred are delivered."""
    percent = age * 7919 % 1000 / 10
    if percent >= 97:
        return _not_delivered(percent)
    found: dict[str, object] = {
        "state": ExamState.DELIVERED,
        "step": Step.REPORT if age % 3 == 0 else Step.CONFIRM,
        "delivered_at": came + timedelta(seconds=30 + age % 60),
        "filing": 1,
        "sent_count": 1,
        "seen_count": 1,
    }
    purged = PURGED_FROM <= age < PURGED_FROM + TO_PURGE
    if age < DATA_DAYS * A_DAY or purged:
        read = came - timedelta(days=DATA_DAYS + 1) if purged else came
        found |= {"exam_data_sealed": random.randbytes(SEALED), "exam_data_at": read}
    return found


def _not_delivered(percent: float) -> dict[str, object]:
    if percent < 98:
        return {"state": ExamState.CANCELLED, "step": Step.MATCH}
    if percent < 99:
        return {"state": ExamState.UNVERIFIED, "step": Step.VERIFY, "error_code": EXPIRED, **UNVERIFIED}
    if percent < 99.5:
        return {"state": ExamState.GONE, "step": Step.FETCH}
    state = ExamState.FAILED if percent < 99.8 else ExamState.REVIEW
    return {"state": state, "step": Step.STUDY, "error_code": "not_understood"}


LIVELY = ", ".join(f"'{state}'" for state in UNDER_WAY_STATES)
REST = {
    "claims": """
        INSERT INTO claims (id, exam_id, customer_hash, exam_uuid, download_url, received_at, ended_at)
        -- who is linked to nobody is one of 256
        SELECT id, id, coalesce(customer_hash, sha256(left(request_uuid::text, 2)::bytea)), exam_uuid,
            'https://cloud.example/download-requests/1/data/', received_at, verified_at
        FROM exams""",
    "exam_events": f"""
        INSERT INTO exam_events (exam_id, at, step, event)
        SELECT id, CASE WHEN number <= {LINES_TO_PURGE} THEN 'epoch' ELSE received_at END, step, event
        FROM (SELECT *, row_number() OVER (ORDER BY received_at) AS number FROM exams) AS exam,
            (VALUES ('verify', 'received'), ('match', 'running'), ('confirm', 'delivered')) AS line (at, event)""",
    "captures": f"""
        INSERT INTO captures (id, exam_id, index, already_delivered, kind, bytes, downloaded_at, purged_at)
        SELECT gen_random_uuid(), id, 0, false, 'jpeg', 48000, received_at,
            CASE WHEN received_at < now() - interval '1 day' AND number NOT BETWEEN {PURGED_FROM + 1}
                AND {PURGED_FROM + TO_PURGE} THEN received_at + interval '1 day' END
        FROM (SELECT *, row_number() OVER (ORDER BY received_at DESC) AS number FROM exams) AS exam
        WHERE state NOT IN ({LIVELY})""",
}


def _text(value: object) -> str:
    """A value as COPY reads it."""
    if value is None:
        return "\\N"
    return "\\\\x" + value.hex() if isinstance(value, bytes) else str(value)


def _ordered(at: datetime, number: int) -> uuid.UUID:
    bits = int(at.timestamp() * 1000) << 80 | _scattered(number, 5).int >> 48
    bits = bits & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=bits & ~(0b11 << 62) | 0b10 << 62)


def _scattered(number: int, kind: int) -> uuid.UUID:
    """The same UUID for the same numbers, and no order among them."""
    return uuid.UUID(
        int=((number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 * (2 * kind + 1) + kind) % (1 << 128)
    )
