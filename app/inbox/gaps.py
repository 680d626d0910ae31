"""The gap list: exams that Clarius sent and Aurabox does not have, each with the reason (C1 and C8 against our rows).

Compares and reports; what is missing is taken in by reconcile, or by a person's import.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.accounts import AccountKind
from app.clients.clarius import NotificationRecord
from app.resources import Resources
from app.states import ENDS_BY_ITSELF, UNDER_WAY, ExamState, Reason
from app.store.exam_gaps import Missing, known_requests
from app.store.exams import Exam
from app.store.organizations import Organization, OrganizationRef
from app.store.runs import DAY_SECONDS, OpenRun, begin_run, recording, recurring
from app.upstreams.gate import calling

RUN_NAME = "gaps"
# a look that failed is not put off to the next day
AGAIN_SECONDS = 3600.0
# what one look reads at most; more than this is no list that a person goes through
MOST = 50_000
ROWS_AT_ONCE = 1000

NOT_HERE = "not known here; import it, or wait for the next reconcile"
WORDS: dict[str, str] = {
    ExamState.REVIEW: "in review",
    ExamState.FAILED: "failed",
    ExamState.UNVERIFIED: "not verified: Clarius sent it but does not list it",
    ExamState.CANCELLED: "cancelled by a person",
    ExamState.GONE: "deleted at Clarius before it could be read",
    ExamState.QUEUED: "under way",
    ExamState.RUNNING: "under way",
    ExamState.WAITING: "under way",
    # on no list of gaps
    ExamState.DELIVERED: "delivered",
}
WAITING_WORDS: dict[str, str] = {
    Reason.LINK: "waiting for a link of its Clarius account",
    Reason.PAUSED: "waiting: the credentials are refused",
    Reason.RETRY: "under way, waiting (retry)",
    Reason.THROTTLED: "under way, waiting (throttled)",
    Reason.SETTLING: "under way, waiting (settling)",
}


class GapItem(BaseModel):
    """An exam that Clarius sent and Aurabox does not have."""

    request_uuid: UUID | None = Field(examples=["7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"])
    exam_uuid: UUID | None = Field(examples=["0d1c9c1e-33a0-4f1f-8f0a-2a9f7f1f6a10"])
    organization: OrganizationRef | None
    submitted_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    reason: str = Field(examples=["waiting for a link of its Clarius account"])


@dataclass(frozen=True)
class Sent:
    """What Clarius says that it sent."""

    request_uuid: UUID
    exam_uuid: UUID | None
    submitted_at: datetime | None


async def find_gaps_when_due(resources: Resources) -> list[GapItem] | None:
    """Once a day, whoever looks first; None when it is not time."""
    async with recurring(resources.sessions, RUN_NAME, every=DAY_SECONDS, again=AGAIN_SECONDS) as run:
        return await _look(resources, run) if run else None


async def find_gaps(resources: Resources) -> list[GapItem]:
    """The list now, the oldest first.

    Its length without what is simply under way is recorded as run `gaps`. Raises from the error tree.
    """
    async with resources.sessions.begin() as session:
        await begin_run(session, RUN_NAME, every=0)
    async with recording(resources.sessions, RUN_NAME) as run:
        return await _look(resources, run)


async def _look(resources: Resources, run: OpenRun) -> list[GapItem]:
    sent = await _sent(resources)
    rows, ours = await _our_rows(resources, list(sent))
    gaps = [
        _gap(notice, *rows[uuid]) if uuid in rows else _gap(notice, None, None)
        for uuid, notice in sent.items()
        if uuid in rows or uuid not in ours
    ]
    gaps.sort(key=lambda gap: (str(gap.submitted_at or ""), str(gap.request_uuid)))
    standing = sum(1 for uuid in sent if uuid not in ours or (uuid in rows and not _goes_on(rows[uuid][0])))
    run.result = {"gaps": standing, "sent": len(sent)}
    return gaps


async def _sent(resources: Resources) -> dict[UUID, Sent]:
    """What the poll API lists, and the webhook calls of the last 14 days: some exams are in one of them only."""
    sent: dict[UUID, Sent] = {}
    async with calling(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        async for record in clarius.notification_records():
            recorded = _recorded(record)
            if recorded is not None:
                sent[recorded.request_uuid] = recorded
            if len(sent) >= MOST:
                break
        listed = 0
        async for notice in clarius.accessible_exams():
            sent[notice.request_uuid] = Sent(notice.request_uuid, notice.exam_uuid, notice.submitted_at)
            listed += 1
            if listed >= MOST:
                break
    return sent


def _recorded(record: NotificationRecord) -> Sent | None:
    """Which exam a recorded webhook call announced; the rest of its body holds a customer's token."""
    content = record.event.request.content if record.event.request is not None else None
    try:
        body = json.loads(content or "")
        return Sent(UUID(str(body["request_uuid"])), UUID(str(body["exam_uuid"])), record.event.sent_at)
    except (ValueError, TypeError, KeyError):
        return None


async def _our_rows(resources: Resources, uuids: list[UUID]) -> tuple[Missing, set[UUID]]:
    """Of these requests: our rows that are not delivered, and all that we know."""
    missing: Missing = {}
    ours: set[UUID] = set()
    async with resources.sessions() as session:
        for start in range(0, len(uuids), ROWS_AT_ONCE):
            some, known = await known_requests(session, uuids[start : start + ROWS_AT_ONCE])
            missing |= some
            ours |= known
    return missing, ours


def _goes_on(exam: Exam) -> bool:
    """Whether nothing stands in its way that a person would have to know of."""
    return exam.state in UNDER_WAY and (exam.state != ExamState.WAITING or exam.reason in ENDS_BY_ITSELF)


def _gap(sent: Sent, exam: Exam | None, organization: Organization | None) -> GapItem:
    shown = {
        "request_uuid": sent.request_uuid,
        "exam_uuid": sent.exam_uuid,
        "organization": organization,
        "submitted_at": sent.submitted_at,
        "reason": _reason(exam) if exam is not None else NOT_HERE,
    }
    return GapItem.model_validate(shown)


def _reason(exam: Exam) -> str:
    if exam.state == ExamState.WAITING and exam.reason is not None:
        return WAITING_WORDS.get(exam.reason, exam.reason)
    words = WORDS.get(exam.state, exam.state)
    return f"{words}: {exam.error_code}" if exam.error_code else words
