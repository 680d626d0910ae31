"""What every table shares: metadata with named constraints, the database's clock, the lease columns."""

import os
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Interval, MetaData, Text, cast, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, Uuid

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class ConstantText(TypeDecorator[str]):
    """A text that is one of a StrEnum of ours. Compared with members of it, these stand in the SQL as literals.

    From its sixth use on a connection, PostgreSQL may plan a prepared statement once for all values. It cannot know
    then that a parameter is one of those which a partial index names: the index is no longer used, and an ON CONFLICT
    that means it fails. What comes from outside as plain text stays a parameter.
    """

    impl = Text
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[str]):
        """Spells out our constants."""

        def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            """As any comparison, with the constants on the right spelt out."""
            return super().operate(op, *map(_spelt_out, other), **kwargs)

    comparator_factory = Comparator


def _spelt_out(other: Any) -> Any:
    if isinstance(other, StrEnum):
        return literals(other)[0]
    if isinstance(other, Collection) and other and all(isinstance(choice, StrEnum) for choice in other):
        return literals(*other)
    return other


def literals(*constants: StrEnum) -> list[ColumnElement[str]]:
    """Constants of ours as they stand in the SQL itself (see ConstantText), in the order of the alphabet."""
    return [literal_column("'" + value.replace("'", "''") + "'", Text) for value in sorted(constants)]


Constant = Annotated[str, mapped_column(ConstantText)]
"""A column that holds a member of a StrEnum and by which rows are chosen."""


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
    """Columns of a row that one process works on at a time (docs/architecture.md, "Leases")."""

    due_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    lease_epoch: Mapped[int] = mapped_column(default=0, server_default="0")


def ordered_uuid() -> UUID:
    """A new id that is greater than those made before (RFC 9562, version 7).

    Rows that are made one after the other lie side by side in an index. With random ones each has a page of its own to
    be read, and to be logged whole after a checkpoint.
    """
    bits = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    return UUID(int=bits & ~(0b11 << 62) | 0b10 << 62)


def now() -> ColumnElement[datetime]:
    """The database's clock: the only one that decides (a worker's own may be minutes off)."""
    return func.now()


def in_seconds(seconds: float) -> ColumnElement[datetime]:
    """`seconds` from now on the database's clock."""
    return func.now() + cast(timedelta(seconds=seconds), Interval)


async def clock(session: AsyncSession) -> datetime:
    """The database's wall clock now, UTC."""
    value: datetime = (await session.execute(func.clock_timestamp().select())).scalar_one()
    return value
