"""How often and how much one may send to this process; neither needs Redis or a round trip."""

from starlette.requests import Request
from starlette.types import Message


class TokenBucket:
    """So many requests per second, a second's worth at once."""

    def __init__(self) -> None:
        self._left = 0.0
        self._at: float | None = None

    def take(self, rate: float, at: float) -> bool:
        """Whether one more request fits into `rate` per second; `at` in seconds of a monotonic clock."""
        burst = max(rate, 1.0)
        if self._at is None:
            self._left, self._at = burst, at
        self._left = min(burst, self._left + (at - self._at) * rate)
        self._at = at
        if self._left < 1:
            return False
        self._left -= 1
        return True


def bounded(request: Request, *, most: int, refusal: Exception) -> Request:
    """The same request, of which reading more than `most` bytes of body raises `refusal`."""
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most:
            raise refusal
        return message

    return Request(request.scope, receive)
