"""What one worker has for a while, by an end and an epoch: an exam's lease, a create's intent, a look at the poll API.

All three are renewed and checked here by the database's clock; how each is taken stands with its table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.states import LEASED
from app.store.base import Base, in_seconds
from app.store.creates import Create
from app.store.exams import Exam
from app.store.links import Link


class HoldKind(IntEnum):
    """In the order in which rows are locked: whoever takes several takes them so, and nobody waits in a circle."""

    LOOK = 1
    EXAM = 2
    CREATE = 3


@dataclass(frozen=True)
class Place:
    """Where a kind of hold is written: its table, and the columns of its end and its epoch."""

    table: type[Base]
    row_id: InstrumentedAttribute[UUID]
    until: InstrumentedAttribute[Any]
    epoch: InstrumentedAttribute[int]


PLACES = {
    HoldKind.LOOK: Place(Link, Link.id, Link.looking_until, Link.look_epoch),
    HoldKind.EXAM: Place(Exam, Exam.id, Exam.lease_until, Exam.lease_epoch),
    HoldKind.CREATE: Place(Create, Create.id, Create.held_until, Create.epoch),
}


def is_held(kind: HoldKind, row_id: UUID, epoch: int) -> ColumnElement[bool]:
    """Whether the row is still held under this epoch: nobody took it since, and it was not given back."""
    place = PLACES[kind]
    held = and_(place.row_id == row_id, place.epoch == epoch, place.until.is_not(None))
    # a person may have cancelled it, and what came of it may be written already
    return and_(held, Exam.state.in_(LEASED)) if kind is HoldKind.EXAM else held


async def renew_hold(
    session: AsyncSession,
    kind: HoldKind,
    row_id: UUID,
    epoch: int,
    *,
    seconds: float,
    marks: Mapping[str, Any] | None = None,
) -> bool:
    """Hold it for `seconds` from now at least, and write `marks` with that; False when it is somebody else's."""
    place = PLACES[kind]
    kept = await session.execute(
        update(place.table)
        .where(is_held(kind, row_id, epoch))
        .values({place.until.key: func.greatest(place.until, in_seconds(seconds)), **(marks or {})})
        .returning(place.row_id)
        .execution_options(synchronize_session=False)
    )
    return kept.scalar_one_or_none() is not None
