"""Sends notifications as Clarius does: one POST, never again, and a record of how it went (C8)."""

import asyncio
import json
from typing import Any

import httpx

from sandbox.clarius.exams import notification_of
from sandbox.clarius.state import ExamRequest
from sandbox.world import World

WEBHOOK_TIMEOUT_SECONDS = 5.0
AT_ONCE = 50


async def notify(
    world: World, exam: ExamRequest, *, times: int = 1, at_once: bool = False
) -> list[int | None]:
    """Posts an exam's notification; each status, or None where no answer came.

    Real Clarius sends once; `times` above one plays its duplicates, `at_once` all of them side by side.
    """
    body = json.dumps(notification_of(world, exam, polled=False)).encode()
    return await notify_raw(world, body, times=times, at_once=at_once)


async def notify_raw(
    world: World,
    body: bytes | dict[str, Any],
    *,
    times: int = 1,
    at_once: bool = False,
    headers: dict[str, str] | None = None,
    recorded: bool = True,
) -> list[int | None]:
    """Posts any body to the registered notification URL; `recorded=False` plays a stranger's forgery."""
    url = world.clarius.settings["notification_url"]
    if not url:
        return []
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # not the pool's own limit: it looks through all that wait whenever a connection is free
    places = asyncio.Semaphore(AT_ONCE)
    timeout = httpx.Timeout(WEBHOOK_TIMEOUT_SECONDS, pool=None)
    # Loading the trusted certificates takes longer than a notification; plain http has no use for them.
    verify = url.startswith("https:")
    async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=verify) as client:

        async def post() -> int | None:
            async with places:
                return await _post(world, client, url, content, headers=headers or {}, recorded=recorded)

        if at_once:
            return await asyncio.gather(*(post() for _ in range(times)))
        return [await post() for _ in range(times)]


async def _post(
    world: World,
    client: httpx.AsyncClient,
    url: str,
    content: bytes,
    *,
    headers: dict[str, str],
    recorded: bool,
) -> int | None:
    sent_at = world.clarius.now()
    response: dict[str, Any] | None = None
    error: str | None = None
    status: int | None = None
    try:
        answer = await client.post(
            url, content=content, headers={"content-type": "application/json", **headers}
        )
        status = answer.status_code
        response = {"status_code": status, "content": answer.text}
    except httpx.TimeoutException:
        error = "timed out"
    except httpx.HTTPError as problem:
        error = str(problem) or type(problem).__name__
    if recorded:
        request = {"url": url, "method": "POST", "content": content.decode("utf-8", "replace")}
        event = {"sent_at": sent_at, "request": request, "response": response, "error": error}
        world.clarius.records.append({"logged_at": world.clarius.now(), "event": event})
    return status
