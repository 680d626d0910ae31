"""Intents: a create at Aurabox that was begun, and how it ended (docs/delivery.md, "Creates")."""

import uuid
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    UniqueConstraint,
    and_,
    delete,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, Constant, in_seconds, now


class CreateState(StrEnum):
    """How far a create came."""

    #: nothing was sent under this intent yet, or it is surely known to have created nothing
    PLANNED = "planned"
    #: a POST may have gone out: look before the next one
    SENDING = "sending"
    DONE = "done"


#: what the check right before a POST writes; by the wall clock, since the transaction may have waited for its locks
SENDING = {"state": CreateState.SENDING, "sent_at": func.clock_timestamp()}


class Create(Base):
    """One natural key, one create. Held by one exam at a time, for `held_until`."""

    __tablename__ = "creates"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"))
    kind: Mapped[str]
    natural_key: Mapped[str]
    state: Mapped[Constant] = mapped_column(default=CreateState.PLANNED)
    holder: Mapped[UUID]
    held_until: Mapped[datetime]
    epoch: Mapped[int] = mapped_column(default=1)
    sent_at: Mapped[datetime | None]
    remote_id: Mapped[str | None]
    adopted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(server_default=now())

    __table_args__ = (UniqueConstraint("organization_id", "kind", "natural_key"),)


async def take_create(
    session: AsyncSession,
    *,
    organization_id: UUID,
    kind: str,
    natural_key: str,
    holder: UUID,
    seconds: float,
) -> Create | None:
    """Hold the intent for `seconds`, making it when it is new; None while another exam holds it.

    A finished one is returned as it is. Each taking raises `epoch`, which fences later writes.
    """
    inserted = await session.scalars(
        insert(Create)
        .values(
            id=uuid.uuid4(),
            organization_id=organization_id,
            kind=kind,
            natural_key=natural_key,
            state=CreateState.PLANNED,
            holder=holder,
            held_until=in_seconds(seconds),
            epoch=1,
            adopted=False,
        )
        .on_conflict_do_nothing()
        .returning(Create)
    )
    if (made := inserted.one_or_none()) is not None:
        return made
    same = and_(
        Create.organization_id == organization_id,
        Create.kind == kind,
        Create.natural_key == natural_key,
    )
    await session.execute(
        update(Create)
        .where(
            same,
            Create.state != CreateState.DONE,
            or_(Create.held_until < now(), Create.holder == holder),
        )
        .values(holder=holder, held_until=in_seconds(seconds), epoch=Create.epoch + 1)
    )
    statement = select(Create).where(same).execution_options(populate_existing=True)
    row = (await session.scalars(statement)).one_or_none()
    # none: whoever had it has just let go of it
    return row if row is not None and (row.state == CreateState.DONE or row.holder == holder) else None


async def mark_create(
    session: AsyncSession,
    create: Create,
    state: CreateState,
    *,
    remote_id: str | None = None,
    adopted: bool = False,
    only: ColumnElement[bool] | None = None,
) -> bool:
    """Write how it ended and give the intent back; False when it is not ours any more, and nothing is written.

    `only`: what else must hold for it.

    That it is being sent is written by the check of the hold itself (`SENDING`).
    """
    written = await session.execute(
        update(Create)
        .where(Create.id == create.id, Create.epoch == create.epoch, true() if only is None else only)
        .values(state=state, remote_id=remote_id, adopted=adopted, held_until=now())
        .returning(Create.id)
    )
    return written.scalar_one_or_none() is not None


async def drop_create(session: AsyncSession, create: Create) -> None:
    """Let go of an intent that was only held and never sent."""
    await session.execute(delete(Create).where(Create.id == create.id, Create.epoch == create.epoch))
