"""A peer on loopback, and the way out allowed to reach it as an operator would allow an on-premises host."""

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.clients.http import Egress, Http, Observation
from tests.clients.peer import Peer, Reply, json_reply, running_peer

PAYLOADS = Path(__file__).parent.parent / "data" / "payloads"


async def no_pause(seconds: float) -> None:
    assert 0 < seconds < 1


@pytest.fixture
async def peer():
    async with running_peer() as peer:
        yield peer


@pytest.fixture
async def other():
    """A second origin."""
    async with running_peer() as peer:
        yield peer


@pytest.fixture
def observed() -> list[Observation]:
    return []


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """One for all tests, because reading the certificate store takes longer than most of them."""
    return httpx.create_ssl_context(trust_env=False)


@pytest.fixture
async def http(peer, other, observed, tls):
    allowed = frozenset({f"127.0.0.1:{peer.port}", f"127.0.0.1:{other.port}"})
    async with Http(Egress(True, allowed), observe=observed.append, tls=tls, pause=no_pause) as http:
        yield http


class Recorded:
    """A recorded exchange; `{base}` in it stands for the peer's URL."""

    def __init__(self, name: str, base: str) -> None:
        text = (PAYLOADS / f"{name}.json").read_text().replace("{base}", base)
        content: dict[str, Any] = json.loads(text)
        self.request = content["request"]
        self.status: int = content["status"]
        self.answer: Any = content["answer"]

    def reply(self) -> Reply:
        return json_reply(self.answer, self.status)

    def check(self, peer: Peer) -> None:
        """The one request that the peer saw last is the recorded one, to the letter."""
        seen = peer.seen[-1]
        assert (seen.method, seen.path, seen.query) == tuple(
            self.request[name] for name in ("method", "path", "query")
        )
        if self.request["json"] is not None:
            assert seen.json() == self.request["json"]
            assert seen.headers["content-type"] == "application/json"


@pytest.fixture
def recorded(peer):
    return lambda name: Recorded(name, peer.url)
