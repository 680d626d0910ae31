"""An answer whose body is still to come: read within the call's caps, its troubles named; must not send anything."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

import httpx

from app.clients.http.call import Call
from app.clients.http.classify import error_for_transport
from app.clients.http.intake import BadEncoding, Pace, TooMuch, TooSlow, bounded, plain_parts
from app.errors import TryLater, UpstreamError


class Streamed:
    """An answer whose body is still to come."""

    def __init__(
        self, call: Call, response: httpx.Response, *, clock: Callable[[], float], deadline: float
    ) -> None:
        self.call = call
        self.status = response.status_code
        self.headers = response.headers
        self._response = response
        self._clock = clock
        self._deadline = deadline

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, part by part, within the call's caps. Raises from the error tree where the trouble occurs."""
        limits = self.call.limits
        pace = Pace(
            least_bytes_per_second=limits.least_bytes_per_second,
            window_seconds=limits.pace_window_seconds,
            clock=self._clock,
        )
        encoding = self.headers.get("content-encoding", "")
        plain = plain_parts(self._response.aiter_raw(), encoding=encoding, inflate=not self.call.media)
        parts = bounded(plain, cap_bytes=limits.cap_bytes, pace=pace)
        async with aclosing(parts):
            while True:
                with self._translated():
                    async with asyncio.timeout_at(self._deadline):
                        part = await anext(parts, None)
                if part is None:
                    return
                yield part

    @contextmanager
    def _translated(self) -> Iterator[None]:
        call = self.call
        try:
            yield
        except (httpx.HTTPError, TimeoutError) as error:
            raise error_for_transport(call, error) from None
        except TooMuch:
            limit = f"the answer is larger than {call.limits.cap_bytes} bytes"
            raise call.undocumented(limit, status=self.status) from None
        except BadEncoding:
            raise call.undocumented("the answer's content encoding is wrong", status=self.status) from None
        except TooSlow:
            raise TryLater(
                f"{call.operation}: {call.host} sends too slowly",
                upstream=call.upstream,
                account=call.account,
                code=f"{call.upstream}_too_slow",
            ) from None

    async def read(self) -> bytes:
        """The whole body in memory, within the caps."""
        return b"".join([part async for part in self.chunks()])

    async def read_some(self, cap_bytes: int) -> bytes:
        """As much of the body as is there, up to `cap_bytes`; for the text of errors, so a cut is no trouble."""
        body = bytearray()
        try:
            async with aclosing(self.chunks()) as parts:
                async for part in parts:
                    body += part
                    if len(body) >= cap_bytes:
                        break
        except UpstreamError:
            return b""
        return bytes(body[:cap_bytes])
