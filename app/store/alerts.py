"""Alerts: which conditions hold, since when, and whether those who run the bridge were told. Never one per exam."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, now


class Alert(Base):
    """One condition from its start to its end. `message` names accounts and counts, never a patient or an exam."""

    __tablename__ = "alerts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    condition: Mapped[str]
    message: Mapped[str]
    since: Mapped[datetime] = mapped_column(server_default=now())
    cleared_at: Mapped[datetime | None]
    # when each of the two messages was taken by somebody; None: still to be sent
    told_at: Mapped[datetime | None]
    told_cleared_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_alerts_condition_in_force",
            "condition",
            unique=True,
            postgresql_where=text("cleared_at IS NULL"),
        ),
    )


async def alerts_in_force(session: AsyncSession) -> Sequence[Alert]:
    """What holds now, the oldest first."""
    return (
        await session.scalars(select(Alert).where(Alert.cleared_at.is_(None)).order_by(Alert.since, Alert.id))
    ).all()


async def untold_alerts(session: AsyncSession, *, limit: int) -> Sequence[Alert]:
    """Alerts whose start or end nobody was told yet, locked for the teller.

    One that ended before its start could be told is told as ended only if its start was told.
    """
    return (
        await session.scalars(
            select(Alert)
            .where(
                or_(
                    Alert.cleared_at.is_(None) & Alert.told_at.is_(None),
                    Alert.cleared_at.is_not(None)
                    & Alert.told_at.is_not(None)
                    & Alert.told_cleared_at.is_(None),
                )
            )
            .order_by(Alert.since, Alert.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
    ).all()
