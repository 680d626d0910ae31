"""The migrations and the models say the same, up and down again, and a difference is noticed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Connection, Integer, MetaData, Table, text
from sqlalchemy.ext.asyncio import create_async_engine

from app.config.settings import sqlalchemy_url
from app.store.tables import metadata

ROOT = Path(__file__).parents[1]


def alembic(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """alembic's command line on this database."""
    environ = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("SONOBRIDGE_", "CLARIUS_", "AURA"))
    }
    environ |= {"DATABASE_URL": database_url, "SONOBRIDGE_ENV": "development"}
    return subprocess.run(
        [sys.executable, "-m", "alembic", *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_alembic_check_finds_nothing_to_do(database_url: str) -> None:
    done = alembic(database_url, "check")
    assert done.returncode == 0, done.stdout + done.stderr


async def tables(database_url: str) -> set[str]:
    engine = create_async_engine(sqlalchemy_url(database_url))
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(lambda sync: set(sync.dialect.get_table_names(sync)))
    finally:
        await engine.dispose()


@pytest.mark.row(31)
@pytest.mark.slow
async def test_up_down_and_up_again(empty_database_url: str) -> None:
    for words in (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head")):
        done = alembic(empty_database_url, *words)
        assert done.returncode == 0, done.stderr[-2000:]
        left = await tables(empty_database_url) - {"alembic_version"}
        assert left == (set() if words[0] == "downgrade" else set(metadata.tables))


@pytest.mark.slow
async def test_what_upstreams_had_said_in_the_open_is_taken_out(empty_database_url: str) -> None:
    """Revision 0006: what stands before the words stays."""
    assert alembic(empty_database_url, "upgrade", "0005").returncode == 0
    engine = create_async_engine(sqlalchemy_url(empty_database_url))
    said = "A2: aurabox answered 422: The record of Nora Marbeck is known."
    try:
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO upstreams (account, refused_why) VALUES ('a', :said), ('b', 'no key is set')"
                ),
                {"said": said},
            )
            await connection.execute(
                text(
                    "INSERT INTO audit_events (actor, action, result, detail) VALUES ('x', 'y', 'done', :said)"
                ),
                {"said": said},
            )
        done = alembic(empty_database_url, "upgrade", "0006")
        assert done.returncode == 0, done.stderr[-2000:]
        async with engine.connect() as connection:
            whys = await connection.execute(text("SELECT refused_why FROM upstreams ORDER BY account"))
            assert list(whys.scalars()) == ["A2: aurabox answered 422", "no key is set"]
            details = await connection.execute(text("SELECT detail FROM audit_events"))
            assert list(details.scalars()) == ["A2: aurabox answered 422"]
    finally:
        await engine.dispose()


def differences(connection: Connection, wanted: MetaData) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), wanted))


async def test_a_model_without_a_migration_is_noticed(database_url: str) -> None:
    planted = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(planted)
    Table("planted", planted, Column("id", Integer, primary_key=True))
    engine = create_async_engine(sqlalchemy_url(database_url))
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(lambda sync: differences(sync, metadata)) == []
            found = await connection.run_sync(lambda sync: differences(sync, planted))
    finally:
        await engine.dispose()
    assert [what[0] for what in found] == ["add_table"]


def test_every_file_of_the_store_is_in_the_metadata() -> None:
    """A table's file that nobody imports would be missing from the check above."""
    listed = (ROOT / "app/store/tables.py").read_text("utf-8")
    for path in (ROOT / "app/store").glob("*.py"):
        if "__tablename__" in path.read_text("utf-8"):
            assert path.stem in listed, f"{path.name} is not imported in tables.py"


@pytest.mark.slow
async def test_an_index_that_was_left_half_built_is_built_again(empty_database_url: str) -> None:
    """Revision 0021: what an interrupted build leaves has the name of the new index, and is none."""
    assert alembic(empty_database_url, "upgrade", "0020").returncode == 0
    engine = create_async_engine(sqlalchemy_url(empty_database_url))
    try:
        async with engine.begin() as connection:
            for name in ("ix_exams_data", "ix_exams_due_next"):
                await connection.execute(text(f"CREATE INDEX {name} ON exams (trace)"))
        done = alembic(empty_database_url, "upgrade", "head")
        assert done.returncode == 0, done.stderr[-2000:]
        async with engine.connect() as connection:
            assert await connection.run_sync(lambda sync: differences(sync, metadata)) == []
    finally:
        await engine.dispose()


@pytest.mark.slow
def test_two_processes_that_migrate_at_once_take_turns(empty_database_url: str) -> None:
    """A build that is concurrent waits for other transactions: whoever waits for the turn must hold none open."""
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: alembic(empty_database_url, "upgrade", "head"), range(2)))
    assert [done.returncode for done in both] == [0, 0], both[0].stderr[-2000:] + both[1].stderr[-2000:]
