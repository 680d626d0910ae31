"""One HTTP request on its way through a simulated server, counted and cut where a rule says so; decides nothing."""

from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

BODY_LOOKED_AT_BYTES = 1 << 20


class Exchange:
    """One request on its way through: what was read, what was answered, whether it was cut."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        self.path = str(scope["path"])
        self.query_string = bytes(scope["query_string"]).decode("latin-1")
        self.query = dict(parse_qsl(self.query_string, keep_blank_values=True))
        self.status: int | None = None
        self.request_bytes = 0
        self.response_bytes = 0
        self.cut_request_after: int | None = None
        self.request_was_cut = False
        self._kept: list[Message] = []

    async def peek_body(self) -> str:
        """The body's first MiB as text; it is handed to the application afterwards all the same."""
        body = bytearray()
        while True:
            message = await self._receive()
            self._kept.append(message)
            body += message.get("body", b"")
            if (
                message["type"] != "http.request"
                or not message.get("more_body")
                or len(body) > BODY_LOOKED_AT_BYTES
            ):
                return bytes(body).decode("utf-8", "replace")

    async def receive(self) -> Message:
        """The next piece of the request, counted, and cut where a rule says so."""
        message = self._kept.pop(0) if self._kept else await self._receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        if self.cut_request_after is not None and self.request_bytes + len(body) >= self.cut_request_after:
            allowed = self.cut_request_after - self.request_bytes
            self.request_bytes += allowed
            self._kept = [{"type": "http.disconnect"}]
            self.request_was_cut = True
            return {"type": "http.request", "body": body[:allowed], "more_body": True}
        self.request_bytes += len(body)
        return message

    async def send(self, message: Message) -> None:
        """Passes a piece of the answer on, counted."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.response_bytes += len(message.get("body", b""))
        await self._send(message)

    async def drain(self) -> None:
        """Waits until the server knows that the connection is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    def auth_kinds(self) -> tuple[str, ...]:
        """Which headers carried credentials, without the credentials."""
        kinds = []
        if (value := self.headers.get("authorization")) is not None:
            scheme, blank, _ = value.partition(" ")
            kinds.append(f"authorization:{scheme if blank else '?'}")
        kinds += [name for name in ("x-api-key", "x-aura-nonce", "cookie") if name in self.headers]
        return tuple(kinds)
