"""Traces go to the exporter that the environment names, and nowhere without one."""

import asyncio
import os
import sys

from tests.clients.peer import Reply, running_peer

PROGRAM = """
from app.observing.tracing import note_span, provider, span
with span("outer", request_id="r1"):
    with span("inner"):
        pass
note_span("clarius C1", 0.2, outcome="200")
print("on" if provider() else "off")
"""


async def run(**environ: str) -> str:
    """The program's output in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode().strip()


async def test_spans_reach_the_exporter_that_the_environment_names():
    async with running_peer() as peer:
        peer.handler = lambda _: Reply(200)
        assert await run(OTEL_EXPORTER_OTLP_ENDPOINT=peer.url) == "on"
        sent = [one for one in peer.seen if one.path == "/v1/traces"]
        assert sent, "nothing was exported"
        body = b"".join(one.body for one in sent)
        if sent[0].headers.get("content-encoding") is None:
            for name in (b"outer", b"inner", b"clarius C1", b"sonobridge"):
                assert name in body


async def test_without_that_environment_there_are_none():
    assert await run() == "off"
