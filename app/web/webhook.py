"""Clarius's notification webhook: read a bounded body, commit the claim, answer 202. Nothing else happens here."""

import asyncio
import hmac
import time
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.requests import ClientDisconnect

from app.config.sealing import CannotUnseal
from app.inbox.receive import COMMIT_SECONDS, Acknowledgement, Notification, Verdict, receive
from app.observing.metrics import webhooks
from app.resources import Resources
from app.web.dependencies import ResourcesDep
from app.web.limits import TokenBucket
from app.web.problems import Problem

MAX_BODY_BYTES = 16 * 1024
BODY_SECONDS = 5.0
RETRY_AFTER_SECONDS = "5"

router = APIRouter()
log = structlog.get_logger(__name__)


@router.post("/webhooks/clarius", include_in_schema=False)
@router.post("/webhooks/clarius/", include_in_schema=False)
async def open_webhook(request: Request, resources: ResourcesDep) -> JSONResponse:
    """The webhook when no secret is configured; with one, this path does not exist."""
    if resources.settings.webhook_secret is not None:
        raise Problem(404, "no such page")
    return await _take(request, resources)


@router.post("/webhooks/clarius/{secret}", include_in_schema=False)
@router.post("/webhooks/clarius/{secret}/", include_in_schema=False)
async def secret_webhook(
    request: Request, resources: ResourcesDep, secret: Annotated[str, Path(max_length=1024)]
) -> JSONResponse:
    """The webhook under its secret path segment."""
    expected = resources.settings.webhook_secret
    if expected is None or not hmac.compare_digest(expected.get_secret_value().encode(), secret.encode()):
        webhooks.labels(outcome="wrong_secret").inc()
        raise Problem(404, "no such page")
    return await _take(request, resources)


async def _take(request: Request, resources: Resources) -> JSONResponse:
    _within_rate(request, resources)
    claim = _parse(await _read(request))
    try:
        async with asyncio.timeout(COMMIT_SECONDS):
            receipt = await _receive(resources, claim)
    except (SQLAlchemyError, OSError, TimeoutError, CannotUnseal) as error:
        webhooks.labels(outcome="unavailable").inc()
        log.warning("webhook_not_taken", error_type=type(error).__name__)
        raise _busy("the notification could not be stored; it was not taken") from error
    webhooks.labels(outcome=str(receipt.verdict)).inc()
    if receipt.verdict is Verdict.FULL:
        raise _busy("too many notifications wait for a link; this one was not taken")
    return JSONResponse({"status": receipt.verdict, "request_uuid": str(claim.request_uuid)}, status_code=202)


async def _receive(resources: Resources, claim: Notification) -> Acknowledgement:
    """Store it; once more where the connection was what failed, for Clarius does not ask twice.

    After a failover the pool holds connections that are dead or read-only: the first to notice drops them all.
    """
    try:
        return await receive(resources, claim)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return await receive(resources, claim)


def _busy(detail: str) -> Problem:
    return Problem(503, detail, headers={"Retry-After": RETRY_AFTER_SECONDS})


def _within_rate(request: Request, resources: Resources) -> None:
    rate = resources.settings.webhook_rate
    if rate is None:
        return
    bucket: TokenBucket | None = getattr(request.app.state, "webhook_rate", None)
    if bucket is None:
        bucket = request.app.state.webhook_rate = TokenBucket()
    if not bucket.take(rate, time.monotonic()):
        webhooks.labels(outcome="throttled").inc()
        raise Problem(429, "more notifications than this process may take", headers={"Retry-After": "1"})


async def _read(request: Request) -> bytes:
    """The body: JSON by its content type, at most `MAX_BODY_BYTES`, within `BODY_SECONDS`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        webhooks.labels(outcome="not_json").inc()
        raise Problem(415, "send application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    webhooks.labels(outcome="too_large").inc()
                    raise Problem(413, f"at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        webhooks.labels(outcome="slow").inc()
        raise Problem(
            408, "the body took too long", code="timeout", headers={"Connection": "close"}
        ) from None
    except ClientDisconnect:
        webhooks.labels(outcome="slow").inc()
        raise Problem(400, "the connection ended within the body") from None
    return bytes(body)


def _parse(body: bytes) -> Notification:
    try:
        return Notification.model_validate_json(body)
    except ValidationError as error:
        webhooks.labels(outcome="malformed").inc()
        wrong = sorted({".".join(str(part) for part in item["loc"]) or "body" for item in error.errors()})
        raise Problem(422, "not a notification", extra={"errors": wrong[:20]}) from None
