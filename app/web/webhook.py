"""Clarius's notification webhook: read a bounded body, commit the claim, answer 202. Nothing else happens here.

It stands before the routes: what FastAPI does to find and call one costs more than the whole of what is done here.
"""

import asyncio
import hmac
import time
from typing import Any

import asyncpg
import structlog
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from app.config.sealing import CannotUnseal
from app.config.settings import Settings
from app.inbox.receive import Acknowledgement, Notification, Verdict, receive
from app.observing.metrics import webhooks
from app.resources import Resources
from app.store.arrivals import COMMIT_SECONDS
from app.web.limits import TokenBucket
from app.web.problems import Problem, problem_response

PATH = "/webhooks/clarius"
MAX_BODY_BYTES = 16 * 1024
BODY_SECONDS = 5.0
RETRY_AFTER_SECONDS = "5"

log = structlog.get_logger(__name__)


class Webhook:
    """Answers what is posted to `PATH`, and passes everything else on."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state
        self._rate = TokenBucket()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{PATH}/"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._answer(scope, receive)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        except Exception as error:
            log.exception("unexpected_error", error_type=type(error).__name__)
            await problem_response(Problem(500, "something went wrong here; it has been logged"))(
                scope, receive, send
            )
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        resources: Resources = self._state.resources
        _allowed(scope, resources.settings)
        rate = resources.settings.webhook_rate
        if rate is not None and not self._rate.take(rate, time.monotonic()):
            raise _refusal(
                "throttled",
                429,
                "more notifications than this process may take",
                headers={"Retry-After": "1"},
            )
        claim = _parse(await _read(scope, receive))
        verdict = (await _take(resources, claim)).verdict
        webhooks.labels(outcome=verdict.value).inc()
        if verdict is Verdict.FULL:
            raise _busy("too many notifications wait for a link; this one was not taken")
        return b'{"status":"%s","request_uuid":"%s"}' % (verdict.encode(), str(claim.request_uuid).encode())


def _allowed(scope: Scope, settings: Settings) -> None:
    """Only by POST; with a secret only under its path segment, and without one under none."""
    segment: str = scope["path"][len(PATH) :].removeprefix("/").removesuffix("/")
    secret = settings.webhook_secret.get_secret_value() if settings.webhook_secret is not None else ""
    if not hmac.compare_digest(secret.encode(), segment.encode("utf-8", "surrogateescape")):
        if secret and segment:
            webhooks.labels(outcome="wrong_secret").inc()
        raise Problem(404, "no such page")
    if scope["method"] != "POST":
        raise Problem(405, "notifications are posted", headers={"Allow": "POST"})


async def _take(resources: Resources, claim: Notification) -> Acknowledgement:
    try:
        async with asyncio.timeout(COMMIT_SECONDS):
            return await _receive(resources, claim)
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, CannotUnseal) as error:
        webhooks.labels(outcome="unavailable").inc()
        log.warning("webhook_not_taken", error_type=type(error).__name__)
        raise _busy("the notification could not be stored in time") from error


async def _receive(resources: Resources, claim: Notification) -> Acknowledgement:
    """Store it; once more where a connection of the pool was what failed, for Clarius does not ask twice.

    After a failover the pool holds connections that are dead or read-only: the first to notice drops them all.
    """
    try:
        return await receive(resources, claim)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return await receive(resources, claim)


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The body: JSON by its content type, at most `MAX_BODY_BYTES`, within `BODY_SECONDS`."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        raise _refusal("not_json", 415, "send application/json")
    body, more = b"", True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _refusal("slow", 400, "the connection ended within the body")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    raise _refusal("too_large", 413, f"at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise _refusal(
            "slow", 408, "the body took too long", code="timeout", headers={"Connection": "close"}
        ) from None
    return body


def _parse(body: bytes) -> Notification:
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        wrong = sorted({".".join(str(part) for part in item["loc"]) or "body" for item in error.errors()})
        raise _refusal("malformed", 422, "not a notification", extra={"errors": wrong[:20]}) from None


def _refusal(outcome: str, status: int, detail: str, **more: Any) -> Problem:
    """The answer to what is not taken, counted."""
    webhooks.labels(outcome=outcome).inc()
    return Problem(status, detail, **more)


def _busy(detail: str) -> Problem:
    return Problem(503, detail, headers={"Retry-After": RETRY_AFTER_SECONDS})
