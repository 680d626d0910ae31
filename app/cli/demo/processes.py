"""Child processes of the demo: started with their log in a file, ended with the demo, however it ends."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

STOP_SECONDS = 30.0


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def process(
    command: Sequence[str], environment: dict[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program until the block ends; then SIGTERM, and after half a minute SIGKILL.

    It has a session of its own, so that ^C reaches the demo alone, which ends its children in order. Its standard
    input stays open as long as the demo lives.
    """
    with log.open("ab") as errors:
        running = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield running
    finally:
        await asyncio.shield(_end(running))


async def _end(running: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        running.send_signal(signal.SIGTERM)
    # what it still says is read, or a full pipe would keep it from ending
    reading = asyncio.create_task(running.communicate())
    done, _ = await asyncio.wait({reading}, timeout=STOP_SECONDS)
    if not done:
        with suppress(ProcessLookupError):
            running.kill()
        await reading
