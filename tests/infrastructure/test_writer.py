"""What many ask for at once is written in few commits, and each hears what became of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from app.config.settings import Settings, asyncpg_dsn
from app.infrastructure import writer as writing
from app.infrastructure.writer import Writer, WriterFull
from app.resources import Resources, open_resources
from tests.support.proxy import before_postgres
from tests.support.wait import until

INSERT = "INSERT INTO written SELECT * FROM unnest($1::int[]) RETURNING number"


class Table:
    """A table of numbers that fit once, the writer over it, and what each of its transactions was given."""

    def __init__(self, resources: Resources, *, seconds: float = 5.0) -> None:
        self.resources = resources
        self.batches: list[list[int]] = []
        self.connections: list[asyncpg.Connection] = []
        self.seconds = seconds
        self.writer: Writer[int, int] = Writer(self.connect, self.write, seconds=seconds)

    async def connect(self) -> asyncpg.Connection:
        self.connections.append(await self.resources.watch.connect(seconds=self.seconds))
        return self.connections[-1]

    async def write(self, connection: asyncpg.Connection, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        return [row["number"] for row in await connection.fetch(INSERT, list(numbers))]

    async def put(self, *numbers: int) -> list[int | BaseException]:
        return await asyncio.gather(*map(self.writer.put, numbers), return_exceptions=True)


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Another connection, over which the table was made."""
    connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
    await connection.execute("CREATE TABLE written (number int PRIMARY KEY CHECK (number < 1000))")
    yield connection
    await connection.close()


@pytest.fixture
async def table(resources: Resources, owner: asyncpg.Connection) -> AsyncIterator[Table]:
    made = Table(resources)
    yield made
    await made.writer.aclose()


async def rows(owner: asyncpg.Connection) -> list[int]:
    return [row["number"] for row in await owner.fetch("SELECT number FROM written ORDER BY number")]


async def test_what_comes_while_a_commit_runs_goes_into_the_next_one(
    table: Table, owner: asyncpg.Connection
) -> None:
    assert await table.put(*range(100)) == list(range(100))
    assert await rows(owner) == list(range(100))
    assert len(table.batches) <= 2
    assert len(table.connections) == 1


@pytest.mark.parametrize("poison", [1000, 7])
async def test_what_the_database_refuses_fails_alone(
    table: Table, owner: asyncpg.Connection, poison: int
) -> None:
    """A number that is too large, and one that is there already."""
    await owner.execute("INSERT INTO written VALUES (7)")
    answers = await table.put(1, poison, 2)
    assert (answers[0], answers[2]) == (1, 2)
    assert isinstance(answers[1], asyncpg.IntegrityConstraintViolationError)
    assert await table.put(3) == [3]
    assert await rows(owner) == [1, 2, 3, 7]


async def test_a_connection_that_was_cut_is_replaced_and_nobody_notices(
    table: Table, owner: asyncpg.Connection
) -> None:
    assert await table.put(1) == [1]
    await owner.execute("SELECT pg_terminate_backend($1)", table.connections[0].get_server_pid())
    assert await table.put(2, 3) == [2, 3]
    assert len(table.connections) == 2


async def test_a_server_that_became_a_standby_is_left_for_the_one_that_took_over(
    table: Table, owner: asyncpg.Connection
) -> None:
    assert await table.put(1) == [1]
    await table.connections[0].execute("SET default_transaction_read_only = on")
    assert await table.put(2) == [2]
    assert len(table.connections) == 2


async def test_when_too_many_wait_the_next_is_refused_at_once(
    table: Table, owner: asyncpg.Connection
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE written")
        first = asyncio.create_task(table.put(0))
        await until(lambda: table.batches)
        waiting = asyncio.create_task(table.put(*range(1, writing.MOST_WAITING + 1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (refused,) = await table.put(999)
        assert isinstance(refused, WriterFull)
        assert not waiting.done()
        waiting.cancel()
    assert await first == [0]


async def test_whoever_goes_before_its_turn_is_not_written(table: Table, owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE written")
        first = asyncio.create_task(table.put(1))
        await until(lambda: table.batches)
        gone = asyncio.create_task(table.writer.put(2))
        stays = asyncio.create_task(table.writer.put(3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    assert (await first, await stays) == ([1], 3)
    assert await rows(owner) == [1, 3]


async def test_a_statement_that_takes_too_long_fails_and_the_next_is_written(
    resources: Resources, owner: asyncpg.Connection
) -> None:
    table = Table(resources, seconds=0.2)
    async with owner.transaction():
        await owner.execute("LOCK TABLE written")
        (late,) = await table.put(1)
    assert isinstance(late, asyncpg.QueryCanceledError)
    assert await table.put(2) == [2]
    await table.writer.aclose()


async def test_a_server_that_says_nothing_any_more_is_left_and_not_asked_twice(
    settings: Settings, owner: asyncpg.Connection
) -> None:
    async with (
        before_postgres(settings.database_url) as (proxy, through),
        open_resources(settings.model_copy(update={"database_url": through})) as resources,
    ):
        table = Table(resources, seconds=0.2)
        assert await table.put(1) == [1]
        proxy.hold()
        (silent,) = await table.put(2)
        assert isinstance(silent, TimeoutError)
        assert len(table.batches) == 2
        proxy.release()
        assert await table.put(3) == [3]
        await table.writer.aclose()


async def test_what_waits_is_written_before_the_writer_is_closed(
    table: Table, owner: asyncpg.Connection
) -> None:
    waiting = [asyncio.create_task(table.writer.put(number)) for number in range(10)]
    await asyncio.sleep(0)
    await table.writer.aclose()
    assert await asyncio.gather(*waiting) == list(range(10))
    assert all(connection.is_closed() for connection in table.connections)
