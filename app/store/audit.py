"""The audit trail: who did what, when, from where and with what result. Appended, never changed."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base


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
    actor: str,
    action: str,
    subject: str | None = None,
    result: str = "done",
    detail: str | None = None,
    address: str | None = None,
) -> None:
    """Append one act in the caller's transaction, so that it is recorded if and only if it is done."""
    session.add(
        AuditEvent(
            actor=actor,
            action=action,
            subject=subject,
            result=result,
            detail=detail,
            address=address,
        )
    )
