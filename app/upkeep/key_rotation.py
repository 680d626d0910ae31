"""Moves everything that is sealed in the database to the newest sealing key; must not show what is inside.

A value that the newest key opens already is left, so that a rotation that was stopped goes on where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import Column, Table, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.config.sealing import CannotUnseal, Sealer, load_or_create_keys, new_key, store_keys
from app.errors import SonobridgeError
from app.resources import Resources
from app.store.audit import By, audit
from app.store.tables import metadata
from app.store.workers import living_workers

BATCH = 200

Progress = Callable[[int, int], None]


class KeysInUse(SonobridgeError):
    """Running workers would not know a key that is made now."""

    kind = "keys_in_use"


@dataclass
class Resealed:
    """How many values were looked at, sealed anew, and opened by none of the keys."""

    looked_at: int = 0
    resealed: int = 0
    unreadable: int = 0


def sealed_columns() -> list[tuple[Table, Column[bytes]]]:
    """Every column that holds sealed values: they are named `sealed` or `…_sealed`."""
    return [
        (table, column)
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name == "sealed" or column.name.endswith("_sealed")
    ]


async def rotate_keys(resources: Resources, *, by: By, progress: Progress | None = None) -> Resealed:
    """Seal everything with the newest key; where keys are generated in the data folder, with a key made now.

    With SONOBRIDGE_SECRET_KEYS: put the new key first and restart everything before; the old ones can go afterwards.
    With generated keys: raises KeysInUse while workers run, because they would not know the new one.
    """
    settings = resources.settings
    if settings.secret_keys:
        return await reseal_all(resources, settings.secret_keys, by=by, progress=progress)
    async with resources.sessions() as session:
        if await living_workers(session):
            raise KeysInUse("workers are running and would not know the new key: stop them (`up`) first")
    old = load_or_create_keys(settings.data_dir)
    # a rotation that was stopped had made its key already; making another would only leave one more
    keys = old if len(old) > 1 else [new_key(), *old]
    store_keys(settings.data_dir, keys)
    resealed = await reseal_all(resources, keys, by=by, progress=progress)
    if not resealed.unreadable:
        store_keys(settings.data_dir, keys[:1])
    return resealed


async def reseal_all(
    resources: Resources, keys: Sequence[SecretStr], *, by: By, progress: Progress | None = None
) -> Resealed:
    """Seal every value with the first of `keys`; those that none of them opens are counted and left."""
    newest, every = Sealer(keys[:1]), Sealer(keys)
    done = Resealed()
    columns = sealed_columns()
    async with resources.sessions() as session:
        total = sum([await _count(session, table, column) for table, column in columns])
    for table, column in columns:
        last: tuple[object, ...] | None = None
        while True:
            async with resources.sessions.begin() as session:
                last = await _reseal_some(
                    session, table, column, after=last, sealers=(newest, every), done=done
                )
            if progress is not None:
                progress(done.looked_at, total)
            if last is None:
                break
    async with resources.sessions.begin() as session:
        await audit(
            session,
            by=by,
            action="keys.rotate",
            detail=f"{done.resealed} of {done.looked_at} values sealed anew, {done.unreadable} unreadable",
        )
    return done


async def _count(session: AsyncSession, table: Table, column: Column[bytes]) -> int:
    counted: int = (
        await session.execute(select(func.count()).select_from(table).where(column.is_not(None)))
    ).scalar_one()
    return counted


async def _reseal_some(
    session: AsyncSession,
    table: Table,
    column: Column[bytes],
    *,
    after: tuple[object, ...] | None,
    sealers: tuple[Sealer, Sealer],
    done: Resealed,
) -> tuple[object, ...] | None:
    """One batch in the order of the primary key; the last key of it, None when there is no more."""
    key = list(table.primary_key.columns)
    newest, every = sealers
    query = select(*key, column.label("value")).where(column.is_not(None)).order_by(*key).limit(BATCH)
    if after is not None:
        query = query.where(tuple_(*key) > tuple_(*after))
    rows = (await session.execute(query.with_for_update())).all()
    for row in rows:
        done.looked_at += 1
        sealed = bytes(row.value)
        if _opens(newest, sealed):
            continue
        try:
            anew = every.reseal(sealed)
        except CannotUnseal:
            done.unreadable += 1
            continue
        same = [key_column == value for key_column, value in zip(key, row, strict=False)]
        await session.execute(update(table).where(*same).values({column.name: anew}))
        done.resealed += 1
    return tuple(rows[-1])[: len(key)] if len(rows) == BATCH else None


def _opens(sealer: Sealer, sealed: bytes) -> bool:
    try:
        sealer.unseal(sealed)
    except CannotUnseal:
        return False
    return True
