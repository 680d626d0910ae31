"""Finds exams by what a person may ask for, newest first, page after page; must not change any."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, String, and_, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import Misuse
from app.states import ExamState, Reason, Step
from app.store.cursors import read_cursor, write_cursor
from app.store.exams import Exam
from app.store.organizations import Organization, find_organization

MOST = 200
USUAL = 50


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
    statement = _where(select(Exam), exam_filter)
    if cursor is not None:
        at, last = read_cursor(cursor, datetime, UUID)
        statement = statement.where(or_(Exam.received_at < at, and_(Exam.received_at == at, Exam.id < last)))
    rows = (
        await session.scalars(statement.order_by(Exam.received_at.desc(), Exam.id.desc()).limit(limit + 1))
    ).all()
    more = len(rows) > limit
    page = rows[:limit]
    return page, write_cursor(page[-1].received_at, page[-1].id) if more else None


async def count_exams(session: AsyncSession, exam_filter: ExamFilter) -> int:
    """How many exams the filter finds."""
    count: int = (await session.scalars(_where(select(func.count()).select_from(Exam), exam_filter))).one()
    return count


def _where(statement: Select[Any], exam_filter: ExamFilter) -> Select[Any]:
    for column, value in (
        (Exam.state, exam_filter.state),
        (Exam.step, exam_filter.step),
        (Exam.reason, exam_filter.reason),
        (Exam.organization_id, exam_filter.organization_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if exam_filter.since is not None:
        statement = statement.where(Exam.received_at >= exam_filter.since)
    if exam_filter.q:
        statement = statement.where(_mentions(exam_filter.q))
    return statement


def _mentions(words: str) -> Any:
    try:
        uuid = UUID(words)
    except ValueError:
        plain = words.lower().replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        named = select(Organization.id).where(func.lower(Organization.name).like(f"%{plain}%"))
        return or_(
            cast(Exam.request_uuid, String).like(f"{plain}%"),
            cast(Exam.exam_uuid, String).like(f"{plain}%"),
            Exam.organization_id.in_(named),
        )
    return or_(Exam.request_uuid == uuid, Exam.exam_uuid == uuid)


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
