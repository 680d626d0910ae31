"""Real stores for tests: servers once per process, a fresh database and an empty Redis per test.

The servers are the embedded ones in a temporary folder, or those named by TEST_DATABASE_URL (a user that may create
databases) and TEST_REDIS_URL. The schema is made once by alembic in a template; each test's database is a copy of
it, which takes a few hundredths of a second.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from redis import Redis
from sqlalchemy.engine import make_url

from app.config.settings import asyncpg_dsn
from app.embedded import HeldStores, hold_stores

ROOT = Path(__file__).parents[2]
MIGRATION_SECONDS = 60


@dataclass
class TestStores:
    """The servers of one test process (each worker of pytest-xdist has its own, or its own names on a shared one)."""

    __test__ = False  # pytest would take the name for a test

    server_url: str
    redis_url: str
    prefix: str
    template: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def migrate_template(self) -> None:
        """Makes the template database and brings it to the newest schema, as `alembic upgrade head` does it."""
        name = f"{self.prefix}_template"
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SONOBRIDGE_", "CLARIUS_", "AURA"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"],
            cwd=ROOT,
            env=environment
            | {"DATABASE_URL": self.url_of(name), "SONOBRIDGE_ENV": "development"}
            # The embedded Redis is not to be started for a migration.
            | {"REDIS_URL": self.redis_url},
            capture_output=True,
            text=True,
            timeout=MIGRATION_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"alembic upgrade head failed:\n{done.stderr[-4000:]}")
        self.template = name

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """A database of one's own, with the schema or empty; gone afterwards. Yields its URL."""
        if migrated and not self.template:
            self.migrate_template()
        name = f"{self.prefix}_{next(self._numbers)}"
        copied = f' TEMPLATE "{self.template}"' if migrated else ""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"{copied}')
        try:
            yield self.url_of(name)
        finally:
            self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def empty_redis(self) -> str:
        """Empties our Redis database and returns its URL."""
        client = Redis.from_url(self.redis_url)
        try:
            client.flushdb()
        finally:
            client.close()
        return self.redis_url

    def drop_template(self) -> None:
        """Leaves nothing behind on a server that is not ours."""
        if self.template:
            self._execute(f'DROP DATABASE IF EXISTS "{self.template}" WITH (FORCE)')

    def url_of(self, database: str) -> str:
        """The URL of a database on the server."""
        return make_url(self.server_url).set(database=database).render_as_string(hide_password=False)

    def _execute(self, *statements: str) -> None:
        run_apart(_execute(asyncpg_dsn(self.server_url), statements))


@contextmanager
def open_test_stores(folder: Path, *, worker: str, durable: bool = False) -> Iterator[TestStores]:
    """The servers for one test process; `worker` is pytest-xdist's name of it (`gw0`, or `master`).

    `durable`: the embedded PostgreSQL syncs each commit to disk, as it does for users.
    """
    server_url = os.environ.get("TEST_DATABASE_URL", "")
    redis_url = os.environ.get("TEST_REDIS_URL", "")
    held: HeldStores | None = None
    if not (server_url and redis_url):
        held = hold_stores(folder, want_postgres=not server_url, want_redis=not redis_url, durable=durable)
    try:
        stores = TestStores(
            server_url=server_url or (held and held.database_url) or "",
            redis_url=_numbered(redis_url, worker) if redis_url else (held and held.redis_url) or "",
            prefix=f"sonobridge_test_{worker}_{os.getpid()}",
        )
        try:
            yield stores
        finally:
            stores.drop_template()
    finally:
        if held is not None:
            held.release()


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine to its end in a thread with a loop of its own, whatever loop the test has."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


async def _execute(dsn: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _numbered(redis_url: str, worker: str) -> str:
    """A Redis server that is not ours has 16 numbered databases; each worker takes one, and none takes 0."""
    number = 1 + int(worker.removeprefix("gw")) if worker.startswith("gw") else 15
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return urlunsplit(parts._replace(query=f"db={number}"))
    return urlunsplit(parts._replace(path=f"/{number}"))
