"""Sends wake-ups to workers (rings them) through Redis; the only place in `app` that knows arq.

Losing a ring costs latency only.

A job is one name and two words, which row: state, due times and attempts are in Postgres. arq gives nothing we
rely on: it drops a job whose id is known, whose data expired, or whose function raised.
"""

import asyncio
import json
from typing import Any
from uuid import uuid4

import structlog
from arq.connections import ArqRedis
from arq.jobs import Job
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from app.config.settings import Settings
from app.config.trust import house_authorities

JOB_NAME = "run"
DUE = "due"
"""A ring of this kind names no row: whatever is due is meant."""
QUEUE_NAME = "sonobridge:queue"
RING_SECONDS = 0.2
# how long a ring for whatever is due waits for others that ask for the same
BELL_SECONDS = 0.005
SOCKET_SECONDS = 5.0
MAX_CONNECTIONS = 50

log = structlog.get_logger(__name__)


def serialize(job: dict[str, Any]) -> bytes:
    """Job data for arq as JSON: readable by any version of ours, and no pickle is ever loaded."""
    return json.dumps(job).encode()


def deserialize(data: bytes) -> dict[str, Any]:
    """The inverse of `serialize`. Raises ValueError, which makes arq drop the job; the sweep rings again."""
    job: dict[str, Any] = json.loads(data)
    return job


def connect(settings: Settings) -> ArqRedis:
    """A client that connects when it is first used; each call to Redis is bounded by `SOCKET_SECONDS`."""
    trust = {}
    if settings.ca_file is not None and settings.redis_url.startswith("rediss:"):
        trust["ssl_ca_data"] = house_authorities(settings.ca_file)
    pool = ConnectionPool.from_url(
        settings.redis_url,
        max_connections=MAX_CONNECTIONS,
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=SOCKET_SECONDS,
        **trust,
    )
    return ArqRedis(
        connection_pool=pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=QUEUE_NAME,
    )


class Queue:
    """Sends wake-ups to workers. `ring` never raises and never takes longer than `RING_SECONDS`."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)
        self._ringing: set[asyncio.Task[Job | None]] = set()
        self._bell: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return "Queue()"

    async def ring(self, kind: str, row_id: object, epoch: int = 0) -> bool:
        """Ask for work on one row; False when Redis did not take it in time (the sweep will).

        The id holds the lease epoch: a row that was worked on since has a new one, so an old job or result
        that Redis still keeps can't swallow this ring. What takes longer goes on by itself: a pipeline that is
        cancelled keeps its connection, and the pool would be used up some day.
        """
        job_id = f"{kind}:{row_id}:{epoch}"
        ringing = asyncio.create_task(self._redis.enqueue_job(JOB_NAME, kind, str(row_id), _job_id=job_id))
        self._ringing.add(ringing)
        ringing.add_done_callback(self._rung)
        await asyncio.wait({ringing}, timeout=RING_SECONDS)
        error = ringing.exception() if ringing.done() else TimeoutError()
        if error is None:
            return True
        if not isinstance(error, (RedisError, OSError, TimeoutError)):
            raise error
        log.warning("ring_failed", kind=kind, error_type=type(error).__name__)
        return False

    def ring_soon(self) -> None:
        """Ask for work on whatever is due, once for all who ask in the same few milliseconds; waits for nothing."""
        if self._bell is None or self._bell.done():
            self._bell = asyncio.create_task(self._ring_for_all())

    async def _ring_for_all(self) -> None:
        await asyncio.sleep(BELL_SECONDS)
        await self.ring(DUE, uuid4())

    def _rung(self, ringing: asyncio.Task[Job | None]) -> None:
        self._ringing.discard(ringing)
        if not ringing.cancelled():
            # read here, or asyncio complains of an error that nobody asked for
            ringing.exception()

    async def alive(self) -> bool:
        """Whether Redis answers within `RING_SECONDS`."""
        try:
            async with asyncio.timeout(RING_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def aclose(self) -> None:
        """Let the connections go, after the rings that are under way; each call of theirs is bounded."""
        if self._bell is not None:
            await asyncio.gather(self._bell, return_exceptions=True)
        await asyncio.gather(*self._ringing, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)
