"""Runs the migrations against the database that the settings name; offline mode prints the SQL."""

import asyncio
import ssl
import time

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from app.config.settings import load_settings, sqlalchemy_url
from app.embedded import embedded_stores
from app.infrastructure.database import database_tls
from app.store.tables import metadata

# A migration waits this long for a table that is in use, then gives up instead of stopping the service.
LOCK_TIMEOUT = "5s"
# Any number: two processes that migrate at once take turns by it.
MIGRATION_LOCK = 5_203_841_110
TURN_SECONDS = 0.2


def run(connection: Connection) -> None:
    """Bring the schema of an open connection to the wanted revision, each migration in a transaction of its own."""
    _wait_for_turn(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    # one that failed gives it back with its connection
    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")


def _wait_for_turn(connection: Connection) -> None:
    """Asked for again and again: a statement that waits would hold up the indexes of whoever has the turn, for ever."""
    while True:
        mine = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})").scalar_one()
        connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        connection.commit()
        if mine:
            return
        time.sleep(TURN_SECONDS)


async def run_on(url: str, tls: ssl.SSLContext | None) -> None:
    """Open one connection for the migrations and close it again."""
    options = {"ssl": tls} if tls is not None else {}
    engine = create_async_engine(sqlalchemy_url(url), poolclass=pool.NullPool, connect_args=options)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


async def run_online() -> None:
    """Migrate `sqlalchemy.url` when a caller gave one, else what the environment names."""
    given = context.config.get_main_option("sqlalchemy.url")
    if given:
        await run_on(given, context.config.attributes.get("tls"))
        return
    settings = load_settings()
    tls = database_tls(settings) if settings.database_url else None
    async with embedded_stores(settings) as stores:
        await run_on(stores.database_url, tls)


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql",
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(run_online())
