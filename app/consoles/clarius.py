"""What ops do at Clarius for the whole bridge: records, keys, applications, reports. (URLs: `registration`.)

Each change is audited. A key's secret and a customer's token never leave this module in the clear, but for the
secret of a key just made.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select

from app.accounts import AccountKind
from app.clients.clarius import Annotation, ApiKey, NewApiKey, NotificationRecord
from app.consoles.clarius_keys import prefix_of
from app.resources import Resources
from app.states import ExamState
from app.store.audit import By, audit
from app.store.exams import Exam, wanted_exam
from app.upstreams.gate import asking

# Clarius keeps 14 days of records; more than this is not shown
MOST_RECORDS = 10_000


class RecordItem(BaseModel):
    """One webhook call that Clarius made, beside what we know of it. `known`: we hold the request."""

    logged_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    sent_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    request_uuid: UUID | None = Field(examples=["7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"])
    status: int | None = Field(examples=[202])
    error: str | None
    known: bool = Field(examples=[True])
    state: ExamState | str | None = Field(examples=["delivered"])


class ApiKeyItem(BaseModel):
    """An API key at Clarius, without its secret."""

    prefix: str = Field(examples=["a1b2c3d4"])
    name: str = Field(examples=["Sonobridge 2026-11-21"])
    created_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    in_use: bool = Field(examples=[True])


@dataclass(frozen=True)
class RecordBesideExam:
    """One webhook call as Clarius recorded it, beside our own row of that request (None: we have none)."""

    record: NotificationRecord
    request_uuid: UUID | None
    exam: Exam | None

    @property
    def status(self) -> int | None:
        """The HTTP status that Clarius saw; None when there was no answer or its record does not say."""
        response = self.record.event.response
        status = (
            response.get("status_code", response.get("status")) if isinstance(response, dict) else response
        )
        return status if isinstance(status, int) and not isinstance(status, bool) else None


async def read_records(resources: Resources, *, skip: int, limit: int) -> list[RecordBesideExam]:
    """C8 beside our own rows, the newest first, from the `skip`-th on."""
    records: list[NotificationRecord] = []
    async with asking(resources, AccountKind.CLARIUS):
        position = 0
        async for record in (await resources.clarius()).notification_records():
            position += 1
            if position > skip:
                records.append(record)
            if len(records) >= limit or position >= MOST_RECORDS:
                break
    uuids = [_request_uuid(record) for record in records]
    async with resources.sessions() as session:
        rows = await session.scalars(
            select(Exam).where(Exam.request_uuid.in_([uuid for uuid in uuids if uuid is not None]))
        )
        exams = {exam.request_uuid: exam for exam in rows}
    return [
        RecordBesideExam(record, uuid, exams.get(uuid) if uuid is not None else None)
        for record, uuid in zip(records, uuids, strict=True)
    ]


def _request_uuid(record: NotificationRecord) -> UUID | None:
    """Which request a recorded call announced. The rest of its body holds a customer's token."""
    content = record.event.request.content if record.event.request is not None else None
    try:
        body = json.loads(content or "")
        return UUID(str(body["request_uuid"]))
    except (ValueError, TypeError, KeyError):
        return None


async def list_keys(resources: Resources) -> tuple[list[ApiKey], str | None]:
    """C9, and the prefix of the key in use (None when it is none of these)."""
    async with asking(resources, AccountKind.CLARIUS):
        keys = await (await resources.clarius()).api_keys()
    return keys, prefix_of(keys, await _key_text(resources))


async def create_key(resources: Resources, name: str, *, by: By) -> NewApiKey:
    """C10: a key beside the one in use, which goes on being used."""
    async with asking(resources, AccountKind.CLARIUS):
        key = await (await resources.clarius()).create_api_key(name)
    await _audit(resources, by, "clarius.key.create", subject=key.prefix)
    return key


async def revoke_key(resources: Resources, prefix: str, *, by: By) -> None:
    """C11. Clarius refuses that for the key in use (`Rejected`)."""
    async with asking(resources, AccountKind.CLARIUS):
        await (await resources.clarius()).revoke_api_key(prefix)
    await _audit(resources, by, "clarius.key.revoke", subject=prefix)


async def set_annotations(
    resources: Resources, application: UUID, annotations: Sequence[Annotation], *, by: By
) -> None:
    """C15."""
    async with asking(resources, AccountKind.CLARIUS):
        await (await resources.clarius()).customise_application(application, annotations)
    await _audit(
        resources,
        by,
        "clarius.application.set",
        subject=str(application),
        detail=f"{len(annotations)} annotations",
    )


async def remove_annotations(resources: Resources, application: UUID, *, by: By) -> None:
    """C16."""
    async with asking(resources, AccountKind.CLARIUS):
        await (await resources.clarius()).remove_customisation(application)
    await _audit(resources, by, "clarius.application.remove", subject=str(application))


async def upload_report(
    resources: Resources,
    request_uuid: UUID,
    *,
    name: str,
    filename: str,
    content: bytes,
    content_type: str,
    by: By,
) -> None:
    """C5: a report of the caller's own onto the exam. Raises Misuse (`no_such_exam`) for one we do not know."""
    async with resources.sessions() as session:
        await wanted_exam(session, request_uuid)
    async with asking(resources, AccountKind.CLARIUS):
        await (await resources.clarius()).upload_report(
            request_uuid, name=name, filename=filename, content=content, content_type=content_type
        )
    await _audit(resources, by, "exam.report", subject=str(request_uuid), detail=f"{len(content)} bytes")


async def _key_text(resources: Resources) -> str:
    key = await resources.clarius_key()
    return key.get_secret_value() if key is not None else ""


async def _audit(
    resources: Resources, by: By, action: str, *, subject: str | None = None, detail: str | None = None
) -> None:
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action=action, subject=subject, detail=detail)


def describe_record(receipt: RecordBesideExam) -> RecordItem:
    """A record as commands, pages and the admin API show it: no token, no URL."""
    shown = {
        "logged_at": receipt.record.logged_at,
        "sent_at": receipt.record.event.sent_at,
        "request_uuid": receipt.request_uuid,
        "status": receipt.status,
        "error": receipt.record.event.error,
        "known": receipt.exam is not None,
        "state": receipt.exam.state if receipt.exam is not None else None,
    }
    return RecordItem.model_validate(shown)


def describe_key(key: ApiKey, used: str | None) -> ApiKeyItem:
    """An API key as commands, pages and the admin API show it."""
    return ApiKeyItem(prefix=key.prefix, name=key.name, created_at=key.created, in_use=key.prefix == used)
