"""Exam requests: one row per submission that Clarius told us of, with its state and its lease.

The order of locks: an organisation before its links, links before exams, and exams in the order of their ids
(`lock_exams`, `in_lock_order`). Whoever locks more than one row in a transaction keeps to it, so that no two wait for
each other. Rows that a transaction itself inserts are nobody's to wait for until the commit.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Select,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.errors import Misuse
from app.states import ExamState, Step, may_move
from app.store.base import Base, Constant, Leased, now
from app.store.claims import end_claims
from app.store.exam_events import record_event


class Exam(Leased, Base):
    """One exam request (`request_uuid`); two requests of one `exam_uuid` meet in one study."""

    __tablename__ = "exams"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    request_uuid: Mapped[UUID] = mapped_column(unique=True)
    exam_uuid: Mapped[UUID] = mapped_column(index=True)
    source: Mapped[str]
    state: Mapped[Constant] = mapped_column(default=ExamState.QUEUED)
    step: Mapped[Constant] = mapped_column(default=Step.VERIFY)
    reason: Mapped[Constant | None]
    # once verified: Clarius's own word on whose exam it is and where its data lies
    verified_at: Mapped[datetime | None]
    customer_hash: Mapped[bytes | None]
    download_url: Mapped[str | None]
    # a person released it although Clarius does not list it; then the claim's URL is followed
    released_at: Mapped[datetime | None]
    organization_id: Mapped[UUID | None] = mapped_column(ForeignKey("organizations.id"))
    first_look_at: Mapped[datetime | None]
    exam_data_sealed: Mapped[bytes | None]
    exam_data_at: Mapped[datetime | None]
    # since when Clarius lists the exam and answers 404 when asked for its data
    data_missing_since: Mapped[datetime | None]
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey("subjects.id"))
    study_id: Mapped[UUID | None] = mapped_column(ForeignKey("studies.id"))
    # the number of its newest filing: how it is filed, and who said so
    filing: Mapped[int | None]
    # what a person who decides has to know: whom it contradicts, which matches there are
    question: Mapped[dict[str, Any] | None]
    # what the version before filings kept; read by it alone, and dropped in the release after this one
    identity_decision: Mapped[dict[str, Any] | None]
    # the host whose staging folder holds the bytes, when staging is a local folder
    staging_host: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    # workers that died holding the lease since the last step was finished
    deaths: Mapped[int] = mapped_column(default=0, server_default="0")
    # the retry budget's clock: seconds tried so far, and since when it has been running again (None: it stands)
    tried_seconds: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    trying_since: Mapped[datetime | None]
    # what else is counted at this step, each by its own name: refusals, looks, give-backs …
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    error_code: Mapped[str | None]
    # our own words, with names of fields at most: lists, alerts and logs show it
    error_message: Mapped[str | None]
    # what the upstream said to that: it may name the patient, so it is sealed and goes with the exam data
    upstream_words_sealed: Mapped[bytes | None]
    # follows an exam from the webhook to the delivery through every log line
    trace: Mapped[str | None]
    submitted_at: Mapped[datetime | None]
    received_at: Mapped[datetime] = mapped_column(server_default=now())
    delivered_at: Mapped[datetime | None]
    # images that this submission handed to the image transport, and those of them that were counted there; None before
    sent_count: Mapped[int | None]
    seen_count: Mapped[int | None]
    report_state: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=now(), onupdate=now())

    # what a fresh notification leaves empty, and what most rows are (delivered), is in no index that has no use for it
    __table_args__ = (
        Index(
            "ix_exams_due",
            "due_at",
            postgresql_where=text(
                "due_at IS NOT NULL AND state IN ('queued', 'waiting', 'running', 'delivered')"
            ),
        ),
        Index("ix_exams_leased", "lease_until", postgresql_where=text("lease_until IS NOT NULL")),
        Index("ix_exams_state", "state", "reason", "step", postgresql_where=text("state <> 'delivered'")),
        Index("ix_exams_delivered", "delivered_at", postgresql_where=text("state = 'delivered'")),
        # lists, newest first
        Index("ix_exams_received", "received_at", "id"),
        Index(
            "ix_exams_resting",
            "state",
            "received_at",
            "id",
            postgresql_where=text("state IN ('review', 'unverified', 'failed', 'cancelled', 'gone')"),
            postgresql_include=["error_code"],
        ),
        Index("ix_exams_at_step", "step", "received_at", "id", postgresql_where=text("step <> 'verify'")),
        Index(
            "ix_exams_organization_id",
            "organization_id",
            "received_at",
            "id",
            postgresql_where=text("organization_id IS NOT NULL"),
        ),
        Index(
            "ix_exams_customer_hash",
            "customer_hash",
            postgresql_where=text("customer_hash IS NOT NULL AND state <> 'delivered'"),
        ),
        Index("ix_exams_study_id", "study_id", postgresql_where=text("study_id IS NOT NULL")),
        Index(
            "ix_exams_unsettled",
            "id",
            postgresql_where=text("verified_at IS NULL AND state IN ('queued','waiting','running')"),
        ),
        # what is to be deleted after its time
        Index("ix_exams_data", "exam_data_at", postgresql_where=text("exam_data_sealed IS NOT NULL")),
        # by the id, which never changes: an indexed time of the last change would put each change into every index
        Index(
            "ix_exams_words",
            "id",
            postgresql_where=text("upstream_words_sealed IS NOT NULL AND exam_data_sealed IS NULL"),
        ),
    )

    def count(self, name: str) -> int:
        """One more of `name` at this step; how many it is now. Each name counts alone, and none outlives the step."""
        number = int(self.counts.get(name, 0)) + 1
        self.counts = {**self.counts, name: number}
        return number

    def start_clock(self, at: datetime) -> float:
        """The exam is being tried, and goes on being tried: seconds of the retry budget that are used up at `at`."""
        self.stop_clock(at)
        self.trying_since = at
        return self.tried_seconds

    def stop_clock(self, at: datetime) -> None:
        """From now on it waits for something that is no trying of its own; the budget is not used up meanwhile."""
        if self.trying_since is not None:
            self.tried_seconds += max((at - self.trying_since).total_seconds(), 0.0)
        self.trying_since = None

    def begin_anew(self) -> None:
        """A step is done, or a person said so: its troubles are forgotten, and nothing is counted yet."""
        for name, value in ANEW.items():
            setattr(self, name, value)


ANEW: Mapping[str, Any] = {
    "attempts": 0,
    "deaths": 0,
    "counts": {},
    "tried_seconds": 0.0,
    "trying_since": None,
    "error_code": None,
    "error_message": None,
    "upstream_words_sealed": None,
}
"""What an exam is at a step that nobody has tried yet."""


class StaleMove(Misuse):
    """The exam is not in a state from which this move is allowed."""


async def move(
    session: AsyncSession,
    exam: Exam,
    to: ExamState,
    *,
    reason: str | None = None,
    event: str | None = None,
    detail: str | None = None,
) -> None:
    """Put `exam` into another state and append that to its history: the only place that does.

    Leaves the commit to the caller. Raises `StaleMove` when the table of moves forbids it.
    """
    if not may_move(exam.state, to):
        raise StaleMove(f"an exam that is {exam.state} can't become {to}")
    exam.state = to
    exam.reason = reason
    await record_event(session, exam.id, step=exam.step, event=event or str(to), detail=detail)


def in_lock_order(*which: ColumnElement[bool]) -> Select[UUID]:
    """The ids of these exams, locked one after the other in the order of ids: for `Exam.id.in_()` of an UPDATE."""
    return select(Exam.id).where(*which).order_by(Exam.id).with_for_update()


async def lock_exams(session: AsyncSession, ids: Collection[UUID]) -> Sequence[Exam]:
    """These exams as they are now, locked in the order of ids, and given in it."""
    statement = select(Exam).where(Exam.id.in_(ids)).order_by(Exam.id).with_for_update()
    return (await session.scalars(statement.execution_options(populate_existing=True))).all()


async def find_exam(session: AsyncSession, request_uuid: UUID, *, lock: bool = False) -> Exam | None:
    """By Clarius's request UUID; `lock` keeps others from changing it until the commit."""
    statement = select(Exam).where(Exam.request_uuid == request_uuid)
    return (await session.scalars(statement.with_for_update() if lock else statement)).one_or_none()


async def wanted_exam(session: AsyncSession, request_uuid: UUID, *, lock: bool = False) -> Exam:
    """The same for one that a person names: Misuse (`no_such_exam`) when there is none."""
    exam = await find_exam(session, request_uuid, lock=lock)
    if exam is None:
        raise Misuse("there is no exam with this request UUID", code="no_such_exam")
    return exam


async def settle_verified(
    session: AsyncSession,
    exam: Exam,
    *,
    at: datetime,
    customer_hash: bytes,
    exam_uuid: UUID,
    download_url: str,
    submitted_at: datetime | None,
) -> None:
    """Clarius listed the request (C1) `at` that time: its word on customer, exam and URL counts, and every claim ends."""
    exam.verified_at = at
    exam.customer_hash = customer_hash
    exam.exam_uuid = exam_uuid
    exam.download_url = download_url
    exam.submitted_at = submitted_at or exam.submitted_at
    await end_claims(session, [exam.id])
    await record_event(session, exam.id, step=Step.VERIFY, event="verified")


async def cancel(session: AsyncSession, exam: Exam) -> None:
    """Stop an exam for good, and fence a worker that has it just now: whatever it still writes hits nothing."""
    await move(session, exam, ExamState.CANCELLED)
    exam.due_at = None
    exam.lease_owner = exam.lease_until = None
    exam.lease_epoch += 1
