"""Sends HTTP requests over many kept connections as fast as they are answered; must not measure what it can't keep up with.

Written upon asyncio's protocols: a client library costs more than the server that is measured, on the same two cores.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast


@dataclass
class Load:
    """What came of one run: seconds of each request that was answered, and how many answers of each status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the requests were answered."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


class _Connection(asyncio.Protocol):
    def __init__(
        self,
        load: Load,
        next_request: Callable[[], bytes | None],
        answered: Callable[[int, bytes], None],
        over: asyncio.Future[None],
    ) -> None:
        self._load, self._next, self._answered, self._over = load, next_request, answered, over
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods alone
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        request = self._next()
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < int(length.partition(b":")[2]):
            return
        self._load.latencies.append(time.perf_counter() - self._began)
        status = int(head.split(b" ", 2)[1])
        self._load.statuses[status] = self._load.statuses.get(status, 0) + 1
        self._answered(status, body)
        self._answer = b""
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)


async def post(
    port: int,
    path: str,
    body: Callable[[], bytes],
    *,
    connections: int,
    seconds: float | None = None,
    requests: int | None = None,
    answered: Callable[[int, bytes], None] = lambda _status, _body: None,
) -> Load:
    """Post to a server on loopback until `seconds` are over or `requests` were sent; `body` makes each a new body.

    `answered` gets each answer. A connection that the server ends is not opened again.
    """
    load = Load()
    left = requests
    began = time.perf_counter()

    def next_request() -> bytes | None:
        nonlocal left
        if left is not None:
            if left == 0:
                return None
            left -= 1
        elif time.perf_counter() - began > (seconds or 0):
            return None
        content = body()
        return (
            b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % (path.encode(), len(content))
        ) + content

    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    for over in ends:
        await loop.create_connection(
            partial(_Connection, load, next_request, answered, over), "127.0.0.1", port
        )
    await asyncio.gather(*ends)
    load.seconds = time.perf_counter() - began
    return load
