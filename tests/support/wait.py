"""Waits for a condition instead of for time; must not be given something that is true at once by accident."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_SECONDS = 0.01
POLL_CAP_SECONDS = 0.1
"""The first pause and the longest: whoever asks often takes the processor from those that are waited for."""


class NeverHappenedError(AssertionError):
    """A condition did not come true in time."""


@overload
async def until(
    condition: Callable[[], Awaitable[T]], *, timeout: float = ..., what: str | None = ...
) -> T: ...


@overload
async def until(condition: Callable[[], T], *, timeout: float = ..., what: str | None = ...) -> T: ...


async def until(condition: Callable[[], Any], *, timeout: float = 45.0, what: str | None = None) -> Any:
    """Asks `condition` (plain or async) again and again until its answer is true, and returns that answer.

    `timeout` is in seconds. An AssertionError inside the condition counts as "not yet", so that a condition can be
    written as a block of asserts ending in `return True`. Raises NeverHappenedError with the last answer.
    """
    deadline = time.monotonic() + timeout
    pause = POLL_SECONDS
    last = "never asked"
    while True:
        try:
            answer = condition()
            value = await answer if inspect.isawaitable(answer) else answer
        except AssertionError as error:
            last = f"AssertionError: {error}"
        else:
            if value:
                return value
            last = repr(value)
        if time.monotonic() > deadline:
            raise NeverHappenedError(
                f"{what or _text(condition)} did not come true in {timeout:g} s; last: {last}"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, POLL_CAP_SECONDS)


def until_sync(condition: Callable[[], T], *, timeout: float = 20.0, what: str | None = None) -> T:
    """`until` for tests without an event loop (processes, command lines)."""
    deadline = time.monotonic() + timeout
    pause = POLL_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise NeverHappenedError(
                f"{what or _text(condition)} did not come true in {timeout:g} s; last: {value!r}"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, POLL_CAP_SECONDS)


def _text(condition: Callable[..., object]) -> str:
    """The condition's source where there is one: the best description of what was waited for."""
    try:
        return " ".join(inspect.getsource(condition).split())
    except (OSError, TypeError):
        return repr(condition)
