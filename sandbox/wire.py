"""The outermost layer of each simulated server: journals every exchange and carries out armed faults.

It knows nothing of what the servers mean; a cut here is a broken TCP connection, not an error page.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.exchange import Exchange
from sandbox.faults import Fault, Faults, Kind, RequestFacts, Rule
from sandbox.journal import ASKED_AT, Journal
from sandbox.serving import Connections

HIDE_SCOPE_KEY = "sandbox.hide"
CONTROL_PREFIX = "/_sandbox"


class _Cut(Exception):
    """Raised inside a request to stop its handling once its connection is gone."""


class Wire:
    """ASGI middleware around one simulated server."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        server: str,
        journal: Journal,
        faults: Faults,
        connections: Connections,
        secrets: Callable[[], dict[str, str]],
        expire_signature: Callable[[str], None],
    ) -> None:
        self._app, self._server = app, server
        self._journal, self._faults, self._connections = journal, faults, connections
        self._secrets, self._expire_signature = secrets, expire_signature
        self._carriers: dict[Kind, Callable[[Exchange, Rule], Awaitable[None]]] = {
            "status": self._other_status,
            "delay": self._late,
            "hold": self._late,
            "cut_before": self._cut_before,
            "cut_after": self._cut_after,
            "cut_request": self._cut_request,
            "truncate": self._truncate,
            "drip": self._drip,
            "stall": self._stall,
            "replace": self._replaced,
            "expire": self._marked,
            "hide": self._marked,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request on, or fails it, and journals what happened."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
            await self._app(scope, receive, send)
            return
        ASKED_AT.set(datetime.now(UTC))
        exchange = Exchange(scope, receive, send)
        owners = self._owners(exchange)
        rule = await self._rule_for(exchange, owners)
        try:
            if rule is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await self._fail(exchange, rule)
        except ClientDisconnect:
            # Nobody is left to answer; the journal's entry (status None) tells the story.
            return
        finally:
            self._journal.record_request(
                server=self._server,
                method=scope["method"],
                path=exchange.path,
                query=exchange.query,
                status=exchange.status,
                auth=exchange.auth_kinds(),
                secrets=owners,
                origin=exchange.headers.get("host", ""),
                range=exchange.headers.get("range"),
                request_bytes=exchange.request_bytes,
                response_bytes=exchange.response_bytes,
                fault=rule.fault.kind if rule else None,
            )

    def _owners(self, exchange: Exchange) -> tuple[str, ...]:
        values = " ".join(exchange.headers.values())
        return tuple(sorted({owner for secret, owner in self._secrets().items() if secret in values}))

    async def _rule_for(self, exchange: Exchange, owners: tuple[str, ...]) -> Rule | None:
        method, path = exchange.scope["method"], exchange.path
        text = f"{path}?{exchange.query_string}"
        if self._faults.needs_body(server=self._server, method=method, path=path):
            text += "\n" + await exchange.peek_body()
        team = next((o.partition(":")[2] for o in owners if o.startswith("aurabox:")), None)
        return self._faults.take(RequestFacts(self._server, method, path, text, team))

    async def _fail(self, exchange: Exchange, rule: Rule) -> None:
        await self._carriers[rule.fault.kind](exchange, rule)

    async def _late(self, exchange: Exchange, rule: Rule) -> None:
        if rule.fault.after_effect:
            messages = await self._swallow(exchange)
            await _pause(rule)
            for message in messages:
                await exchange.send(message)
        else:
            await _pause(rule)
            await self._app(exchange.scope, exchange.receive, exchange.send)

    async def _other_status(self, exchange: Exchange, rule: Rule) -> None:
        if rule.fault.after_effect:
            await self._swallow(exchange)
        await _send_status(exchange, rule.fault)

    async def _cut_before(self, exchange: Exchange, _rule: Rule) -> None:
        await self._abort(exchange)

    async def _cut_after(self, exchange: Exchange, _rule: Rule) -> None:
        await self._swallow(exchange)
        await self._abort(exchange)

    async def _cut_request(self, exchange: Exchange, rule: Rule) -> None:
        exchange.cut_request_after = rule.fault.after_bytes
        messages = await self._swallow(exchange)
        if exchange.request_was_cut:
            await self._abort(exchange)
            return
        # The body was shorter than that: there was nothing to cut.
        for message in messages:
            await exchange.send(message)

    async def _replaced(self, exchange: Exchange, rule: Rule) -> None:
        await _send_replaced(exchange, await self._swallow(exchange), rule.fault)

    async def _drip(self, exchange: Exchange, rule: Rule) -> None:
        await self._app(exchange.scope, exchange.receive, _dripping(exchange, rule.fault))

    async def _stall(self, exchange: Exchange, rule: Rule) -> None:
        await self._app(exchange.scope, exchange.receive, _stalling(exchange, rule))

    async def _marked(self, exchange: Exchange, rule: Rule) -> None:
        if rule.fault.kind == "expire":
            self._expire_signature(exchange.query.get("signature", ""))
        exchange.scope[HIDE_SCOPE_KEY] = rule
        await self._app(exchange.scope, exchange.receive, exchange.send)

    async def _swallow(self, exchange: Exchange) -> list[Message]:
        """Lets the application do its work and keeps its answer back."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        try:
            await self._app(exchange.scope, exchange.receive, keep)
        except ClientDisconnect:
            if not exchange.request_was_cut:
                raise
        return messages

    async def _abort(self, exchange: Exchange) -> None:
        self._connections.abort(tuple(exchange.scope["client"]))
        await exchange.drain()

    async def _truncate(self, exchange: Exchange, rule: Rule) -> None:
        left = rule.fault.after_bytes

        async def send(message: Message) -> None:
            nonlocal left
            if message["type"] != "http.response.body":
                await exchange.send(message)
                return
            body = message.get("body", b"")
            if len(body) < left:
                left -= len(body)
                await exchange.send(message)
                return
            await exchange.send({"type": "http.response.body", "body": body[:left], "more_body": True})
            raise _Cut

        try:
            await self._app(exchange.scope, exchange.receive, send)
        except _Cut:
            self._connections.close(tuple(exchange.scope["client"]))
            await exchange.drain()


async def _pause(rule: Rule) -> None:
    if rule.fault.kind == "hold":
        await rule.wait_released()
    else:
        await asyncio.sleep(rule.fault.seconds)


async def _send_status(exchange: Exchange, fault: Fault) -> None:
    headers = {k.lower(): v for k, v in fault.headers.items()}
    if isinstance(fault.body, str):
        body = fault.body.encode()
        headers.setdefault("content-type", "text/plain; charset=utf-8")
    elif fault.body is None:
        body = json.dumps({"message": "Server Error" if fault.status >= 500 else "Refused"}).encode()
        headers.setdefault("content-type", "application/json")
    else:
        body = json.dumps(fault.body).encode()
        headers.setdefault("content-type", "application/json")
    if fault.status in (204, 304):
        body = b""
    headers["content-length"] = str(len(body))
    encoded = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await exchange.send({"type": "http.response.start", "status": fault.status, "headers": encoded})
    await exchange.send({"type": "http.response.body", "body": body})


async def _send_replaced(exchange: Exchange, messages: list[Message], fault: Fault) -> None:
    start = messages[0]
    body = b"".join(m.get("body", b"") for m in messages[1:])
    changed = json.dumps({**json.loads(body), **fault.fields}).encode()
    headers = [(k, v) for k, v in start["headers"] if k.lower() != b"content-length"]
    headers.append((b"content-length", str(len(changed)).encode()))
    await exchange.send({"type": "http.response.start", "status": start["status"], "headers": headers})
    await exchange.send({"type": "http.response.body", "body": changed})


def _dripping(exchange: Exchange, fault: Fault) -> Send:
    async def send(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not body:
            await exchange.send(message)
            return
        for at in range(0, len(body), fault.chunk_bytes):
            if at:
                await asyncio.sleep(fault.seconds)
            last = at + fault.chunk_bytes >= len(body)
            more = message.get("more_body", False) or not last
            piece = body[at : at + fault.chunk_bytes]
            await exchange.send({"type": "http.response.body", "body": piece, "more_body": more})

    return send


def _stalling(exchange: Exchange, rule: Rule) -> Send:
    left = rule.fault.after_bytes

    async def send(message: Message) -> None:
        nonlocal left
        body = message.get("body", b"")
        if len(body) > left:
            await exchange.send({"type": "http.response.body", "body": body[:left], "more_body": True})
            await rule.wait_released()
            message, left = {**message, "body": body[left:]}, sys.maxsize
        left -= len(body)
        await exchange.send(message)

    return send
