"""Whose X-Forwarded-For counts, over a real server: a trusted proxy's, and then each client is one of its own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from sqlalchemy import select, update

from app.config.settings import Settings
from app.main import create_app
from app.resources import Resources, open_resources
from app.store.audit import AuditEvent
from app.store.base import in_seconds
from app.store.throttles import Throttle
from app.upkeep.doctor import examine
from tests.support.pages import Browsing
from tests.support.serving import serving_app
from tests.web.conftest import PASSWORD, Site, Staffed

PROXY, NEXT_PROXY, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
CLIENT, ATTACKER = "198.51.100.7", "203.0.113.9"

Browse = Callable[..., Browsing]


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """With one proxy, that is not on the address which servers trust by themselves."""
    trusted = frozenset({f"{PROXY}/32", f"{NEXT_PROXY}/32"})
    async with open_resources(settings.model_copy(update={"trusted_proxies": trusted})) as opened:
        yield opened


@pytest.fixture
async def browse(resources: Resources) -> AsyncIterator[Browse]:
    """Opens a browser whose requests come from `peer` with this X-Forwarded-For."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving_app(create_app(resources=resources)))
        opened: list[Browsing] = []

        def one(peer: str, forwarded_for: str | None = None) -> Browsing:
            browsing = Browsing(url, transport=httpx.AsyncHTTPTransport(local_address=peer))
            if forwarded_for is not None:
                browsing.client.headers["X-Forwarded-For"] = forwarded_for
            opened.append(browsing)
            return browsing

        yield one
        for browsing in opened:
            await browsing.client.aclose()


@pytest.fixture
async def clinic(resources: Resources) -> Staffed:
    return await Site(resources, "", lambda: Browsing("")).clinic()


async def sign_in_addresses(resources: Resources) -> list[str | None]:
    async with resources.sessions() as session:
        found = (
            select(AuditEvent.address).where(AuditEvent.action.startswith("session.")).order_by(AuditEvent.id)
        )
        return list(await session.scalars(found))


async def block(resources: Resources) -> None:
    """Whoever made an attempt until now has made too many."""
    async with resources.sessions.begin() as session:
        await session.execute(update(Throttle).values(blocked_until=in_seconds(900)))


async def test_behind_a_trusted_proxy_each_client_has_a_throttle_and_an_audit_address_of_its_own(
    resources: Resources, browse: Browse, clinic: Staffed
) -> None:
    assert (await browse(PROXY, ATTACKER).sign_in("nobody@else.example", PASSWORD)).status == 401
    await block(resources)
    here = browse(PROXY, CLIENT)
    assert (await here.sign_in(clinic.clinician.email, PASSWORD)).path == "/account"
    # what a client wrote into the header itself stands before what the proxies appended
    liar = browse(NEXT_PROXY, f"192.0.2.1, {ATTACKER}, {PROXY}")
    assert (await liar.sign_in(clinic.clinician.email, PASSWORD)).status == 429
    assert set(await sign_in_addresses(resources)) == {ATTACKER, CLIENT}


async def test_nobody_else_can_say_where_a_request_comes_from(
    resources: Resources, browse: Browse, clinic: Staffed, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        stranger = browse(STRANGER, f"192.0.2.{number}")
        await stranger.sign_in(clinic.clinician.email, PASSWORD)
    assert set(await sign_in_addresses(resources)) == {STRANGER}
    assert capsys.readouterr().out.count("forwarded_by_untrusted_peer") == 1
    found = {check.name: check for check in await examine(resources)}["proxies"]
    assert not found.ok
    assert STRANGER in found.detail
    assert f"{PROXY}/32" in found.detail


async def test_without_a_foreign_proxy_doctor_names_those_that_are_trusted(
    resources: Resources, browse: Browse, clinic: Staffed
) -> None:
    await browse(STRANGER).sign_in(clinic.clinician.email, PASSWORD)
    await browse(PROXY, CLIENT).sign_in(clinic.clinician.email, PASSWORD)
    # as a server leaves it that has put the client in place of the proxy already
    await browse(STRANGER, f"{STRANGER}").sign_in(clinic.clinician.email, PASSWORD)
    found = {check.name: check for check in await examine(resources)}["proxies"]
    assert found.ok
    assert found.detail == f"X-Forwarded-For counts from {PROXY}/32, {NEXT_PROXY}/32"


async def test_a_trusted_proxy_says_whether_the_browser_came_by_https(
    browse: Browse, clinic: Staffed
) -> None:
    """The Origin of a form is compared with the address that the browser used."""
    for peer, status in ((PROXY, 401), (STRANGER, 403)):
        browsing = browse(peer, CLIENT)
        login = await browsing.get("/login")
        answer = await browsing.client.post(
            "/login",
            data=login.form("/login").fields | {"email": "nobody@else.example", "password": "wrong"},
            headers={
                "Origin": "https://bridge.example",
                "Host": "bridge.example",
                "X-Forwarded-Proto": "https",
            },
        )
        assert answer.status_code == status
