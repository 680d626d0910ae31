"""Claims: what a notification said of a request before Clarius confirmed it; at most five a request."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.states import LinkState
from app.store.base import Base, now
from app.store.links import Link

CLAIMS_PER_REQUEST = 5


class Claim(Base):
    """One customer under whom a request was announced. Open until verified, refuted or overruled."""

    __tablename__ = "claims"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id", ondelete="CASCADE"))
    customer_hash: Mapped[bytes]
    exam_uuid: Mapped[UUID]
    download_url: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=now(), index=True)
    first_look_at: Mapped[datetime | None]
    looks: Mapped[int] = mapped_column(default=0, server_default="0")
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("exam_id", "customer_hash"),
        # a customer's history is longer than what is open
        Index("ix_claims_customer_hash", "customer_hash", postgresql_where=text("ended_at IS NULL")),
    )


async def add_claim(
    session: AsyncSession,
    *,
    exam_id: UUID,
    customer_hash: bytes,
    exam_uuid: UUID,
    download_url: str,
) -> bool:
    """Keep the claim unless this customer made it before or the request has its five."""
    kept = await session.execute(select(func.count()).select_from(Claim).where(Claim.exam_id == exam_id))
    if kept.scalar_one() >= CLAIMS_PER_REQUEST:
        return False
    added = await session.execute(
        insert(Claim)
        .values(
            id=uuid.uuid4(),
            exam_id=exam_id,
            customer_hash=customer_hash,
            exam_uuid=exam_uuid,
            download_url=download_url,
        )
        .on_conflict_do_nothing()
        .returning(Claim.id)
    )
    return added.scalar_one_or_none() is not None


async def make_room_for(session: AsyncSession, *, exam_id: UUID, customer_hash: bytes) -> None:
    """When the request has its five claims and this customer has none of them, the newest goes whose customer is not
    linked. The request's row must be locked.
    """
    linked = exists().where(Link.customer_hash == Claim.customer_hash, Link.state == LinkState.CONFIRMED)
    rows = await session.execute(
        select(Claim.id, Claim.customer_hash, linked.label("linked"))
        .where(Claim.exam_id == exam_id)
        .order_by(Claim.received_at.desc(), Claim.id)
        .limit(CLAIMS_PER_REQUEST)
    )
    kept = rows.all()
    if len(kept) < CLAIMS_PER_REQUEST or any(row.customer_hash == customer_hash for row in kept):
        return
    for row in kept:
        if not row.linked:
            await session.execute(delete(Claim).where(Claim.id == row.id))
            return


async def open_claims(session: AsyncSession, exam_id: UUID) -> Sequence[Claim]:
    """The claims of a request that still have to be checked, oldest first."""
    return (
        await session.scalars(
            select(Claim)
            .where(Claim.exam_id == exam_id, Claim.ended_at.is_(None))
            .order_by(Claim.received_at, Claim.id)
        )
    ).all()


async def end_claims(session: AsyncSession, exam_ids: Collection[UUID]) -> None:
    """End every open claim of these requests."""
    await session.execute(
        update(Claim).where(Claim.exam_id.in_(exam_ids), Claim.ended_at.is_(None)).values(ended_at=now())
    )


async def last_claim_at(session: AsyncSession) -> datetime | None:
    """When the last webhook was taken."""
    return (await session.execute(select(func.max(Claim.received_at)))).scalar_one()
