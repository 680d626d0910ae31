"""The one place that opens outside connections and makes calls on them; must not know any vendor's API.

Two retry tiers exist in the project: minutes to hours live in the database rows, and this file makes only the
short ones (a read that could not connect, was cut, or met a 502, 503 or 504: twice at most, jittered, under a
second). Ten lines of loop were less than a dependency.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Self

import httpx

from app.clients.http.call import (
    SAFE_METHODS,
    Answer,
    Call,
    Credentials,
    Limits,
    Observation,
    Observe,
    Upload,
)
from app.clients.http.classify import error_for_status, error_for_transport
from app.clients.http.egress import Egress, parse_url, place, same_origin
from app.clients.http.network import CheckedNetwork, Resolver, Transport, resolve
from app.clients.http.streamed import Streamed
from app.config.trust import http_tls
from app.errors import BadAnswer, LocalTrouble, NotAllowed, RenewCredentials, TryLater, UpstreamError

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SHORT_RETRIES = 2
SHORT_RETRY_SECONDS = (0.1, 0.9)
SHORT_RETRY_STATUSES = frozenset({502, 503, 504})
ERROR_BODY_CAP_BYTES = 64 * 1024
MAX_CONNECTIONS = 200
USER_AGENT = "sonobridge"


def _timeouts(limits: Limits) -> httpx.Timeout:
    return httpx.Timeout(
        connect=limits.connect_seconds,
        read=limits.read_seconds,
        write=limits.read_seconds,
        pool=limits.connect_seconds,
    )


def _check_headers(call: Call, credentials: Credentials) -> None:
    """A key that is empty or that no header can hold (a stray newline) is wrong like any other wrong key."""
    for value in credentials.headers.values():
        if not value or not value.isascii() or not value.isprintable() or value != value.strip():
            raise RenewCredentials(
                f"{call.operation}: no usable key is set", upstream=call.upstream, account=call.account
            )


async def _exactly(upload: Upload) -> AsyncIterator[bytes]:
    """The body, if it is as long as it was said to be; a file that changed meanwhile is this host's trouble."""
    left = upload.length
    async for part in upload.chunks():
        left -= len(part)
        if left < 0:
            break
        yield part
    if left:
        raise LocalTrouble("what is to be sent is not as long as it was")


def _target(call: Call) -> httpx.URL:
    url = parse_url(call.url)
    # Merging spells the query anew, which would break a presigned URL: only when there is something to merge.
    return url.copy_merge_params(call.params) if call.params else url


def _soon_over(call: Call, error: TryLater) -> bool:
    """Whether the trouble may be gone within a second; what took long already, or names a time, is not waited for."""
    plain = error.code == f"{call.upstream}_{TryLater.kind}" and error.retry_after is None
    return plain and (error.status is None or error.status in SHORT_RETRY_STATUSES)


class Http:
    """Opened with `async with`. One per process; holds the connection pool and nothing of any account.

    `observe` hears of every exchange. `tls` is whom it trusts; without it the public authorities and this machine's.
    `resolver`, `clock` (monotonic seconds) and `pause` are for tests that rebind names or do not wait.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        observe: Observe | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver = resolve,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.egress = egress
        self._observe = observe
        self._clock = clock
        self._pause = pause
        # The transport alone, because httpx's client would carry cookies from one organisation's call to the next
        # and read a redirect's target before it is checked.
        self._transport = Transport(
            CheckedNetwork(egress, resolver),
            tls=tls or http_tls(None),
            max_connections=MAX_CONNECTIONS,
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)

    async def request(self, call: Call) -> Answer:
        """Make the call and read its whole answer. Raises from the error tree for anything but 2xx or `accept`."""
        for left in reversed(range(SHORT_RETRIES + 1)):
            try:
                async with self.stream(call) as streamed:
                    return Answer(call, streamed.status, streamed.headers, await streamed.read())
            except TryLater as error:
                if call.method not in SAFE_METHODS or not left or not _soon_over(call, error):
                    raise
            await self._pause(random.uniform(*SHORT_RETRY_SECONDS))  # noqa: S311 - jitter, not a secret
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[Streamed]:
        """Make the call; the body is read by the caller, who leaves the block when done with it."""
        began = self._clock()
        deadline = asyncio.get_running_loop().time() + call.limits.total_seconds
        outcome: int | str = "not_finished"
        failed = False
        try:
            async with AsyncExitStack() as stack:
                response = await self._exchange(call, stack, deadline=deadline)
                outcome = response.status_code
                streamed = Streamed(call, response, clock=self._clock, deadline=deadline)
                if not (response.is_success or response.status_code in call.accept):
                    body = await streamed.read_some(ERROR_BODY_CAP_BYTES)
                    raise error_for_status(
                        call, response.status_code, headers=response.headers, body=body, now=time.time()
                    )
                yield streamed
        except UpstreamError as error:
            failed = True
            error.upstream = error.upstream or call.upstream
            error.account = error.account or call.account
            outcome = error.status or error.code
            raise
        finally:
            if self._observe is not None:
                self._observe(
                    Observation(
                        upstream=call.upstream,
                        operation=call.operation,
                        account=call.account,
                        outcome=outcome,
                        failed=failed,
                        seconds=self._clock() - began,
                    )
                )

    async def _exchange(self, call: Call, stack: AsyncExitStack, *, deadline: float) -> httpx.Response:
        """Send, following the redirects of reads by hand, each target checked as if it were the first."""
        url = _target(call)
        base = parse_url(call.credentials.base) if call.credentials is not None else None
        at_home = base is not None and same_origin(url, base)
        if call.pinned and not at_home:
            raise NotAllowed(
                f"{call.operation}: credentials for another place may not go to {place(url)}",
                code=NotAllowed.kind,
            )
        for _hop in range(MAX_REDIRECTS + 1):
            configured = at_home and call.credentials is not None and call.credentials.configured
            self.egress.check_url(url, configured=configured)
            response = await self._send(call, url, with_credentials=at_home, deadline=deadline)
            stack.push_async_callback(response.aclose)
            location = response.headers.get("location")
            if response.status_code not in REDIRECTS or not location or call.method not in SAFE_METHODS:
                return response
            await response.aclose()
            url = url.join(parse_url(location))
            # Once dropped, credentials stay dropped: a way back could be the other side's doing.
            at_home = at_home and base is not None and same_origin(url, base)
        raise BadAnswer(
            f"{call.operation}: more than {MAX_REDIRECTS} redirects",
            upstream=call.upstream,
            account=call.account,
        )

    async def _send(
        self, call: Call, url: httpx.URL, *, with_credentials: bool, deadline: float
    ) -> httpx.Response:
        if with_credentials and call.credentials is not None:
            _check_headers(call, call.credentials)
        headers = {
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "identity" if call.media else "gzip",
            **({} if call.media else {"Accept": "application/json"}),
            **call.headers,
            **(call.credentials.headers if with_credentials and call.credentials is not None else {}),
        }
        content = call.content
        if isinstance(content, Upload):
            headers["Content-Length"] = str(content.length)
        try:
            request = httpx.Request(
                call.method,
                url,
                headers=headers,
                json=call.json,
                content=_exactly(content) if isinstance(content, Upload) else content,
                data=call.data,
                files=call.files,
                extensions={"timeout": _timeouts(call.limits).as_dict()},
            )
            async with asyncio.timeout_at(deadline):
                return await self._transport.handle_async_request(request)
        except (httpx.HTTPError, TimeoutError) as error:
            raise error_for_transport(call, error) from None
