"""Writes one line for each request, with a path that holds no secret, no token and no query."""

import re
import time
from functools import cache

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observing.logs import bind_request_id
from app.observing.metrics import http_requests
from app.observing.tracing import span

# Everything that may follow these is a secret: a webhook's path segment, a customer's token, an invitation.
SECRET_PATHS = re.compile(r"^(/webhooks/clarius|/connect/clarius|/invite|/reset)/.+")


AREAS = frozenset({"webhooks", "connect", "login", "account", "admin", "api", "static", "invite", "reset"})
HEALTH = frozenset({"healthz", "readyz", "metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


def area_of(path: str) -> str:
    """Which part of the application a path belongs to: one of a few fixed words, for the metrics."""
    first = path.split("/")[1] if path.startswith("/") else ""
    return "health" if first in HEALTH else first if first in AREAS else "other"


def shown_path(path: str) -> str:
    """The path as a log may show it."""
    return SECRET_PATHS.sub(r"\1/…", path)


class AccessLog:
    """Middleware below everything else; binds the request id that later log lines carry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # bound once: made anew for each line, the logger would cost more than the line
        self._log = cache(structlog.get_logger(__name__).bind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        request_id = bind_request_id()
        area = area_of(scope["path"])

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with span(f"{scope['method']} {area}", request_id=request_id):
                await self._app(scope, receive, watch)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            seconds = time.perf_counter() - started
            http_requests.labels(area, method, str(status)).observe(seconds)
            self._log().info(
                "request",
                method=scope["method"],
                path=shown_path(scope["path"]),
                status=status,
                duration_ms=round(seconds * 1000, 1),
            )
