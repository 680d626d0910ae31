"""The test stores themselves: every test finds its own database and an empty Redis."""

import asyncpg
import pytest
from redis.asyncio import Redis

from app.config.settings import Settings, asyncpg_dsn


@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_each_test_has_a_database_and_a_redis_of_its_own(settings: Settings, turn: int):
    connection = await asyncpg.connect(asyncpg_dsn(settings.database_url))
    await connection.execute("CREATE TABLE left_behind (a int)")
    assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    await connection.close()
    client = Redis.from_url(settings.redis_url)
    assert await client.incr("left_behind") == 1, turn
    await client.aclose()


def test_a_plain_test_can_use_them_too(empty_database_url: str, redis_url: str):
    assert empty_database_url.startswith("postgresql")
    assert "db=" in redis_url or redis_url.rsplit("/", 1)[1].isdigit()
