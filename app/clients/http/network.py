"""Dials only addresses that the egress rules passed, for httpx; must not know calls, credentials or vendors.

httpx has no public way to hand over a network backend, so this adapts httpcore's public connection pool to
httpx's public transport interface. The name is resolved once, every address checked, and a checked address is
what gets dialled: a name that resolves differently the second time gains nothing. TLS still verifies the name,
because httpcore takes SNI from the URL and not from the dialled address.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx

from app.clients.http.egress import Egress

Resolver = Callable[[str, int], Awaitable[list[str]]]

NEXT_ADDRESS_SECONDS = 0.25
"""RFC 8305's connection attempt delay."""

# Most specific first: the first class that fits is taken.
HTTPX_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.PoolTimeout, httpx.PoolTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
    (httpcore.ProtocolError, httpx.RemoteProtocolError),
    (httpcore.NetworkError, httpx.ReadError),
    (httpcore.TimeoutException, httpx.ReadTimeout),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, in the order in which the system prefers them."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _as_httpx(error: Exception) -> httpx.TransportError | None:
    for theirs, ours in HTTPX_ERRORS:
        if isinstance(error, theirs):
            return ours(type(error).__name__)
    return None


Dial = Callable[[str], Awaitable[httpcore.AsyncNetworkStream]]


async def _first_to_answer(dial: Dial, addresses: Sequence[str]) -> httpcore.AsyncNetworkStream:
    """As RFC 8305: an address that answers nothing, as IPv6 that leads nowhere, holds up the next one for a moment.

    The next is tried as well when one has failed or `NEXT_ADDRESS_SECONDS` are over; what comes second is let go.
    """
    trouble: Exception = httpcore.ConnectError("the name has no address")
    left = deque(addresses)
    trying: set[asyncio.Task[httpcore.AsyncNetworkStream]] = set()
    try:
        while left or trying:
            if left:
                trying.add(asyncio.ensure_future(dial(left.popleft())))
            pause = NEXT_ADDRESS_SECONDS if left else None
            ended, _ = await asyncio.wait(trying, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for attempt in ended:
                trying.discard(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout):
                    raise error
                trouble = error
        raise trouble
    finally:
        for attempt in trying:
            attempt.cancel()
        for late in await asyncio.gather(*trying, return_exceptions=True):
            if isinstance(late, httpcore.AsyncNetworkStream):
                await late.aclose()


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves, checks, then dials what was checked."""

    def __init__(self, egress: Egress, resolver: Resolver) -> None:
        self._egress = egress
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the name's addresses that answers; `timeout` (seconds) covers all of it."""
        dial = partial(
            self._inner.connect_tcp,
            port=port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolver(host, port)
                self._egress.check_addresses(host, port, addresses)
                return await _first_to_answer(dial, addresses)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("connecting took too long") from error
        except OSError as error:  # the resolver's own trouble: socket.gaierror
            raise httpcore.ConnectError("the name could not be resolved") from error

    async def sleep(self, seconds: float) -> None:
        """Part of httpcore's interface; it uses this between its own retries, which are off."""
        await asyncio.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    def __init__(self, inner: AsyncIterable[bytes]) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except Exception as error:
            mapped = _as_httpx(error)
            if mapped is None:
                raise
            raise mapped from error

    async def aclose(self) -> None:
        closing = getattr(self._inner, "aclose", None)
        if closing is not None:
            await closing()


class Transport(httpx.AsyncBaseTransport):
    """httpx's transport over a pool that dials through `CheckedNetwork`; no proxies, no environment, HTTP/1.1."""

    def __init__(self, network: CheckedNetwork, *, tls: ssl.SSLContext, max_connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=max_connections,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=network,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange; httpcore's errors come out as httpx's."""
        try:
            answer = await self._pool.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(
                        scheme=request.url.raw_scheme,
                        host=request.url.raw_host,
                        port=request.url.port,
                        target=request.url.raw_path,
                    ),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except Exception as error:
            mapped = _as_httpx(error)
            if mapped is None:
                raise
            raise mapped from error
        assert isinstance(answer.stream, AsyncIterable)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._pool.__aexit__(exc_type, exc_value, traceback)

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self._pool.aclose()
