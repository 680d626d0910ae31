"""Finds exams by what a person may ask for, newest first, page after page; must not change any."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    DateTime,
    Integer,
    bindparam,
    false,
    func,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeEngine, Uuid

from app.errors import Misuse
from app.states import ExamState, Reason, Step
from app.store.cursors import read_cursor, write_cursor
from app.store.exams import Exam
from app.store.organizations import Organization, find_organization

MOST = 200
USUAL = 50
# as much of a UUID as somebody typed
PREFIX = re.compile(
    r"[0-9a-f]{1,8}|[0-9a-f]{8}-([0-9a-f]{0,4}|[0-9a-f]{4}-([0-9a-f]{0,4}|[0-9a-f]{4}-"
    r"([0-9a-f]{0,4}|[0-9a-f]{4}-[0-9a-f]{0,11})))"
)


@dataclass(frozen=True, kw_only=True)
class ExamFilter:
    """What is looked for; None is anything. `q`: (the beginning of) a request or exam UUID, or an organisation's name."""

    state: ExamState | None = None
    step: Step | None = None
    reason: Reason | None = None
    organization_id: UUID | None = None
    q: str | None = None
    since: datetime | None = None


async def read_filter(
    session: AsyncSession,
    *,
    state: str | None = None,
    step: str | None = None,
    reason: str | None = None,
    organization: str | None = None,
    q: str | None = None,
    since: str | datetime | None = None,
) -> ExamFilter:
    """A filter from words as people write them; `organization` by id or name, `since` in ISO 8601 (UTC without a zone).

    Raises Misuse with one line that says what would be right.
    """
    owner = None
    if organization is not None:
        owner = await find_organization(session, organization)
        if owner is None:
            raise Misuse("there is no organisation with this id or name", code="no_such_organization")
    return ExamFilter(
        state=_one_of(ExamState, "state", state),
        step=_one_of(Step, "step", step),
        reason=_one_of(Reason, "reason", reason),
        organization_id=owner.id if owner else None,
        q=q.strip() or None if q else None,
        since=_moment(since),
    )


async def find_exams(
    session: AsyncSession, exam_filter: ExamFilter, *, limit: int = USUAL, cursor: str | None = None
) -> tuple[Sequence[Exam], str | None]:
    """One page of exams, newest received first, and the cursor of the next page (None after the last).

    Pages stay whole while exams come in: the cursor names a place, not a number. Raises Misuse for a bad limit or
    cursor.
    """
    if not 1 <= limit <= MOST:
        raise Misuse(f"limit: must be 1 to {MOST}", code="bad_limit")
    statement = select(Exam).where(*await _wanted(session, exam_filter))
    if cursor is not None:
        at, last = read_cursor(cursor, datetime, UUID)
        # one comparison of both: the index is entered at the place, and nothing before it is read
        statement = statement.where(tuple_(Exam.received_at, Exam.id) < (at, last))
    rows = (
        await session.scalars(
            statement.order_by(Exam.received_at.desc(), Exam.id.desc()).limit(_literal(limit + 1))
        )
    ).all()
    more = len(rows) > limit
    page = rows[:limit]
    return page, write_cursor(page[-1].received_at, page[-1].id) if more else None


async def count_exams(session: AsyncSession, exam_filter: ExamFilter, *, up_to: int | None = None) -> int:
    """How many exams the filter finds, counted no further than `up_to`."""
    some = select(Exam.id).where(*await _wanted(session, exam_filter))
    if up_to is not None:
        some = some.limit(_literal(up_to))
    count: int = (await session.scalars(select(func.count()).select_from(some.subquery()))).one()
    return count


async def _wanted(session: AsyncSession, exam_filter: ExamFilter) -> list[ColumnElement[bool]]:
    """The values stand in the SQL itself: how many rows they find decides which index is the right one."""
    wanted: list[ColumnElement[bool]] = []
    for column, value in (
        (Exam.state, exam_filter.state),
        (Exam.step, exam_filter.step),
        (Exam.reason, exam_filter.reason),
    ):
        if value is not None:
            wanted.append(column == value)
    if exam_filter.organization_id is not None:
        wanted.append(Exam.organization_id == _literal(exam_filter.organization_id))
    if exam_filter.reason is not None or exam_filter.step == Step.VERIFY:
        # as it is by nature; said, so that an index that leaves the delivered out can be read
        wanted.append(Exam.state != ExamState.DELIVERED)
    if exam_filter.since is not None:
        wanted.append(Exam.received_at >= _literal(exam_filter.since))
    if exam_filter.q:
        wanted.append(await _mentions(session, exam_filter.q))
    return wanted


async def _mentions(session: AsyncSession, words: str) -> ColumnElement[bool]:
    """That the words are (the beginning of) one of the exam's UUIDs, or in its organisation's name."""
    try:
        uuid = UUID(words)
    except ValueError:
        pass
    else:
        return or_(Exam.request_uuid == uuid, Exam.exam_uuid == uuid)
    plain = words.lower()
    named = func.lower(Organization.name).contains(plain, autoescape=True)
    owners = (await session.scalars(select(Organization.id).where(named))).all()
    choices: list[ColumnElement[bool]] = [Exam.organization_id == _literal(owner) for owner in owners]
    if PREFIX.fullmatch(plain):
        digits = plain.replace("-", "")
        first, last = (_literal(UUID(digits.ljust(32, filling))) for filling in "0f")
        choices += [column.between(first, last) for column in (Exam.request_uuid, Exam.exam_uuid)]
    return or_(false(), *choices)


def _literal(value: UUID | int | datetime) -> BindParameter[Any]:
    kind: TypeEngine[Any] = Integer() if isinstance(value, int) else Uuid()
    if isinstance(value, datetime):
        kind = DateTime(timezone=True)
    return bindparam(None, value, kind, literal_execute=True)


def _one_of(kind: Any, name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise Misuse(f"{name}: must be one of {', '.join(kind)}", code=f"bad_{name}") from None


def _moment(text: str | datetime | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = text if isinstance(text, datetime) else datetime.fromisoformat(text.strip())
    except ValueError:
        raise Misuse("since: must be a date or time such as 2026-01-31 or 2026-01-31T08:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
