"""What every table shares: metadata with named constraints, the database's clock, the lease columns."""

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Interval, MetaData, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import Uuid

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Root of the models: `str` is text, `datetime` has a zone, `dict` and `list` are JSONB."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


class Leased:
    """Columns of a row that one process works on at a time (architecture.md, decision 5)."""

    due_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")


def now() -> ColumnElement[datetime]:
    """The database's clock: the only one that decides (a worker's own may be minutes off)."""
    return func.now()


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """`seconds` from now on the database's clock."""
    return func.now() + cast(timedelta(seconds=seconds), Interval)


def literals(*values: str) -> list[ColumnElement[str]]:
    """Constants of ours as they stand in the SQL itself, for `in_()` where a partial index is meant.

    From its sixth use on a connection, PostgreSQL may plan a prepared statement once for all values. It cannot know
    then that a parameter is one of those which the index names: the index is no longer used, and ON CONFLICT that
    means it fails. Never for what comes from outside: each other value would be another statement.
    """
    return [literal_column("'" + value.replace("'", "''") + "'", Text) for value in values]


async def clock(session: AsyncSession) -> datetime:
    """The database's wall clock now, UTC."""
    value: datetime = (await session.execute(func.clock_timestamp().select())).scalar_one()
    return value
