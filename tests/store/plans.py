"""Which statements a call sends, and how PostgreSQL plans them on that very connection; changes nothing."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

Sent = dict[str, tuple[Any, ...]]


@asynccontextmanager
async def sent_over(connection: AsyncConnection) -> AsyncIterator[Sent]:
    """Each statement that is sent within the block, by SQLAlchemy or past it, with the parameters it was last sent with."""
    sent: Sent = {}
    engine, raw = connection.engine, await driver_of(connection)

    def keep(_1: Any, _2: Any, statement: str, parameters: Any, _3: Any, _4: Any) -> None:
        if statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            return
        row = parameters[0] if isinstance(parameters, list) else parameters
        sent[statement] = tuple(row or ())

    def keep_raw(query: Any) -> None:
        # the driver itself asks the catalogue for types that it meets first
        if query.args and "pg_catalog" not in query.query:
            sent[query.query] = query.args

    event.listen(engine.sync_engine, "before_cursor_execute", keep)
    try:
        with raw.query_logger(keep_raw):
            yield sent
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", keep)


async def driver_of(connection: AsyncConnection) -> "asyncpg.Connection":
    """The driver's connection below SQLAlchemy's."""
    raw: asyncpg.Connection | None = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    return raw


class Plan:
    """The plan of one statement."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.nodes = list(_nodes(root))

    @property
    def indexes(self) -> set[str]:
        """The indexes that are read."""
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    @property
    def read_whole(self) -> set[str]:
        """The tables that are read from end to end."""
        return {node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"}


async def plans_of(connection: AsyncConnection, sent: Sent) -> list[Plan]:
    """How the connection's prepared statements are planned now, and how they are once they are generic."""
    raw = await driver_of(connection)
    found = []
    for mode in ("auto", "force_generic_plan"):
        await raw.execute(f"SET plan_cache_mode = {mode}")
        for statement, parameters in sent.items():
            # the connection reads JSON by itself, as SQLAlchemy has set it up
            explained = await _explained(connection, statement, parameters, "FORMAT JSON")
            found += [Plan(plan[0][0]["Plan"]) for plan in explained]
    await raw.execute("RESET plan_cache_mode")
    return found


async def plan_lines(connection: AsyncConnection, statement: str, parameters: tuple[Any, ...]) -> list[str]:
    """How the connection's prepared statement is executed now, as a person reads it. Executes it."""
    options = "ANALYZE, BUFFERS"
    return [line for lines in await _explained(connection, statement, parameters, options) for line in lines]


async def _explained(
    connection: AsyncConnection, statement: str, parameters: tuple[Any, ...], options: str
) -> list[list[Any]]:
    raw = await driver_of(connection)
    names = await raw.fetch("SELECT name FROM pg_prepared_statements WHERE statement = $1", statement)
    assert names, f"was not prepared, or is so no more: {statement}"
    given = f"({', '.join(map(_quoted, parameters))})" if parameters else ""
    return [
        [row[0] for row in await raw.fetch(f'EXPLAIN ({options}) EXECUTE "{name["name"]}"{given}')]
        for name in names
    ]


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _quoted(value: Any) -> str:
    """A parameter as SQL text of no type, which PostgreSQL takes for the one that is wanted."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        text = "\\x" + value.hex()
    elif isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, timedelta):
        text = f"{value.total_seconds()} seconds"
    elif isinstance(value, list | tuple):
        text = "{" + ",".join(_element(one) for one in value) + "}"
    else:
        text = str(value)
    return "'" + text.replace("'", "''") + "'"


def _element(value: Any) -> str:
    """The same within an array."""
    if value is None:
        return "NULL"
    return json.dumps("\\x" + value.hex() if isinstance(value, bytes) else str(value))
