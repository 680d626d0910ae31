"""A task that loses its first cancellation still ends."""

import asyncio

from workers.ending import end


async def deaf() -> None:
    """Goes on after the first cancellation, as a lost one lets it."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


async def broken() -> None:
    raise ValueError("whatever")


async def test_all_are_done_whatever_they_do() -> None:
    tasks = [asyncio.create_task(one()) for one in (deaf, broken, deaf)]
    await asyncio.sleep(0)
    await asyncio.wait_for(end(tasks), timeout=20)
    assert [task.cancelled() for task in tasks] == [True, False, True]
    assert isinstance(tasks[1].exception(), ValueError)


async def test_nothing_is_nothing() -> None:
    await end([])
