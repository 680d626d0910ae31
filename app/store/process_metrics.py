"""What each worker process has counted so far, so that one scrape of the API shows the workers' counters too."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.store.base import Base, in_seconds, now

FORGOTTEN_SECONDS = 300
# how exact they are: a worker writes once in this time however often it is asked
EVERY_SECONDS = 5


class ProcessMetrics(Base):
    """`samples` are the process's own totals since its start: `[{name, labels, value}, …]`."""

    __tablename__ = "process_metrics"

    worker_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=now())
    samples: Mapped[list[Any]]


async def keep_samples(session: AsyncSession, worker_id: str, samples: list[Any]) -> None:
    """Replace what this process said before; processes silent for five minutes are forgotten."""
    await session.execute(
        insert(ProcessMetrics)
        .values(worker_id=worker_id, samples=samples)
        .on_conflict_do_update(
            index_elements=[ProcessMetrics.worker_id],
            set_={"samples": samples, "at": now()},
            where=ProcessMetrics.at < in_seconds(-EVERY_SECONDS),
        )
    )
    await session.execute(delete(ProcessMetrics).where(ProcessMetrics.at < in_seconds(-FORGOTTEN_SECONDS)))


async def all_samples(session: AsyncSession) -> Sequence[ProcessMetrics]:
    """Of every process that spoke within five minutes."""
    return (
        await session.scalars(
            select(ProcessMetrics)
            .where(ProcessMetrics.at >= in_seconds(-FORGOTTEN_SECONDS))
            .order_by(ProcessMetrics.worker_id)
        )
    ).all()
