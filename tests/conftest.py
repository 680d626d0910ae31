"""Fixtures of all tests: real stores, settings that point at them; must not patch anything.

`stores` runs once per process; `database_url` and `redis_url` are fresh for each test; `settings` names both, and
`resources`, `sandbox` and `organization` are opened over it where a test asks for them.
"""

import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from app.config.sealing import new_key
from app.config.settings import Settings
from app.organizations.changes import add_organization
from app.resources import Resources, open_resources
from app.store.audit import By
from app.store.organizations import Organization
from tests.support.clarius import Sandbox
from tests.support.stores import TestStores, open_test_stores

PARTED = ("slow", "browser", "peers")
"""Markers of tests in which the application's code runs in other processes, or is not what is tested."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs PostgreSQL and Redis, which `make check` leaves out."""
    for item in items:
        if "stores" in getattr(item, "fixturenames", ()):
            item.add_marker("stores")


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: the garbage collector need not go through it in each test."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Measures no coverage where next to nothing would be measured: it makes a busy process up to ten times slower.

    Not pytest-cov's `no_cover`, which has no effect in the processes of pytest-xdist.
    """
    if not any(item.get_closest_marker(marker) for marker in PARTED):
        return (yield)
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]  # None is how it is switched off
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
        threading.settrace(of_threads)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def stores() -> Iterator[TestStores]:
    """PostgreSQL and Redis of this test process.

    Not below pytest's own temporary folder: each start of pytest on the machine shuts that to other users, and run
    by root PostgreSQL is another user.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "master")
    with (
        TemporaryDirectory(prefix="sonobridge-test-") as folder,
        open_test_stores(Path(folder), worker=worker) as opened,
    ):
        yield opened


@pytest.fixture
def database_url(stores: TestStores) -> Iterator[str]:
    """A migrated database of this test's own."""
    with stores.database() as url:
        yield url


@pytest.fixture
def empty_database_url(stores: TestStores) -> Iterator[str]:
    """A database of this test's own without any table, for tests of the migrations themselves."""
    with stores.database(migrated=False) as url:
        yield url


@pytest.fixture
def redis_url(stores: TestStores) -> str:
    """A Redis database, empty at the start of the test."""
    return stores.empty_redis()


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings for tests: this test's stores, its own data folder, loopback upstreams, intervals of moments.

    A test that needs others makes them by `settings.model_copy(update={…})`.
    """
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        env="development",
        secret_keys=[new_key()],
        allowed_upstreams=frozenset({"127.0.0.1", "localhost", "testserver"}),
        lease_seconds=2,
        sweep_seconds=1,
        retry_base_seconds=0.05,
        retry_cap_seconds=0.5,
        clarius_poll_interval=0.5,
        clarius_verify_window=5,
        worker_concurrency=4,
    )


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """Resources on the test's stores, open; folders whose tests ask Clarius have tests/support/pointed.py in its place."""
    async with open_resources(settings) as opened:
        yield opened


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Simulated vendors."""
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def organization(resources: Resources) -> Organization:
    """An organisation with its defaults."""
    return await add_organization(
        resources, {"name": "Harbour Clinic", "aurabox_key": "invented-key"}, by=By("test")
    )
