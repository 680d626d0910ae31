"""Single sign-on against a real OpenID provider on loopback (docs/security.md, "Sessions and passwords")."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from sqlalchemy import select

from app.config.settings import Settings
from app.people.users import disable_user, invite
from app.resources import Resources, open_resources
from app.store.audit import AuditEvent, By
from app.store.browser_sessions import BrowserSession
from app.store.users import User
from tests.support.oidc import CLIENT_ID, CLIENT_SECRET, Provider, open_provider
from tests.support.pages import Page
from tests.support.ports import free_port
from tests.web.conftest import TOKEN, Site

EMAIL = "mara.quill@harbour-clinic.example"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Who is signed in there is the person whom our tests invite."""
    async with open_provider() as opened:
        opened.person = {"sub": "person-1", "email": EMAIL, "email_verified": True}
        yield opened


@pytest.fixture
def trust_email() -> bool:
    """Whether the operator trusts what the provider does not call verified; tests of that say so themselves."""
    return False


@pytest.fixture
def email_claim() -> str:
    """In which claim the operator expects the address."""
    return "email"


@pytest.fixture
async def resources(
    settings: Settings, provider: Provider, trust_email: bool, email_claim: str
) -> AsyncIterator[Resources]:
    """With single sign-on set up, and the public URL the one that the application is served at."""
    changed = settings.model_copy(
        update={
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": SecretStr(CLIENT_SECRET),
            "oidc_trust_email": trust_email,
            "oidc_email_claim": email_claim,
            "public_url": f"http://127.0.0.1:{free_port()}",
        }
    )
    async with open_resources(changed) as opened:
        yield opened


async def sso(site: Site, *, door: str = "/login/oidc", pending: bool = False) -> Page:
    """Go through it with a new browser; the page where it ends."""
    browser = site.browser()
    if pending:
        await browser.get(f"/connect/clarius/{TOKEN}")
    # the public URL's port is not served here, so the way back is followed by path
    out = await browser.client.get(door, follow_redirects=False)
    if out.status_code != 303:
        return Page(out)
    back = await browser.client.get(out.headers["location"], follow_redirects=False)
    landing = urlsplit(back.headers["location"])
    return await browser.get(f"{landing.path}?{landing.query}")


async def invited(site: Site) -> None:
    await site.clinic()
    await invite(site.resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))


async def users(site: Site) -> list[User]:
    async with site.resources.sessions() as session:
        return list(await session.scalars(select(User).where(User.email == EMAIL)))


async def failures(site: Site) -> list[str | None]:
    async with site.resources.sessions() as session:
        assert (await session.scalars(select(BrowserSession))).all() == []
        events = select(AuditEvent).where(AuditEvent.action == "session.sign_in_failed")
        return [event.detail for event in await session.scalars(events)]


async def test_an_invited_person_signs_in_and_is_known_by_subject_from_then_on(
    site: Site, provider: Provider
) -> None:
    await invited(site)
    assert (await sso(site)).path == "/account"
    (user,) = await users(site)
    assert user.oidc_subject == f"{provider.issuer}|person-1"
    # the address changed at the provider: the subject still tells who it is
    provider.person["email"] = "mara.new@harbour-clinic.example"
    assert (await sso(site)).path == "/account"
    # somebody else who now has the old address there is not her
    provider.person = {"sub": "person-2", "email": EMAIL, "email_verified": True}
    assert (await sso(site)).status == 403


async def test_it_keeps_the_pending_link(site: Site, provider: Provider) -> None:
    await invited(site)
    page = await sso(site, pending=True)
    assert page.path == "/connect"
    assert TOKEN[-4:] in page.text


async def test_the_address_may_come_from_userinfo(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.told_by_userinfo = True
    assert (await sso(site)).path == "/account"
    assert "userinfo" in provider.asked


async def test_whether_it_is_verified_may_come_from_userinfo_alone(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.left_out = ("email_verified",)
    assert (await sso(site)).path == "/account"
    provider.claims = {"email": EMAIL.title()}
    assert (await sso(site)).path == "/account"
    # of another address it says nothing
    provider.claims = {"email": "somebody.else@harbour-clinic.example"}
    page = await sso(site)
    assert (page.status, "has not verified" in page.text) == (403, True)


async def test_verified_in_the_token_says_nothing_of_userinfos_address(
    site: Site, provider: Provider
) -> None:
    await invited(site)
    provider.told_by_userinfo = True
    provider.claims = {"email_verified": True}
    provider.person["email_verified"] = False
    assert (await sso(site)).status == 403


# as Microsoft Entra ID has it: n8n#17203, coder#3954, onyx#13298, open-mercato#2026
ENTRA = ["email", "preferred_username"]


@pytest.mark.parametrize("email_claim", ENTRA)
async def test_what_nobody_verified_is_refused(site: Site, provider: Provider, email_claim: str) -> None:
    await invited(site)
    provider.person = {"sub": "person-1", email_claim: EMAIL}
    page = await sso(site)
    assert (page.status, "has not verified your e-mail address" in page.text) == (403, True)


async def test_without_an_address_it_says_so(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.person = {"sub": "person-1", "preferred_username": EMAIL}
    page = await sso(site)
    assert (page.status, "did not tell your e-mail address" in page.text) == (403, True)


@pytest.mark.parametrize("trust_email", [True])
@pytest.mark.parametrize("email_claim", ENTRA)
async def test_a_trusted_provider_need_not_say_verified(
    site: Site, provider: Provider, email_claim: str
) -> None:
    await invited(site)
    provider.person = {"sub": "person-1", email_claim: EMAIL}
    assert (await sso(site)).path == "/account"
    # what is trusted needs no second question
    assert "userinfo" not in provider.asked


@pytest.mark.parametrize("trust_email", [True])
async def test_what_a_trusted_provider_calls_unverified_is_refused(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.person = {"sub": "person-1", "email": EMAIL, "email_verified": False}
    assert (await sso(site)).status == 403


async def test_a_provider_that_refuses_our_client_is_not_called_away(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.secret = "another secret"
    page = await sso(site)
    assert (page.status, "answered our request with 4" in page.text) == (403, True)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"nonce": "another nonce"}, "sso_token"),
        ({"nonce": None}, "sso_token"),
        ({"aud": "another client"}, "sso_token"),
        ({"aud": ["another client", "and another"]}, "sso_token"),
        ({"iss": "http://another.example"}, "sso_token"),
        ({"exp": 1}, "sso_token"),
        ({"email_verified": False}, "sso_email_not_verified"),
        ({"email": "no address"}, "sso_no_email"),
    ],
    ids=str,
)
async def test_a_token_that_is_not_right_is_refused(
    site: Site, provider: Provider, wrong: dict[str, Any], code: str
) -> None:
    await invited(site)
    provider.claims = wrong
    page = await sso(site)
    assert page.status == 403
    assert await failures(site) == [code]


async def test_a_token_signed_by_another_key_is_refused(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.sign_with = RSAKey.generate_key(2048, {"kid": "one"})
    assert (await sso(site)).status == 403
    assert await failures(site) == ["sso_token"]


async def test_nobody_gets_in_who_was_not_invited_or_is_disabled(site: Site, provider: Provider) -> None:
    await site.clinic()
    assert (await sso(site)).status == 403
    await invite(site.resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))
    await disable_user(site.resources, EMAIL, by=By("test"))
    assert (await sso(site)).status == 403
    assert await failures(site) == ["sso_not_invited"] * 2
    assert len(await users(site)) == 1


async def test_a_state_of_another_browser_or_used_before_is_refused(site: Site, provider: Provider) -> None:
    await invited(site)
    one, other = site.browser(), site.browser()
    await other.get("/login")
    out = await one.client.get("/login/oidc", follow_redirects=False)
    asked = parse_qs(urlsplit(out.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    back = urlsplit(
        (await one.client.get(out.headers["location"], follow_redirects=False)).headers["location"]
    )
    landing = f"{back.path}?{back.query}"
    assert (await other.get(landing)).status == 403
    assert (await one.get(landing)).path == "/account"
    assert (await one.get(landing)).status == 403


async def test_a_refusal_and_a_broken_provider_end_in_a_page(site: Site, provider: Provider) -> None:
    await invited(site)
    provider.deny = True
    assert (await sso(site)).status == 403
    provider.deny = False
    provider.metadata = {"issuer": "https://someone.else.example"}
    page = await sso(site)
    assert page.status == 403
    assert "Single sign-on did not work" in page.text
    provider.metadata = {"token_endpoint": "http://10.0.0.1/token"}
    page = await sso(site)
    assert page.status == 403
    assert "can&#39;t be reached" in page.text


async def test_the_sign_in_page_offers_it(site: Site, provider: Provider) -> None:
    assert "/login/oidc" in (await site.browser().get("/login")).links


async def test_beginning_it_again_and_again_is_slowed_down(site: Site, provider: Provider) -> None:
    browser = site.browser()
    answers = [
        (await browser.client.get("/login/oidc", follow_redirects=False)).status_code for _ in range(31)
    ]
    assert answers == [303] * 30 + [429]
    assert provider.asked.count("discovery") == 30
