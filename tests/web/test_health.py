"""Alive is not the same as able to work, and what is missing is named."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.store.workers import beat, leave
from tests.support.bridge import serving


@pytest.fixture
async def client(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(resources) as url, httpx.AsyncClient(base_url=url, trust_env=False) as opened:
        yield opened


async def test_alive_says_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_with_a_worker_and_not_without(client: httpx.AsyncClient, resources: Resources) -> None:
    lonely = await client.get("/readyz")
    assert lonely.status_code == 503
    assert lonely.json()["checks"] == {
        "database": True,
        "schema": True,
        "redis": True,
        "worker": False,
        "disk": True,
    }
    async with resources.sessions.begin() as session:
        await beat(session, "w1", "host")
    assert (await client.get("/readyz")).status_code == 200
    async with resources.sessions.begin() as session:
        await leave(session, "w1")
    assert (await client.get("/readyz")).status_code == 503


async def test_a_database_without_the_schema_is_named(settings: Settings, empty_database_url: str) -> None:
    empty = settings.model_copy(update={"database_url": empty_database_url})
    async with (
        open_resources(empty) as resources,
        serving(resources) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["schema"] is False


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "sonobridge_webhook_requests_total" in answer.text
