"""The audit trail: who did what, when, from where and with what result. Appended, never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base


@dataclass(frozen=True)
class By:
    """Who acts, and from which network address (None: from no network)."""

    actor: str
    address: str | None = None


SYSTEM = By("system")
"""What nobody asked for at that moment: the clock, a worker."""


class AuditEvent(Base):
    """One act. `subject` names a row (an exam's request UUID, a link's id), never a patient."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(index=True)
    subject: Mapped[str | None]
    result: Mapped[str]
    detail: Mapped[str | None]
    address: Mapped[str | None]


async def audit(
    session: AsyncSession,
    *,
    by: By,
    action: str,
    subject: str | None = None,
    result: str = "done",
    detail: str | None = None,
) -> None:
    """Append one act in the caller's transaction, so that it is recorded if and only if it is done."""
    session.add(
        AuditEvent(
            actor=by.actor,
            action=action,
            subject=subject,
            result=result,
            detail=detail,
            address=by.address,
        )
    )


async def find_events(
    session: AsyncSession,
    *,
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
) -> Sequence[AuditEvent]:
    """Acts, newest first; `before` is the id of the last one of the page before. `action` also finds `action.…`."""
    statement = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEvent.id < before)
    if actor is not None:
        statement = statement.where(AuditEvent.actor == actor)
    if action is not None:
        statement = statement.where(
            or_(AuditEvent.action == action, AuditEvent.action.startswith(f"{action}.", autoescape=True))
        )
    if subject is not None:
        statement = statement.where(AuditEvent.subject == subject)
    if since is not None:
        statement = statement.where(AuditEvent.at >= since)
    return (await session.scalars(statement)).all()
