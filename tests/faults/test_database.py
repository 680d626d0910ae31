"""Row 41: connections that go dead without an end, a server that takes no writes any more."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.states import ExamState
from tests.support.bridge import Bridge, get, open_bridge, serving, settings_for, working
from tests.support.clarius import Sandbox
from tests.support.proxy import Proxy, before_postgres
from tests.support.rig import SHORT
from tests.support.wait import until


@asynccontextmanager
async def through_a_proxy(settings: Settings, sandbox: Sandbox) -> AsyncIterator[tuple[Proxy, Resources]]:
    """Resources that reach PostgreSQL through the proxy."""
    async with before_postgres(settings.database_url) as (proxy, url):
        wanted = settings_for(settings, sandbox, **SHORT).model_copy(update={"database_url": url})
        async with open_resources(wanted) as resources:
            yield proxy, resources


@pytest.mark.row(41)
async def test_a_worker_whose_connections_went_dead_is_soon_at_work_again(
    settings: Settings, sandbox: Sandbox
) -> None:
    async with (
        open_bridge(settings_for(settings, sandbox, **SHORT), sandbox, worker=False) as bridge,
        through_a_proxy(settings, sandbox) as (proxy, resources),
        working(resources),
    ):
        customer = await bridge.customer(await bridge.organization(images="none"))
        one = await sandbox.submit_exam(customer=customer, captures=())
        await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
        assert proxy.deaden() > 0
        two = await sandbox.submit_exam(customer=customer, captures=())
        await bridge.reaches(two.request_uuid, ExamState.DELIVERED, timeout=75)
        await bridge.ends_well()


@pytest.mark.row(41)
async def test_an_api_whose_connections_went_dead_refuses_a_few_notifications(
    settings: Settings, sandbox: Sandbox
) -> None:
    async with through_a_proxy(settings, sandbox) as (proxy, resources), serving(resources) as url:
        sandbox.clarius.settings["notification_url"] = f"{url}/webhooks/clarius"
        one = await sandbox.submit_exam(customer=sandbox.add_customer(), captures=())
        # so many at once, so that the pool is full of connections whatever the machine's load
        async with AsyncExitStack() as held:
            for _ in range(6):
                await (await held.enter_async_context(resources.sessions())).execute(text("SELECT 1"))
        assert proxy.deaden() > 5
        answers: list[int | None] = []

        async def taken() -> bool:
            answers.extend(await sandbox.notify(one.request_uuid))
            return answers[-1] == 202

        await until(taken, timeout=100)
        assert len(answers) <= 4
        assert set(answers[:-1]) <= {503}


@pytest.mark.row(41)
async def test_a_server_that_is_only_slow_loses_no_connection(settings: Settings, sandbox: Sandbox) -> None:
    async with through_a_proxy(settings, sandbox) as (proxy, resources), resources.sessions() as session:
        await session.execute(text("SELECT 1"))
        await until(lambda: proxy.connections >= 2, what="the watch has its connection")
        proxy.hold()
        before = proxy.connections
        await until(lambda: proxy.connections > before, what="the watch tries another")
        proxy.release()
        assert await session.scalar(text("SELECT 2")) == 2


@pytest.mark.row(41)
async def test_a_process_ends_though_nobody_noticed_that_its_connections_went_dead(
    settings: Settings, sandbox: Sandbox
) -> None:
    async with through_a_proxy(settings, sandbox) as (proxy, resources):
        async with AsyncExitStack() as held:
            for _ in range(6):
                await (await held.enter_async_context(resources.sessions())).execute(text("SELECT 1"))
        assert proxy.deaden() >= 6


@pytest.fixture
async def bridge(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Bridge]:
    async with open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as opened:
        yield opened


@pytest.mark.row(41)
async def test_a_server_that_takes_no_writes_is_503_and_not_ready_and_it_heals(
    bridge: Bridge,
) -> None:
    name = await database_name(bridge.resources)
    await until(lambda: answers(bridge, 200))
    await set_read_only(bridge.resources, name, "on")
    refused = await bridge.sandbox.submit_exam(once=True, customer=bridge.sandbox.add_customer(), captures=())
    assert refused.answers == (503,)
    assert (await get(bridge, "/readyz")).json()["checks"]["database"] is False
    await set_read_only(bridge.resources, name, "off")
    await until(lambda: answers(bridge, 200))

    async def taken() -> bool:
        return await bridge.sandbox.notify(refused.request_uuid) == [202]

    await until(taken)


@pytest.mark.row(41)
async def test_a_connection_to_a_server_that_became_a_standby_costs_no_notification(
    settings: Settings, sandbox: Sandbox
) -> None:
    async with open_bridge(settings_for(settings, sandbox, **SHORT), sandbox, worker=False) as bridge:
        await make_every_connection_read_only(bridge.resources)
        submitted = await sandbox.submit_exam(once=True, customer=sandbox.add_customer(), captures=())
        assert submitted.answers == (202,)


async def answers(bridge: Bridge, status: int) -> bool:
    return (await get(bridge, "/readyz")).status_code == status


async def database_name(resources: Resources) -> str:
    async with resources.sessions() as session:
        return str(await session.scalar(text("SELECT current_database()")))


async def set_read_only(resources: Resources, name: str, value: str) -> None:
    """For every connection, those of now and those to come."""
    async with resources.sessions.begin() as session:
        await session.execute(text("SET TRANSACTION READ WRITE"))
        await session.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {value}'))
    async with resources.sessions() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


async def make_every_connection_read_only(resources: Resources) -> None:
    """As on a primary that was made a standby: what is connected stays so."""
    async with resources.engine.connect() as connection:
        await connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
        await connection.commit()
