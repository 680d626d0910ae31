"""Says who a request is from: the peer, or whom a trusted proxy forwards for; must not trust anybody it was not told to.

Done here and not by the server's own options, so that `app.main:app` behaves the same under every server. Throttles
and the audit trail know people by this address: a proxy that is not trusted makes all of them one. So the first request
that such a one forwards is logged, and noted for `sonobridge doctor`.
"""

from functools import lru_cache

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.resources import Resources
from app.store.runs import UNTRUSTED_PROXY, begin_run, end_run

log = structlog.get_logger(__name__)

FORWARDED_FOR = b"x-forwarded-for"
NOTED_EVERY_SECONDS = 3600.0
# peers that are noted in one process: whoever reaches us directly can pretend to be a proxy
MOST_PEERS_NOTED = 20


class TrustedProxies:
    """Middleware above everything that looks at `client` or `scheme`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._noted_peers: set[str] = set()
        self._reading = lru_cache(maxsize=4)(self._reader)

    def _reader(self, trusted: frozenset[str]) -> ProxyHeadersMiddleware:
        return ProxyHeadersMiddleware(self._app, trusted_hosts=sorted(trusted))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as from whom it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        resources: Resources = scope["app"].state.resources
        reader = self._reading(resources.settings.trusted_proxies)
        peer = scope["client"][0] if scope.get("client") else "unknown"
        if peer not in reader.trusted_hosts and peer not in self._noted_peers and _is_forwarded(scope, peer):
            await self._tell(resources, peer)
        await reader(scope, receive, send)  # type: ignore[arg-type]

    async def _tell(self, resources: Resources, peer: str) -> None:
        if len(self._noted_peers) >= MOST_PEERS_NOTED:
            return
        self._noted_peers.add(peer)
        log.warning("forwarded_by_untrusted_peer", host=peer)
        try:
            async with resources.sessions.begin() as session:
                if await begin_run(session, UNTRUSTED_PROXY, every=NOTED_EVERY_SECONDS):
                    await end_run(session, UNTRUSTED_PROXY, result={"peer": peer})
        except (SQLAlchemyError, OSError) as error:
            # the log has it, and the request may be one that needs no database
            log.warning("untrusted_peer_not_noted", error_type=type(error).__name__)


def _is_forwarded(scope: Scope, peer: str) -> bool:
    """Whether the request says that it is from somebody else. A server that resolved it already leaves the header."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == FORWARDED_FOR]
    named = {address.strip() for line in lines for address in line.split(",")}
    return bool(named) and peer not in named
