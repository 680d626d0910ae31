"""A database as a busy installation has it: thousands of rows of every kind, most of them done with.

Rows are made of the models' own defaults, so that a new column needs a line here only when it has none.
"""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import asyncpg
from sqlalchemy import Table

from app.config.settings import asyncpg_dsn
from app.states import ExamState, LinkState, Reason, Source, Step
from app.store.alerts import Alert
from app.store.audit import AuditEvent
from app.store.base import Base
from app.store.browser_sessions import BrowserSession
from app.store.captures import Capture
from app.store.claims import Claim
from app.store.creates import Create, CreateState
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.store.filings import Filing
from app.store.instances import CaptureInstance, Instance, InstanceState
from app.store.links import Link
from app.store.oidc_attempts import OidcAttempt
from app.store.one_time_links import OneTimeLink, OneTimeLinkKind, hash_token
from app.store.organizations import Organization, Policy
from app.store.pending_connects import PendingConnect
from app.store.process_metrics import ProcessMetrics
from app.store.runs import Run
from app.store.secrets import Secret
from app.store.studies import Study
from app.store.subjects import Mode, Subject, SubjectKind
from app.store.throttles import Throttle
from app.store.tokens import AdminToken, Scope
from app.store.uploads import Upload, UploadState
from app.store.upstreams import Upstream
from app.store.users import User
from app.store.workers import Worker

MANY = 6000
SOME = 2000
FEW = 100
HOST = "host-a"

OLD = datetime(2025, 1, 1, tzinfo=UTC)
NOW = datetime.now(UTC)
LATER = NOW + timedelta(hours=8)
LEASED = {"lease_owner": "host-a:1:0", "lease_until": LATER}

LIVELY: tuple[dict[str, Any], ...] = (
    {"state": ExamState.QUEUED, "step": Step.FETCH, "due_at": OLD},
    {"state": ExamState.QUEUED, "step": Step.VERIFY, "due_at": OLD, "verified_at": None},
    {"state": ExamState.WAITING, "step": Step.MATCH, "reason": Reason.PAUSED, "staging_host": HOST},
    {"state": ExamState.WAITING, "step": Step.VERIFY, "reason": Reason.LINK, "verified_at": None},
    {"state": ExamState.RUNNING, "step": Step.SEND, "due_at": OLD, "sent_count": 1, **LEASED},
    {"state": ExamState.RUNNING, "step": Step.SEND, **LEASED, "due_at": OLD, "lease_until": OLD},
    {"state": ExamState.DELIVERED, "step": Step.REPORT, "due_at": OLD},
    {"state": ExamState.FAILED, "step": Step.STUDY, "exam_data_sealed": b"d", "exam_data_at": OLD},
)
"""Exams that something is still to be done about: of each kind one in a hundred, all others are delivered."""


@dataclass(frozen=True)
class Filled:
    """Ids of what lies in the database. Row `n` of one table belongs to row `n` of the others."""

    organizations: list[uuid.UUID]
    exams: list[uuid.UUID]
    users: list[uuid.UUID]
    subjects: list[uuid.UUID]
    studies: list[uuid.UUID]
    links: list[uuid.UUID]

    def hash(self, number: int) -> bytes:
        """The hash of customer, identifier, cookie, key … `number`."""
        return number.to_bytes(32)

    def exam_like(self, lively: int) -> uuid.UUID:
        """An exam of this kind in LIVELY."""
        return self.exams[lively]


async def fill(database_url: str) -> Filled:
    """Fill an empty database."""
    connection = await asyncpg.connect(asyncpg_dsn(database_url))
    try:
        return await _Filling(connection).all()
    finally:
        await connection.close()


class _Filling:
    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def all(self) -> Filled:
        made = Filled(
            organizations=_ids(FEW),
            exams=_ids(MANY),
            users=_ids(SOME),
            subjects=_ids(SOME),
            studies=_ids(SOME),
            links=_ids(SOME),
        )
        await self._accounts(made)
        await self._exams(made)
        await self._operations()
        await self._connection.execute("VACUUM ANALYZE")
        return made

    async def _copy(self, model: type[Base], number: int, row: Callable[[int], dict[str, Any]]) -> None:
        table = model.__table__
        assert isinstance(table, Table)
        rows = [{**_defaults(table), **row(one)} for one in range(number)]
        names = list(dict.fromkeys(name for one in rows for name in one))
        await self._connection.copy_records_to_table(
            table.name, columns=names, records=[[_plain(one.get(name)) for name in names] for one in rows]
        )

    async def _accounts(self, made: Filled) -> None:
        organization = _in_turn(made.organizations)
        await self._copy(
            Organization,
            FEW,
            lambda n: {"id": made.organizations[n], "name": f"Clinic {n}", "pseudonym_key_sealed": b"k"},
        )
        await self._copy(
            Policy,
            FEW,
            lambda n: {"organization_id": made.organizations[n], "version": 1, "created_by": "test"},
        )
        await self._copy(
            User,
            SOME,
            lambda n: {
                "id": made.users[n],
                "organization_id": next(organization),
                "email": f"User{n}@x.example",
            },
        )
        await self._copy(
            Link,
            SOME,
            lambda n: {
                "id": made.links[n],
                "organization_id": next(organization),
                "token_sealed": b"t",
                "customer_hash": made.hash(n),
                "customer_hint": "hint",
                "state": (LinkState.PENDING, LinkState.DISCONNECTED, *[LinkState.CONFIRMED] * 8)[n % 10],
                "due_at": OLD if n % 10 == 0 else None,
            },
        )
        token = {"token_hash": b"", "expires_at": LATER}
        await self._copy(
            BrowserSession,
            SOME,
            lambda n: token | {"user_id": made.users[n], "token_hash": made.hash(n), "last_seen_at": NOW},
        )
        await self._copy(
            OneTimeLink,
            SOME,
            lambda n: (
                token
                | {"user_id": made.users[n], "token_hash": hash_token(str(n)), "kind": OneTimeLinkKind.RESET}
            ),
        )
        await self._copy(
            PendingConnect,
            SOME,
            lambda n: {
                "browser_hash": made.hash(n),
                "token_sealed": b"t",
                "customer_hash": made.hash(n),
                "customer_hint": "hint",
                "expires_at": LATER,
            },
        )
        await self._copy(
            OidcAttempt,
            SOME,
            lambda n: {
                "state_hash": made.hash(n),
                "browser_hash": made.hash(n),
                "nonce": "n",
                "verifier_sealed": b"v",
            },
        )
        await self._copy(Throttle, SOME, lambda n: {"key_hash": made.hash(n), "attempts": 1, "last_at": NOW})
        await self._copy(
            AdminToken,
            FEW,
            lambda n: {
                "name": f"token {n}",
                "scope": Scope.READ,
                "token_hash": made.hash(n),
                "hint": "hint",
                "created_by": "x",
            },
        )

    async def _exams(self, made: Filled) -> None:
        organization = _in_turn(made.organizations)
        await self._copy(
            Subject,
            SOME,
            lambda n: {
                "id": made.subjects[n],
                "organization_id": made.organizations[n % FEW],
                "patient_key": made.hash(n),
                "identifier_hash": made.hash(n),
                "kind": SubjectKind.PATIENT,
                "remote_id": f"patient {n}",
                "facts_sealed": b"f",
            },
        )
        await self._copy(
            Study,
            SOME,
            lambda n: {
                "id": made.studies[n],
                "organization_id": made.organizations[n % FEW],
                "exam_uuid": made.exams[n],
                "subject_id": made.subjects[n],
                "remote_id": f"study {n}",
                "study_instance_uid": f"2.25.{n}",
                "accession_number": f"A{n}",
            },
        )
        await self._copy(
            Exam,
            MANY,
            lambda n: {
                "id": made.exams[n],
                "request_uuid": made.exams[n],
                "exam_uuid": made.exams[n],
                "source": Source.WEBHOOK,
                "state": ExamState.DELIVERED,
                "step": Step.CONFIRM,
                "organization_id": next(organization),
                "verified_at": OLD,
                "customer_hash": made.hash(n),
                "subject_id": made.subjects[n % SOME],
                "study_id": made.studies[n % SOME],
                "received_at": NOW - timedelta(minutes=n),
                "delivered_at": NOW - timedelta(minutes=n),
                **(LIVELY[n % 100] if n % 100 < len(LIVELY) else {}),
            },
        )
        await self._copy(
            Filing,
            MANY,
            lambda n: {
                "exam_id": made.exams[n],
                "number": 1,
                "organization_id": made.organizations[n % FEW],
                "policy_version": 1,
                "mode": Mode.IDENTIFIED,
            },
        )
        await self._copy(
            Claim,
            MANY,
            lambda n: {
                "exam_id": made.exams[n],
                "customer_hash": made.hash(n),
                "exam_uuid": made.exams[n],
                "download_url": "https://clarius.example/data/",
                "ended_at": None if n % 100 < len(LIVELY) else OLD,
            },
        )
        captures, instances = _ids(MANY), _ids(MANY)
        await self._copy(
            Capture,
            MANY,
            lambda n: {
                "id": captures[n],
                "exam_id": made.exams[n],
                "index": 0,
                "downloaded_at": OLD,
                "purged_at": None if n % 100 == 60 else OLD,
            },
        )
        await self._copy(
            Instance,
            MANY,
            lambda n: {
                "id": instances[n],
                "study_id": made.studies[n % SOME],
                "exam_id": made.exams[n],
                "state": InstanceState.PLANNED if n % 100 == 4 else InstanceState.SEEN,
                "sop_class_uid": "1.2",
                "sop_instance_uid": f"2.25.{n}",
                "series_uid": "1.3",
                "transfer_syntax": "1.4",
                "frames": 1,
                "bytes": 1,
                "sha256": f"{n:064x}",
                "seen_at": OLD,
            },
        )
        await self._copy(
            CaptureInstance, MANY, lambda n: {"capture_id": captures[n], "instance_id": instances[n]}
        )
        await self._copy(
            ExamEvent, MANY, lambda n: {"exam_id": made.exams[n], "step": Step.MATCH, "event": "running"}
        )
        await self._copy(
            Create,
            SOME,
            lambda n: {
                "organization_id": made.organizations[n % FEW],
                "kind": "patient",
                "natural_key": str(n),
                "state": CreateState.DONE if n % 10 else CreateState.PLANNED,
                "holder": made.exams[n],
                "held_until": OLD,
            },
        )
        await self._copy(
            Upload,
            SOME,
            lambda n: {
                "upload_id": made.exams[n],
                "study_id": made.studies[n],
                "exam_id": made.exams[n],
                "state": UploadState.STARTED if n % 100 == 50 else UploadState.COMPLETE,
            },
        )

    async def _operations(self) -> None:
        await self._copy(
            Alert,
            SOME,
            lambda n: {
                "condition": f"condition {n}",
                "message": "m",
                "cleared_at": None if n % 100 == 0 else OLD,
                "told_at": OLD,
                "told_cleared_at": OLD,
            },
        )
        await self._copy(
            AuditEvent,
            MANY,
            lambda n: {
                "actor": f"user{n}@x.example",
                "action": f"act.{n % FEW}",
                "subject": str(n),
                "result": "done",
            },
        )
        await self._copy(Upstream, FEW, lambda n: {"account": f"aurabox:{n}", "probe_at": OLD})
        await self._copy(Worker, FEW, lambda n: {"id": f"{HOST}:{n}:0", "host": HOST})
        await self._copy(ProcessMetrics, FEW, lambda n: {"worker_id": f"{HOST}:{n}:0", "samples": []})
        await self._copy(Run, FEW, lambda n: {"name": f"run {n}", "started_at": OLD})
        await self._copy(Secret, FEW, lambda n: {"name": f"secret {n}", "sealed": b"s"})


def _ids(number: int) -> list[uuid.UUID]:
    return [uuid.uuid4() for _ in range(number)]


def _in_turn(ids: list[uuid.UUID]) -> Iterator[uuid.UUID]:
    return (ids[number % len(ids)] for number in count())


def _defaults(table: Table) -> dict[str, Any]:
    """What the model itself gives a new row."""
    found: dict[str, Any] = {}
    for column in table.columns:
        default: Any = column.default
        if default is not None and (default.is_callable or default.is_scalar):
            found[column.name] = default.arg(None) if default.is_callable else default.arg
    return found


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
