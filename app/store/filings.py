"""Filings: how a submission is filed, written once and compared ever after; a new decision is a new row."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now

RULES = "rules"


class Choice(StrEnum):
    """A person's word, as `exam decide` and the admin API take it."""

    SEPARATE = "separate"
    SAME = "same"
    AS_CASE = "as-case"
    REFILE = "refile"
    UPDATE_PATIENT = "update-patient"
    WITHOUT_CAPTURES = "without-captures"


class Filing(Base):
    """One answer to "where does this submission belong?"; an exam's newest (`exams.filing`) counts.

    `identity_hash`: keyed hash of who the exam data names, as it was read; None for rows from before there were
    filings, until the data is next looked at. `decided_by`: the rules, or the person who decided. `decision` holds
    a person's words (`app.delivery.decisions`): the choice, and on whom it was made.
    """

    __tablename__ = "filings"

    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    link_id: Mapped[UUID | None] = mapped_column(ForeignKey("links.id"))
    policy_version: Mapped[int]
    identity_hash: Mapped[bytes | None]
    kind: Mapped[str | None]
    mode: Mapped[str]
    decided_by: Mapped[str] = mapped_column(default=RULES)
    decision: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


async def filing_of(session: AsyncSession, exam_id: UUID, number: int | None) -> Filing | None:
    """The filing of this number; None while the exam has none."""
    return await session.get(Filing, (exam_id, number)) if number is not None else None


def next_filing(current: Filing, **changes: Any) -> Filing:
    """The filing that follows `current` with these changes; to be added and pointed to by the exam."""
    kept = {
        name: getattr(current, name)
        for name in (
            "exam_id",
            "organization_id",
            "link_id",
            "policy_version",
            "identity_hash",
            "kind",
            "mode",
            "decided_by",
            "decision",
        )
    }
    return Filing(**{**kept, "number": current.number + 1, **changes})
