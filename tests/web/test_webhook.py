"""The webhook over HTTP: every status, bodies that nobody should send, and stores that are away."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.config.settings import Settings, asyncpg_dsn
from app.main import create_app
from app.resources import Resources, open_resources
from app.store.exams import find_exam
from tests.support.bridge import serving
from tests.support.proxy import proxied
from tests.support.wait import until

PATH = "/webhooks/clarius"


def notice(**changes: Any) -> dict[str, Any]:
    given = {
        "request_uuid": str(uuid.uuid4()),
        "exam_uuid": str(uuid.uuid4()),
        "customer_id": "a-customer-of-clarius",
        "download_url": "https://cloud.example/download-requests/1/data/",
        "submitted_at": "2026-03-01T10:00:00Z",
    }
    return {**given, **changes}


@asynccontextmanager
async def application(settings: Settings, **more: object) -> AsyncIterator[httpx.AsyncClient]:
    """The application without a server; `client.resources` are its resources."""
    async with open_resources(settings.model_copy(update=more)) as resources:
        transport = httpx.ASGITransport(create_app(resources=resources), raise_app_exceptions=False)
        app = transport.app
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://testserver", verify=False) as client,
        ):
            client.resources = resources
            yield client


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with application(settings) as opened:
        yield opened


async def has_row(resources: Resources, request_uuid: str) -> bool:
    async with resources.sessions() as session:
        return await find_exam(session, uuid.UUID(request_uuid)) is not None


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
async def test_a_notification_is_accepted_once(client: httpx.AsyncClient, path: str) -> None:
    body = notice(species="unknown fields are ignored")
    first, second = [await client.post(path, json=body) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == {"status": "accepted", "request_uuid": body["request_uuid"]}
    assert second.json()["status"] == "duplicate"
    assert await has_row(client.resources, body["request_uuid"])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_nothing_but_post(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, PATH)
    assert answer.status_code == 405


@pytest.mark.row(17)
async def test_under_a_secret_only_its_path_answers(settings: Settings) -> None:
    async with application(settings, webhook_secret=SecretStr("a-long-secret-segment")) as client:
        for path in (
            PATH,
            f"{PATH}/",
            f"{PATH}/another-segment",
            f"{PATH}/a-long-secret-segmen",
            f"{PATH}/ä",
        ):
            assert (await client.post(path, json=notice())).status_code == 404
        for path in (f"{PATH}/a-long-secret-segment", f"{PATH}/a-long-secret-segment/"):
            assert (await client.post(path, json=notice())).status_code == 202


async def test_without_a_secret_no_segment_answers(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{PATH}/anything", json=notice())).status_code == 404


async def test_above_the_rate_429_and_when_to_come_again(settings: Settings) -> None:
    async with application(settings, webhook_rate=2.0) as client:
        answers = [await client.post(PATH, json=notice()) for _ in range(12)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert answers[0].status_code == answers[1].status_code == 202
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


async def test_when_too_many_wait_503_and_nothing_is_kept(settings: Settings) -> None:
    async with application(settings, max_unverified=1) as client:
        assert (await client.post(PATH, json=notice())).status_code == 202
        body = notice()
        refused = await client.post(PATH, json=body)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert not await has_row(client.resources, body["request_uuid"])


MALFORMED: dict[str, bytes] = {
    "no JSON": b"{",
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "bad UTF-8": b'{"customer_id": "\xff\xfe"}',
    "deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "no UUID": json.dumps(notice(request_uuid="1; DROP TABLE exams")).encode(),
    "a number for a UUID": json.dumps(notice(exam_uuid=7)).encode(),
    "no customer": json.dumps(notice(customer_id="")).encode(),
    "a long customer": json.dumps(notice(customer_id="x" * 256)).encode(),
    "NUL": json.dumps(notice(download_url="a\x00b")).encode(),
    "half a character": json.dumps(notice(customer_id="\ud800")).encode(),
    "infinite": b'{"request_uuid": Infinity}',
    "long number": b'{"request_uuid": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.row(17)
@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_notification_is_422_and_small(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(PATH, content=MALFORMED[name], headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 1000
    assert b"DROP" not in answer.content


@pytest.mark.row(17)
async def test_too_large_is_413_however_it_is_sent(client: httpx.AsyncClient) -> None:
    large = json.dumps(notice(padding="x" * 16 * 1024)).encode()
    for content in (large, b" " * 1024 * 1024, pieces(large)):
        answer = await client.post(PATH, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 1000):
        yield content[at : at + 1000]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", None]
)
async def test_what_is_not_json_is_415(client: httpx.AsyncClient, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = await client.post(PATH, content=json.dumps(notice()).encode(), headers=headers)
    assert answer.status_code == 415


async def test_json_with_a_charset_is_json(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = await client.post(PATH, content=json.dumps(notice()).encode(), headers=headers)
    assert answer.status_code == 202


@pytest.mark.row(17)
@pytest.mark.slow
async def test_a_body_that_does_not_come_is_408_and_the_connection_ends(settings: Settings) -> None:
    async with open_resources(settings) as resources, serving(resources) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            b"POST /webhooks/clarius HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"request'
        )
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_goes_away_within_the_body_harms_nobody(settings: Settings) -> None:
    async with open_resources(settings) as resources, serving(resources) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(
                b"POST /webhooks/clarius HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.post(PATH, json=notice())).status_code == 202


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.row(17)
async def test_no_body_is_answered_500(settings: Settings) -> None:
    """Row 17: whatever bytes or JSON come, the answer is a 202 with a row or a 4xx without one."""
    async with application(settings) as client:
        bodies: list[bytes] = []

        @hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
        @given(
            st.binary(max_size=200)
            | st.fixed_dictionaries({}, optional=dict.fromkeys(notice(), VALUES)).map(dumped)
            | st.fixed_dictionaries(
                {"submitted_at": st.datetimes().map(lambda at: f"{at.isoformat()}+14:00")}
            ).map(lambda changes: dumped(notice(**changes)))
        )
        def collect(body: bytes) -> None:
            bodies.append(body)

        collect()
        for body in bodies:
            answer = await client.post(PATH, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in {202, 413, 422}, (answer.status_code, body)
            if answer.status_code == 202:
                assert await has_row(client.resources, answer.json()["request_uuid"])


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


# row 6: the database refuses, hangs or goes away; row 7: Redis does


@asynccontextmanager
async def refusing(database_url: str) -> AsyncIterator[None]:
    """The database lets nobody in and puts everybody out, as at a restart."""
    dsn = asyncpg_dsn(database_url)
    name = urlsplit(dsn).path.lstrip("/")
    admin = await asyncpg.connect(dsn, database="postgres")
    try:
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        await admin.close()


@pytest.mark.row(6)
async def test_a_database_that_refuses_is_503_and_it_heals(settings: Settings) -> None:
    async with application(settings) as client:
        assert (await client.post(PATH, json=notice())).status_code == 202
        async with refusing(settings.database_url):
            refused = await client.post(PATH, json=notice())
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["database"]) == (503, False)
            assert (await client.get("/healthz")).status_code == 200

        async def heals() -> bool:
            return (await client.post(PATH, json=notice())).status_code == 202

        await until(heals)


@pytest.mark.row(7)
async def test_redis_hung_or_gone_the_webhook_answers_all_the_same(settings: Settings) -> None:
    async with (
        proxied(settings.redis_url) as (proxy, through),
        application(settings, redis_url=through) as client,
    ):
        resources = client.resources
        assert await resources.queue.alive()
        proxy.hold()
        assert (await client.post(PATH, json=notice())).status_code == 202
        assert not await resources.queue.alive()
        proxy.refuse = True
        proxy.cut()
        assert (await client.post(PATH, json=notice())).status_code == 202
        proxy.refuse = False
        proxy.release()
        await until(resources.queue.alive)
