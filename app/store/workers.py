"""Worker processes and when they last showed themselves."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

HEARTBEAT_SECONDS = 5
SILENT_SECONDS = 30
FORGOTTEN_SECONDS = 3600
# a host's bytes are given up, and its exams downloaded anew elsewhere, after this silence
HOST_GONE_SECONDS = 300


class Worker(Base):
    """`id` is `<host>:<pid>:<random>`, the same string that leases name as their owner."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(index=True)
    started_at: Mapped[datetime] = mapped_column(server_default=now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=now())
    # since when it has been heard of without a gap: who was away itself can't tell who else is gone
    steady_since: Mapped[datetime] = mapped_column(server_default=now())


async def beat(
    session: AsyncSession, worker_id: str, host: str, *, silent: float = SILENT_SECONDS
) -> Sequence[str]:
    """This worker lives; those silent for an hour are forgotten. The ids of all that live, in order.

    `silent`: so many seconds without one are a gap.
    """
    gap = Worker.heartbeat_at < in_seconds(-silent)
    lives = (
        insert(Worker)
        .values(id=worker_id, host=host)
        .on_conflict_do_update(
            index_elements=[Worker.id],
            set_={"heartbeat_at": now(), "steady_since": case((gap, now()), else_=Worker.steady_since)},
        )
        .cte("lives")
    )
    forgotten = delete(Worker).where(Worker.heartbeat_at < in_seconds(-FORGOTTEN_SECONDS)).cte("forgotten")
    others = select(Worker.id).where(Worker.heartbeat_at > in_seconds(-silent), Worker.id != worker_id)
    ids = (await session.scalars(others.add_cte(lives, forgotten))).all()
    return sorted([worker_id, *ids])


def beat_seconds(lease_seconds: float) -> float:
    """Between two heartbeats: often enough that a worker is known to be gone soon after its leases are over."""
    return min(HEARTBEAT_SECONDS, lease_seconds / 3)


def silent_seconds(lease_seconds: float) -> float:
    """Without a heartbeat for so long a worker is taken to have ended, if somebody was there to hear it."""
    return 3 * beat_seconds(lease_seconds)


async def heartbeats_of(session: AsyncSession, owners: Collection[str]) -> dict[str, datetime]:
    """When these workers were last heard of; one that left, or was forgotten, is not among them."""
    rows = await session.execute(select(Worker.id, Worker.heartbeat_at).where(Worker.id.in_(owners)))
    return {row.id: row.heartbeat_at for row in rows}


async def has_witness(session: AsyncSession, *, silent: float) -> bool:
    """Whether some worker was heard of all the time, so that a silent one is not just the database having been away."""
    steady = select(Worker.id).where(
        Worker.heartbeat_at >= in_seconds(-silent), Worker.steady_since <= in_seconds(-silent)
    )
    return (await session.execute(steady.limit(1))).first() is not None


async def leave(session: AsyncSession, worker_id: str) -> None:
    """This worker ends in good order."""
    await session.execute(delete(Worker).where(Worker.id == worker_id))


async def living_workers(session: AsyncSession) -> Sequence[Worker]:
    """Those heard of within the last half minute."""
    return (
        await session.scalars(
            select(Worker).where(Worker.heartbeat_at > in_seconds(-SILENT_SECONDS)).order_by(Worker.id)
        )
    ).all()


async def silent_hosts(session: AsyncSession, hosts: Collection[str]) -> Sequence[str]:
    """Those of `hosts` on which no worker was heard of for `HOST_GONE_SECONDS`."""
    if not hosts:
        return []
    heard = set(
        await session.scalars(
            select(Worker.host).where(
                Worker.host.in_(hosts), Worker.heartbeat_at > in_seconds(-HOST_GONE_SECONDS)
            )
        )
    )
    return sorted(set(hosts) - heard)
