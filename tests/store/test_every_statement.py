"""Every statement of the store, eight times over one connection, against tables that are full.

PostgreSQL plans a prepared statement with its values five times, and may from then on plan it once for all values.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

import app.store
from app.config.settings import Settings
from app.resources import open_resources
from app.store.base import ConstantText
from app.store.tables import metadata
from tests.store.filled import Filled, fill
from tests.store.plans import plans_of, sent_over
from tests.store.statements import NO_STATEMENT, SMALL, STATEMENTS, Sends

TIMES = 8


def constants() -> re.Pattern[str]:
    """A column that holds constants of ours, compared with a parameter."""
    columns = [
        f"(?:{table.name}(?:_\\d+)?\\.)?{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, ConstantText)
    ]
    assert len(columns) > 5
    return re.compile(rf"(?<![\w.])(?:{'|'.join(columns)}) (?:=|!=|IN|NOT IN) \(?\$")


def public_functions() -> set[Callable[..., Any]]:
    found = set()
    for module in pkgutil.iter_modules(app.store.__path__, "app.store."):
        loaded = importlib.import_module(module.name)
        found |= {
            value
            for name, value in vars(loaded).items()
            if inspect.isfunction(value) and value.__module__ == module.name and not name.startswith("_")
        }
    return found


def name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__.removeprefix('app.store.')}.{function.__name__}"


def test_the_list_of_statements_names_every_function_of_the_store():
    functions = public_functions()
    assert len(functions) > 90, "the reader found too few functions to mean anything"
    listed = STATEMENTS.keys() | NO_STATEMENT.keys()
    assert {name_of(one) for one in functions - listed} == set(), "add them to tests/store/statements.py"
    assert {name_of(one) for one in listed - functions} == set(), "they are no functions of the store"
    assert STATEMENTS.keys() & NO_STATEMENT.keys() == set()


@pytest.mark.parametrize(
    ("statement", "caught"),
    [
        ("SELECT 1 FROM exams WHERE exams.state = $1::VARCHAR", True),
        ("SELECT 1 FROM exams AS exams_1 WHERE exams_1.state IN ($2::VARCHAR, $3::VARCHAR)", True),
        ("INSERT INTO links (id) VALUES ($1) ON CONFLICT (customer_hash) WHERE state IN ($2)", True),
        ("SELECT 1 FROM exams WHERE exams.state IN ('queued', 'waiting')", False),
        ("UPDATE exams SET state=$1::VARCHAR WHERE exams.id = $2::UUID", False),
        ("SELECT 1 FROM exam_events WHERE exam_events.step = $1::VARCHAR", False),
    ],
)
def test_a_parameter_for_a_constant_is_noticed(statement: str, caught: bool):
    assert bool(constants().search(statement)) is caught


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """As every process of ours has it."""
    async with open_resources(settings) as resources:
        yield resources.engine


async def faults_of(connection: AsyncConnection, sends: Sends, filled: Filled) -> list[str]:
    """What is wrong with one way to call one function."""
    async with sent_over(connection) as sent:
        for time in range(1, TIMES + 1):
            outer = await connection.begin()
            try:
                async with AsyncSession(connection, expire_on_commit=False) as session:
                    await sends.call(session, filled)
                    await session.flush()
            except SQLAlchemyError as error:
                return [f"fails the {time}th time: {error}"]
            finally:
                await outer.rollback()
    faults = [f"a constant is a parameter: {one}" for one in sent if constants().search(one)]
    plans = await plans_of(connection, sent)
    whole = set().union(*(plan.read_whole for plan in plans)) - SMALL
    if whole and sends.reads_whole is None:
        faults.append(f"reads all of {sorted(whole)}")
    used = [plan.indexes for plan in plans]
    if sends.index is not None and sum(sends.index in one for one in used) < 2:
        faults.append(f"does not use {sends.index} with and without a generic plan, but {used}")
    return faults


@pytest.mark.row(26, 40)
@pytest.mark.slow
async def test_every_statement_of_the_store_eight_times_over_one_connection(
    settings: Settings, engine: AsyncEngine
) -> None:
    filled = await fill(settings.database_url)
    faults = []
    async with engine.connect() as connection:
        for function, ways in STATEMENTS.items():
            for number, sends in enumerate(ways):
                name = f"{name_of(function)} [{number}]"
                try:
                    found = await faults_of(connection, sends, filled)
                except Exception as error:
                    error.add_note(f"in {name}")
                    raise
                faults += [f"{name} {fault}" for fault in found]
    assert not faults, "\n".join(faults)


async def _loses_its_index(session: AsyncSession, _: Filled) -> None:
    states = ["queued", "waiting"]
    await session.execute(
        text("SELECT id FROM exams WHERE due_at <= now() AND state = ANY(CAST(:states AS text[])) LIMIT 5"),
        {"states": states},
    )


@pytest.mark.slow
async def test_a_statement_that_loses_its_partial_index_on_the_sixth_use_is_noticed(
    settings: Settings, engine: AsyncEngine
) -> None:
    filled = await fill(settings.database_url)
    async with engine.connect() as connection:
        faults = await faults_of(connection, Sends(_loses_its_index, "ix_exams_due"), filled)
    assert any("does not use ix_exams_due with and without a generic plan" in fault for fault in faults)
