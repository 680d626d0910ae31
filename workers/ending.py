"""Ends tasks for good; must not be used on work under a lease, which a second cancellation would keep from giving back."""

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_SECONDS = 1.0


async def end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Cancel until they are done, whatever they raise.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, in which redis and arq wait, loses a cancellation that
    comes in the moment its own wait ends.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
