"""Takes an answer's bytes in within bounds (size, speed, compression); must not know calls or errors of vendors.

A compressed answer is inflated here and not by httpx, because httpx inflates a whole received chunk at once: one
chunk of a gzip bomb is a thousand times its size.
"""

import zlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing

STEP_BYTES = 256 * 1024
AUTO_DETECT_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32


class TooMuch(Exception):
    """More bytes than the cap."""


class TooSlow(Exception):
    """Fewer bytes a second, over the window, than the least speed."""


class BadEncoding(Exception):
    """A Content-Encoding that was not asked for, or bytes that do not fit it."""


class Pace:
    """The speed over a sliding window; `clock` gives seconds and can be a test's own."""

    def __init__(
        self, *, least_bytes_per_second: float, window_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._least = least_bytes_per_second
        self._window = window_seconds
        self._clock = clock
        self._since = clock()
        self._seen: deque[tuple[float, int]] = deque()
        self._sum = 0

    def took(self, count: int) -> None:
        """Note `count` bytes; raises `TooSlow` once a whole window went by below the least speed."""
        now = self._clock()
        self._seen.append((now, count))
        self._sum += count
        while self._seen and self._seen[0][0] <= now - self._window:
            self._sum -= self._seen.popleft()[1]
        if now - self._since >= self._window and self._sum < self._least * self._window:
            raise TooSlow


class Inflater:
    """Undoes gzip or deflate at most `STEP_BYTES` at a time."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(AUTO_DETECT_ZLIB_OR_GZIP)

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The plain bytes of the next received bytes."""
        rest = part
        while rest and not self._inner.eof:
            try:
                plain = self._inner.decompress(rest, STEP_BYTES)
            except zlib.error as error:
                raise BadEncoding from error
            rest = self._inner.unconsumed_tail
            if plain:
                yield plain

    def end(self) -> None:
        """Raises `BadEncoding` when the compressed stream is not complete."""
        if not self._inner.eof:
            raise BadEncoding


async def plain_parts(
    raw: AsyncIterator[bytes], *, encoding: str, inflate: bool
) -> AsyncGenerator[bytes, None]:
    """The body's bytes without their Content-Encoding; `inflate` False refuses every compressed body."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        async for part in raw:
            yield part
        return
    if not inflate or name not in ("gzip", "x-gzip", "deflate"):
        raise BadEncoding
    inflater = Inflater()
    async for part in raw:
        for plain in inflater.feed(part):
            yield plain
    inflater.end()


async def bounded(
    parts: AsyncGenerator[bytes, None], *, cap_bytes: int, pace: Pace
) -> AsyncGenerator[bytes, None]:
    """The parts, until they are more than `cap_bytes` in all (`TooMuch`) or come too slowly (`TooSlow`)."""
    total = 0
    async with aclosing(parts):
        async for part in parts:
            total += len(part)
            if total > cap_bytes:
                raise TooMuch
            pace.took(len(part))
            yield part
