"""Links: which Clarius customer (token) belongs to which organisation."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.states import LinkState
from app.store.base import Base, Constant, Leased, in_seconds, now

HINT_CHARACTERS = 4
LOOKS_AT_ONCE = 5
IN_FORCE = (LinkState.PENDING, LinkState.CONFIRMED)


class Link(Leased, Base):
    """A clinician's agreement that exams of one Clarius customer go to one organisation.

    The token is Clarius's `customer_id` and a bearer secret: sealed here, looked up by keyed hash,
    shown by its last four characters (`customer_hint`).
    """

    __tablename__ = "links"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    organization_id: Mapped[UUID] = mapped_column(ForeignKey("organizations.id"), index=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    token_sealed: Mapped[bytes]
    customer_hash: Mapped[bytes]
    customer_hint: Mapped[str]
    state: Mapped[Constant] = mapped_column(default=LinkState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # moved here by this person, who said that exams under way come along (`takes_along`), or not
    moved_by: Mapped[str | None]
    takes_along: Mapped[bool] = mapped_column(default=False, server_default="false")
    # one look at the poll API serves every waiting request of the customer: who looks, and when it was
    looking_until: Mapped[datetime | None]
    look_epoch: Mapped[int] = mapped_column(default=0, server_default="0")
    looked_at: Mapped[datetime | None]
    # the budget of looks is whole again at this time
    look_budget_at: Mapped[datetime | None]

    __table_args__ = (
        # a token belongs to one account at a time
        Index(
            "uq_links_customer_hash_in_force",
            "customer_hash",
            unique=True,
            postgresql_where=text("state IN ('pending', 'confirmed')"),
        ),
    )


async def link_in_force(session: AsyncSession, customer_hash: bytes) -> Link | None:
    """The pending or confirmed link of a customer."""
    return (
        await session.scalars(
            select(Link).where(Link.customer_hash == customer_hash, Link.state.in_(IN_FORCE))
        )
    ).one_or_none()


async def confirmed_links(session: AsyncSession, hashes: Collection[bytes]) -> dict[bytes, Link]:
    """The confirmed links among these customers, by customer hash."""
    rows = await session.scalars(
        select(Link).where(Link.customer_hash.in_(hashes), Link.state == LinkState.CONFIRMED)
    )
    return {link.customer_hash: link for link in rows}


async def due_links(session: AsyncSession, *, limit: int) -> Sequence[tuple[UUID, int]]:
    """Ids and epochs of pending links that are due to be confirmed with Clarius, the longest due first."""
    rows = await session.execute(
        select(Link.id, Link.lease_epoch)
        .where(
            Link.state == LinkState.PENDING,
            Link.due_at <= now(),
            or_(Link.lease_until.is_(None), Link.lease_until < now()),
        )
        .order_by(Link.due_at)
        .limit(limit)
    )
    return [(row.id, row.lease_epoch) for row in rows]


async def take_look(
    session: AsyncSession, link_id: UUID, *, seconds: float, apart: float
) -> tuple[int, datetime] | None:
    """Become the one who looks at the poll API for this customer; the look's epoch and when it began, or None.

    `seconds`: how long the look is ours. `apart`: in how many seconds the budget grows by one look; a customer who was
    not looked at for long has LOOKS_AT_ONCE of them.
    """
    budget = func.greatest(func.coalesce(Link.look_budget_at, now()), now())
    looks = await session.execute(
        update(Link)
        .where(
            Link.id == link_id,
            or_(Link.looking_until.is_(None), Link.looking_until < now()),
            or_(
                Link.look_budget_at.is_(None),
                Link.look_budget_at <= in_seconds(apart * (LOOKS_AT_ONCE - 1)),
            ),
        )
        .values(
            looking_until=in_seconds(seconds),
            look_epoch=Link.look_epoch + 1,
            look_budget_at=budget + (in_seconds(apart) - now()),
        )
        .returning(Link.look_epoch, now())
    )
    row = looks.one_or_none()
    return (row[0], row[1]) if row is not None else None


async def end_look(
    session: AsyncSession, link_id: UUID, *, epoch: int, began: datetime | None
) -> Link | None:
    """Give the look back; `began` is given when Clarius answered, and covers claims up to then. The link as it is now.

    None when somebody else has the look by now, and nothing is written.
    """
    values: dict[str, datetime | None] = {"looking_until": None}
    if began is not None:
        values["looked_at"] = began
    ended = await session.execute(
        update(Link)
        .where(Link.id == link_id, Link.look_epoch == epoch)
        .values(**values)
        .returning(Link)
        .execution_options(populate_existing=True)
    )
    return ended.scalar_one_or_none()


async def end_links_of(session: AsyncSession, organization_id: UUID) -> None:
    """End every link of an organisation that is taken out of use."""
    await session.execute(
        update(Link)
        .where(Link.organization_id == organization_id, Link.state.in_(IN_FORCE))
        .values(
            state=LinkState.DISCONNECTED,
            ended_at=now(),
            due_at=None,
            lease_owner=None,
            lease_until=None,
            lease_epoch=Link.lease_epoch + 1,
        )
    )


def hint_of(token: str) -> str:
    """The part of a token that may be shown."""
    return token[-HINT_CHARACTERS:]
