"""A clinician links a Clarius account, in Debian's Chromium, against the simulated Clarius."""

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect
from sqlalchemy import select

from app.people.users import add_user, invite, reset_link
from app.states import LinkState
from app.store.audit import By
from app.store.links import Link
from sandbox.faults import answer, hold
from tests.support.bridge import Bridge
from tests.support.browser.chromium import PHONE, context, look, picture, scrolls_sideways
from tests.support.wait import until

pytestmark = pytest.mark.browser

PASSWORD = "violet kettle seventeen"
EMAIL = "mara.quill@harbour.example"
MANY, WALK_SECONDS = 300, 300
CONFIRMATIONS = "*/customer-confirmations/"


async def clinician(bridge: Bridge, email: str = EMAIL, organization: str = "Harbour Clinic") -> None:
    """An organisation and a clinician of it who can sign in."""
    await bridge.organization(organization)
    await add_user(
        bridge.resources,
        email=email,
        organization=organization,
        role="clinician",
        password=PASSWORD,
        by=By("test"),
    )


async def sign_in(page: Page, email: str = EMAIL) -> None:
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def link_account(page: Page) -> None:
    await page.get_by_role("button", name="Link account").click()


async def test_the_first_link_with_an_invitation(bridge: Bridge, chromium: Browser) -> None:
    await bridge.organization("Harbour Clinic")
    invitation = await invite(bridge.resources, email=EMAIL, organization="Harbour Clinic", by=By("test"))
    token = bridge.sandbox.add_customer()
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await page.goto(f"/connect/clarius/{token}")
        await expect(page).to_have_url(f"{bridge.url}/login")
        await look(page, "login-with-pending-link")
        await page.goto(invitation.url.replace(bridge.resources.settings.public_url, ""))
        await expect(page.get_by_text("Harbour Clinic")).to_be_visible()
        await look(page, "invitation")
        await page.get_by_label("Choose a password").fill("password1234")
        await page.get_by_role("button", name="Set up account").click()
        await expect(page.get_by_role("alert")).to_contain_text("choose another")
        await look(page, "invitation-weak-password")
        await page.get_by_label("Choose a password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up account").click()
        await expect(page.get_by_role("heading", name="Link your Clarius account")).to_be_visible()
        await expect(page.get_by_text(token[-4:])).to_be_visible()
        assert token not in await page.content()
        await look(page, "connect")
        await link_account(page)
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()
        await look(page, "status-confirmed")
    assert bridge.sandbox.clarius.customers[token]


async def test_linking_when_signed_in_and_the_account_page(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    token = bridge.sandbox.add_customer()
    submitted = await bridge.sandbox.submit_exam(customer=token, shape="complete")
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await page.goto("/login")
        await look(page, "login")
        await sign_in(page)
        await expect(page).to_have_url(f"{bridge.url}/account")
        await look(page, "account-empty")
        await page.goto(f"/connect/clarius?token={token}")
        await link_account(page)
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()
        # the exam that waited for this link goes on by itself
        await bridge.rests()
        await page.goto("/account")
        await expect(page.get_by_text("In Aurabox", exact=True)).to_be_visible()
        assert submitted.exam_uuid[:8] in await page.content()
        await look(page, "account")
        await page.get_by_role("link", name="End link").click()
        await expect(page.get_by_role("heading", name="End this link?")).to_be_visible()
        await look(page, "unlink")
        await page.get_by_role("button", name="End link").click()
        await expect(page.get_by_role("status")).to_contain_text("The link has ended")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_url(f"{bridge.url}/login")


async def test_a_refused_token_says_how_to_start_again(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await page.goto("/connect/clarius/never-seen-by-clarius-0123456789abcdef")
        await sign_in(page)
        await link_account(page)
        await expect(page.locator("[data-state=refused]")).to_be_visible()
        await expect(page.get_by_text("start in Clarius")).to_be_visible()
        await look(page, "status-refused")


async def test_a_confirmation_that_arrives_late_is_followed_without_a_reload(
    bridge: Bridge, chromium: Browser
) -> None:
    await clinician(bridge)
    token = bridge.sandbox.add_customer()
    busy = bridge.sandbox.faults.arm(answer(503), server="clarius", path=CONFIRMATIONS, times=100)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await page.goto(f"/connect/clarius/{token}")
        await sign_in(page)
        await link_account(page)
        await expect(page.locator("[data-state=pending]")).to_be_visible()
        await expect(page.get_by_text("go on trying")).to_be_visible()
        await look(page, "status-pending")
        await page.evaluate("() => { window.sameDocument = true; }")
        bridge.sandbox.faults.clear()
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()
        assert await page.evaluate("() => window.sameDocument") is True
        assert "Linked" in await page.title()
    assert busy.hits > 0


async def test_a_narrow_screen_and_the_keyboard_alone(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    token = bridge.sandbox.add_customer()
    async with await context(chromium, bridge.url, phone=True, scheme="dark") as browser:
        page = await browser.new_page()
        await page.goto(f"/connect/clarius/{token}")
        await page.keyboard.press("Tab")
        await expect(page.get_by_text("Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await expect(page.get_by_label("E-mail address")).to_be_focused()
        await page.keyboard.type(EMAIL)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Link account")).to_be_visible()
        assert page.viewport_size == PHONE
        assert not await scrolls_sideways(page)
        await page.get_by_role("button", name="Link account").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()


async def test_without_javascript_the_status_page_offers_a_refresh(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    token = bridge.sandbox.add_customer()
    held = bridge.sandbox.faults.arm(hold(), server="clarius", path=CONFIRMATIONS)
    async with await context(chromium, bridge.url, script=False) as browser:
        page = await browser.new_page()
        await page.goto(f"/connect/clarius/{token}")
        await sign_in(page)
        await link_account(page)
        await expect(page.locator("[data-state=pending]")).to_be_visible()
        await picture(page, "status-pending-no-script")
        held.release()
        await until_confirmed(bridge, token)
        await expect(page.locator("[data-state=pending]")).to_be_visible()
        await page.get_by_role("link", name="Check again").click()
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()


async def until_confirmed(bridge: Bridge, token: str) -> None:
    async def confirmed() -> bool:
        async with bridge.resources.sessions() as session:
            link = (await session.scalars(select(Link))).one()
        return link.state == "confirmed"

    await until(confirmed)


async def test_two_browsers_with_one_token(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    await clinician(bridge, "odo.fenn@valley.example", "Valley Clinic")
    token = bridge.sandbox.add_customer()
    async with await context(chromium, bridge.url) as first, await context(chromium, bridge.url) as second:
        ours, theirs = await first.new_page(), await second.new_page()
        for page, email in ((ours, EMAIL), (theirs, "odo.fenn@valley.example")):
            await page.goto(f"/connect/clarius/{token}")
            await sign_in(page, email)
            await expect(page.get_by_role("button", name="Link account")).to_be_visible()
        await link_account(ours)
        await expect(ours.locator("[data-state=confirmed]")).to_be_visible()
        await link_account(theirs)
        await expect(theirs.get_by_role("heading", name="linked elsewhere")).to_be_visible()
        assert "Harbour" not in await theirs.content()
        await look(theirs, "connect-taken")
    async with bridge.resources.sessions() as session:
        assert len((await session.scalars(select(Link))).all()) == 1


@pytest.mark.row(28)
async def test_the_token_is_in_no_referer_and_no_url_after_the_door(
    bridge: Bridge, chromium: Browser
) -> None:
    await clinician(bridge)
    token = bridge.sandbox.add_customer()
    asked: list[tuple[str, str]] = []
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        page.on("request", lambda request: asked.append((request.url, str(request.headers))))
        await page.goto(f"/connect/clarius/{token}")
        await sign_in(page)
        await link_account(page)
        await expect(page.locator("[data-state=confirmed]")).to_be_visible()
        assert token not in await page.title()
        history = await page.evaluate("() => document.referrer + location.href")
        assert token not in history
    door, *after = asked
    assert token in door[0]
    assert len(after) > 5
    assert [url for url, headers in after if token in url or token in headers] == []


async def test_pages_for_when_something_is_not_right(bridge: Bridge, chromium: Browser) -> None:
    await clinician(bridge)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        for path, name, heading in (
            ("/connect", "connect-nothing", "nothing to link"),
            ("/connect/clarius/short", "connect-bad-token", "not complete"),
            ("/invite/used-up", "invitation-used-up", "does not work any more"),
            ("/reset/used-up", "reset-used-up", "does not work any more"),
            ("/reset", "reset-ask", "Forgot"),
            ("/no/such/page", "not-found", "no such page"),
        ):
            await page.goto(path)
            await expect(page.get_by_role("heading", level=1)).to_contain_text(heading)
            await look(page, name)
        await page.goto("/login")
        await page.get_by_label("E-mail address").fill(EMAIL)
        await page.get_by_label("Password").fill("not the password")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not right")
        await expect(page.get_by_label("E-mail address")).to_have_value(EMAIL)
        await look(page, "login-wrong")
        await page.goto((await reset_link(bridge.resources, EMAIL, by=By("test"))).split("8000")[1])
        await look(page, "reset")


async def link_many(browser: Browser, bridge: Bridge, number: int) -> None:
    """One clinician, signed in once, links this many accounts one after the other."""
    async with await context(browser, bridge.url) as opened:
        page = await opened.new_page()
        await page.goto("/login")
        await sign_in(page)
        await expect(page).to_have_url(f"{bridge.url}/account")
        for _ in range(number):
            await page.goto(f"/connect/clarius/{bridge.sandbox.add_customer()}", wait_until="commit")
            await link_account(page)
            # any error page stays where it is
            await page.wait_for_url("/connect/status", wait_until="commit")


@pytest.mark.slow
@pytest.mark.timeout(WALK_SECONDS)
async def test_three_hundred_links_in_one_process(bridge: Bridge, chromium: Browser) -> None:
    """A connection to the database makes many of them: none may be one too many."""
    await clinician(bridge)
    # two at once, because the application waits while the browser draws, and the other way round
    await asyncio.gather(*[link_many(chromium, bridge, MANY // 2) for _ in range(2)])

    async def all_confirmed() -> bool:
        async with bridge.resources.sessions() as session:
            states = (await session.scalars(select(Link.state))).all()
        return states == [LinkState.CONFIRMED] * MANY

    await until(all_confirmed)
