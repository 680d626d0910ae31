"""What one worker has for a while, by an end and an epoch: an exam's lease, a create's intent, a look at the poll API.

All three are renewed and checked here by the database's clock; how each is taken stands with its table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Interval,
    Select,
    Uuid,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.states import LEASED
from app.store.base import Base, in_seconds, now
from app.store.creates import SENDING, Create
from app.store.exams import Exam
from app.store.links import Link
from app.store.upstreams import MARKED, Upstream


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


def is_held(
    kind: HoldKind, row_id: UUID | BindParameter[UUID], epoch: int | BindParameter[int]
) -> ColumnElement[bool]:
    """Whether the row is still held under this epoch: nobody took it since, and it was not given back."""
    place = PLACES[kind]
    held = and_(place.row_id == row_id, place.epoch == epoch, place.until.is_not(None))
    # a person may have cancelled it, and what came of it may be written already
    return and_(held, Exam.state.in_(LEASED)) if kind is HoldKind.EXAM else held


@dataclass(frozen=True)
class Claimed:
    """A hold as it is checked. `sends`: a create's bytes leave right after, which is written with the check."""

    kind: HoldKind
    row_id: UUID
    epoch: int
    sends: bool = False


@dataclass(frozen=True)
class Clearance:
    """What the last check before a request found; a request may go out when `unmarked` and nothing is `lost`.

    `unmarked`: nothing stands, or stood, against calling the account. `lost`: the index of the first hold that is
    somebody else's by now.
    """

    unmarked: bool
    lost: int | None


async def clear_request(
    session: AsyncSession,
    account: str | None,
    held: Sequence[Claimed],
    *,
    enough_seconds: float,
    term_seconds: float,
) -> Clearance:
    """Check in one statement that a request may go out now, and that all that is held lasts `enough_seconds`.

    What lasts no longer than that is lengthened to `term_seconds`. Rows are locked in the order given; nothing is
    written of a hold after one that is lost, nor while the account is marked. Without an account only holds are
    checked.
    """
    values: dict[str, Any] = {
        "account": account,
        "enough": timedelta(seconds=enough_seconds),
        "term": timedelta(seconds=term_seconds),
    }
    for index, hold in enumerate(held):
        values |= {f"row_{index}": hold.row_id, f"epoch_{index}": hold.epoch}
    statement = _clearance(tuple((hold.kind, hold.sends) for hold in held), account is not None)
    unmarked, *kept = (await session.execute(statement, values)).one()
    return Clearance(unmarked, next((index for index, is_ours in enumerate(kept) if not is_ours), None))


@lru_cache(maxsize=64)
def _clearance(held: tuple[tuple[HoldKind, bool], ...], asks_account: bool) -> Select[Any]:
    """The statement for holds of these kinds; built once, for that takes longer than to send it."""
    enough = now() + bindparam("enough", type_=Interval)
    term = now() + bindparam("term", type_=Interval)
    marked = exists().where(Upstream.account == bindparam("account"), MARKED)
    unmarked = ~marked if asks_account else true()
    columns: list[ColumnElement[Any]] = [unmarked.label("unmarked")]
    so_far: ColumnElement[bool] = unmarked
    for index, (kind, sends) in enumerate(held):
        place = PLACES[kind]
        ours = is_held(kind, bindparam(f"row_{index}", type_=Uuid()), bindparam(f"epoch_{index}"))
        lengthened = (
            update(place.table)
            .where(ours, so_far, true() if sends else place.until < enough)
            .values({place.until.key: func.greatest(place.until, term), **(SENDING if sends else {})})
            .returning(place.row_id.label("id"))
            .cte(f"lengthened_{index}")
        )
        kept: ColumnElement[bool] = exists(select(lengthened.c.id))
        if not sends:
            lasting = select(place.row_id.label("id")).where(ours, place.until >= enough)
            kept = or_(kept, exists(select(lasting.cte(f"lasting_{index}").c.id)))
        columns.append(kept.label(f"kept_{index}"))
        so_far = and_(so_far, kept)
    statement: Select[Any] = select(*columns)
    return statement


async def renew_hold(
    session: AsyncSession,
    kind: HoldKind,
    row_id: UUID,
    epoch: int,
    *,
    seconds: float,
) -> bool:
    """Hold it for `seconds` from now at least; False when it is somebody else's."""
    place = PLACES[kind]
    kept = await session.execute(
        update(place.table)
        .where(is_held(kind, row_id, epoch))
        .values({place.until.key: func.greatest(place.until, in_seconds(seconds))})
        .returning(place.row_id)
        .execution_options(synchronize_session=False)
    )
    return kept.scalar_one_or_none() is not None
