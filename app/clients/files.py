"""Reads what is to be sent from disk in blocks, off the event loop; must not know protocols."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

BLOCK_BYTES = 2 * 1024 * 1024


def _read_at(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


async def blocks(path: Path, *, offset: int = 0, count: int) -> AsyncIterator[bytes]:
    """`count` bytes of a file from `offset`, at most 2 MiB at a time; ends early where the file does.

    The file is opened for each block, so that an upload that is broken off leaves nothing open.
    """
    end = offset + count
    while offset < end:
        block = await asyncio.to_thread(_read_at, path, offset, min(BLOCK_BYTES, end - offset))
        if not block:
            return
        offset += len(block)
        yield block
