"""Sessions, sign-in and forms (docs/security.md, "Sessions and passwords"); each test can fail if the rule is dropped."""

import re
import statistics
import time

import pytest
from sqlalchemy import func, select, update

from app.people.users import disable_user, invite, reset_link
from app.store.audit import AuditEvent, By
from app.store.base import in_seconds, now
from app.store.browser_sessions import BrowserSession
from app.store.links import Link
from app.store.one_time_links import OneTimeLink
from app.store.throttles import Throttle
from app.store.users import User
from tests.support.pages import Browsing
from tests.web.conftest import PASSWORD, TOKEN, Site

NEW_PASSWORD = "marble orchid lantern"
FOREIGN = "https://evil.example"


def path_of(url: str) -> str:
    """The path of one of our own URLs."""
    return "/" + url.split("/", 3)[3]


async def sessions(site: Site) -> list[BrowserSession]:
    async with site.resources.sessions() as session:
        return list(await session.scalars(select(BrowserSession).order_by(BrowserSession.created_at)))


async def test_signing_in_gives_a_new_cookie_and_the_old_one_is_worth_nothing(site: Site) -> None:
    """Fixation: whoever planted the cookie before the sign-in is not signed in by it."""
    clinic = await site.clinic()
    browser = site.browser()
    login = await browser.get("/login")
    planted = browser.cookie
    assert planted is not None
    landed = await browser.send(login, "/login", email=clinic.clinician.email, password=PASSWORD)
    assert landed.path == "/account"
    assert browser.cookie != planted
    attacker = site.browser()
    attacker.client.cookies.set("sonobridge", planted, domain="127.0.0.1")
    assert (await attacker.get("/account")).path == "/login"


async def test_signing_in_again_ends_the_earlier_session_of_that_browser(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    old = browser.cookie
    page = await browser.get("/account")
    form = page.form("/logout")
    # the sign-in form of another tab, sent while signed in
    await browser.client.post(
        "/login",
        data={"csrf_token": form.fields["csrf_token"], "email": clinic.admin.email, "password": PASSWORD},
    )
    assert browser.cookie != old
    first, second = await sessions(site)
    assert first.ended_at is not None
    assert second.ended_at is None


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    response = await site.browser().client.get("/login")
    flags = response.headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "path=/" in flags
    assert "domain" not in flags
    assert "secure" not in flags  # plain http on loopback: a browser would drop it


async def test_the_row_holds_a_hash_of_the_cookie(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    (row,) = await sessions(site)
    assert browser.cookie is not None
    assert browser.cookie.encode() != row.token_hash
    assert len(row.token_hash) == 32


async def test_a_session_ends_by_idling_by_age_and_on_the_server(site: Site) -> None:
    clinic = await site.clinic()
    changes: tuple[dict[str, object], ...] = (
        {"last_seen_at": in_seconds(-30 * 60 - 1)},
        {"expires_at": in_seconds(-1)},
        {"ended_at": now()},
    )
    for change in changes:
        browser, landed = await site.signed_in(clinic.clinician)
        assert landed.path == "/account"
        async with site.resources.sessions.begin() as session:
            await session.execute(update(BrowserSession).values(**change))
        page = await browser.get("/account")
        assert page.path == "/login", change
        assert "You were signed out" in page.text
        assert page.form("/login").fields["next"] == "/account"


async def test_a_session_lives_twelve_hours_at_most_and_looking_keeps_it_from_idling(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    (row,) = await sessions(site)
    assert (row.expires_at - row.created_at).total_seconds() == 12 * 3600
    async with site.resources.sessions.begin() as session:
        await session.execute(update(BrowserSession).values(last_seen_at=in_seconds(-20 * 60)))
    await browser.get("/account", headers={"X-Sonobridge-Follow": "1"})
    (waiting,) = await sessions(site)
    await browser.get("/account")
    (looked,) = await sessions(site)
    assert waiting.last_seen_at < looked.last_seen_at
    assert looked.expires_at == row.expires_at


async def test_signing_out_ends_the_session_on_the_server(site: Site) -> None:
    clinic = await site.clinic()
    browser, landed = await site.signed_in(clinic.clinician)
    cookie = browser.cookie
    assert (await browser.send(landed, "/logout")).path == "/login"
    assert cookie is not None
    thief = site.browser()
    thief.client.cookies.set("sonobridge", cookie, domain="127.0.0.1")
    assert (await thief.get("/account")).path == "/login"


async def test_a_disabled_user_is_signed_out_at_once_and_stays_out(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    await disable_user(site.resources, clinic.clinician.email, by=By("test"))
    assert (await browser.get("/account")).path == "/login"
    assert (await site.browser().sign_in(clinic.clinician.email, PASSWORD)).status == 401


async def test_changing_the_password_ends_the_other_sessions(site: Site) -> None:
    clinic = await site.clinic()
    here, account = await site.signed_in(clinic.clinician)
    there, _ = await site.signed_in(clinic.clinician)
    wrong = await here.send(
        account, "/account/password", current_password="not it at all", new_password=NEW_PASSWORD
    )
    assert wrong.status == 422
    weak = await here.send(
        account, "/account/password", current_password=PASSWORD, new_password="password1234"
    )
    assert weak.status == 422
    done = await here.send(account, "/account/password", current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert (done.path, done.status) == ("/account", 200)
    assert (await there.get("/account")).path == "/login"
    assert (await here.get("/account")).path == "/account"
    assert (await site.browser().sign_in(clinic.clinician.email, PASSWORD)).status == 401
    assert (await site.browser().sign_in(clinic.clinician.email, NEW_PASSWORD)).path == "/account"


async def test_one_signs_out_another_browser_from_the_account_page(site: Site) -> None:
    clinic = await site.clinic()
    here, _ = await site.signed_in(clinic.clinician)
    there, _ = await site.signed_in(clinic.clinician)
    account = await here.get("/account")
    action = next(form.action for form in account.forms if form.action.endswith("/end"))
    assert (await here.send(account, action)).status == 200
    assert (await there.get("/account")).path == "/login"
    assert (await here.get("/account")).path == "/account"


# Forms of other sites.

FORMS = ("/login", "/logout", "/connect", "/account/password", "/reset")


async def ready(site: Site, path: str) -> tuple[Browsing, dict[str, str]]:
    """A browser that could send the form at `path`, and the fields it would send."""
    clinic = await site.clinic()
    if path in ("/login", "/reset"):
        browser = site.browser()
        page = await browser.get("/login")
        fields = {"email": clinic.clinician.email, "password": PASSWORD}
        return browser, fields | {"csrf_token": page.form("/login").fields["csrf_token"]}
    browser, _ = await site.signed_in(clinic.clinician)
    page = await browser.get(f"/connect/clarius/{TOKEN}")
    fields = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    return browser, fields | {"csrf_token": page.form("/connect").fields["csrf_token"]}


async def state(site: Site) -> tuple[object, ...]:
    """What the forms above could have changed."""
    async with site.resources.sessions() as session:
        counted = [
            (await session.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (Link, OneTimeLink)
        ]
        hashes = [user.password_hash for user in await session.scalars(select(User).order_by(User.id))]
    return (*counted, *hashes, *[(row.id, row.ended_at) for row in await sessions(site)])


OTHER_SITES: dict[str, tuple[bool, dict[str, str]]] = {
    "no token": (False, {}),
    "wrong token": (False, {"X-Test": "wrong"}),
    "foreign origin": (True, {"Origin": FOREIGN}),
    "null origin": (True, {"Origin": "null"}),
    "foreign referer": (True, {"Referer": f"{FOREIGN}/page"}),
    "cross-site": (True, {"Sec-Fetch-Site": "cross-site"}),
}
"""How such a form looks from here → whether it has the right token, and what the browser says of it."""


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_of_another_site_changes_nothing_and_our_own_is_taken(site: Site, path: str) -> None:
    browser, fields = await ready(site, path)
    before = await state(site)
    for case, (has_token, headers) in OTHER_SITES.items():
        token = fields["csrf_token"] if has_token else headers.get("X-Test", "")
        answer = await browser.client.post(
            path, data=fields | {"csrf_token": token}, headers=headers, follow_redirects=False
        )
        assert answer.status_code == 403, case
        assert await state(site) == before, case
    # the other half: with token and our origin the same request goes through
    answer = await browser.client.post(
        path, data=fields, headers={"Origin": site.url}, follow_redirects=False
    )
    assert answer.status_code in (200, 303)


async def test_the_form_token_of_one_browser_is_worth_nothing_in_another(site: Site) -> None:
    clinic = await site.clinic()
    token = (await site.browser().get("/login")).form("/login").fields["csrf_token"]
    victim = site.browser()
    await victim.get("/login")
    fields = {"csrf_token": token, "email": clinic.clinician.email, "password": PASSWORD}
    answer = await victim.client.post("/login", data=fields, headers={"Origin": site.url})
    assert answer.status_code == 403


async def test_pages_are_kept_nowhere_framed_nowhere_and_load_nothing_foreign(site: Site) -> None:
    for path in ("/login", "/connect", "/reset", "/no/such/page"):
        page = await site.browser().get(path)
        headers = page.response.headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-content-type-options"] == "nosniff"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text)
        assert "<style" not in page.text
        assert not re.search(r"<script(?! src=)", page.text)
        assert not re.search(r'\sstyle="|\son[a-z]+="', page.text)


async def test_after_signing_in_one_never_lands_on_another_site(site: Site) -> None:
    clinic = await site.clinic()
    for target in (
        FOREIGN,
        "//evil.example",
        "/\\evil.example",
        "/account@evil.example",
        "javascript:alert(1)",
    ):
        browser = site.browser()
        page = await browser.get("/login", params={"next": target})
        token = page.form("/login").fields["csrf_token"]
        fields = {"csrf_token": token, "email": clinic.clinician.email, "password": PASSWORD, "next": target}
        answer = await browser.client.post("/login", data=fields, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")


# Guessing.


async def test_unknown_and_wrong_look_the_same(site: Site) -> None:
    clinic = await site.clinic()
    await invite(
        site.resources, email="invited@harbour-clinic.example", organization="Harbour Clinic", by=By("test")
    )
    await disable_user(site.resources, clinic.admin.email, by=By("test"))
    seen = set()
    addresses = (
        clinic.clinician.email,
        clinic.admin.email,
        "invited@harbour-clinic.example",
        "nobody@else.example",
    )
    for email in addresses:
        browser = site.browser()
        page = await browser.sign_in(email, "wrong password, this one")
        text = page.text.replace(email, "…")
        seen.add((page.status, re.sub(r'name="csrf_token" value="[^"]+"', "", text)))
    assert len(seen) == 1


async def test_unknown_and_wrong_take_the_same_time(site: Site) -> None:
    """A ratio, not a time: without the work on a hash of nobody it would be far above two."""
    clinic = await site.clinic()
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for attempt in range(5):
        for kind, email in (("known", clinic.clinician.email), ("unknown", f"nobody{attempt}@else.example")):
            browser = site.browser()
            login = await browser.get("/login")
            began = time.perf_counter()
            page = await browser.send(login, "/login", email=email, password="wrong password, this one")
            took[kind].append(time.perf_counter() - began)
            assert page.status == 401
        async with site.resources.sessions.begin() as session:
            await session.execute(update(Throttle).values(attempts=0, blocked_until=None))
    known, unknown = (statistics.median(took[kind]) for kind in ("known", "unknown"))
    assert 0.5 < known / unknown < 2.0, took


async def guess(site: Site, email: str, *, times: int) -> list[float | None]:
    """Wrong passwords, each tried as soon as it may be; how long the door was closed after each, in seconds."""
    delays: list[float | None] = []
    browser = site.browser()
    for _ in range(times):
        async with site.resources.sessions.begin() as session:
            await session.execute(update(Throttle).values(blocked_until=in_seconds(-1)))
        assert (await browser.sign_in(email, "wrong password, this one")).status == 401
        async with site.resources.sessions() as session:
            left = await session.execute(select(func.max(Throttle.blocked_until - Throttle.last_at)))
            closed = left.scalar_one()
        delays.append(closed.total_seconds() if closed else None)
    return delays


@pytest.mark.parametrize("known", [True, False], ids=["known account", "unknown account"])
async def test_guessing_one_account_is_slowed_down_and_the_delay_grows(site: Site, known: bool) -> None:
    clinic = await site.clinic()
    email = clinic.clinician.email if known else "nobody@else.example"
    assert await guess(site, email, times=8) == [None, None, None, None, 1, 2, 4, 8]
    async with site.resources.sessions.begin() as session:
        await session.execute(update(Throttle).values(blocked_until=in_seconds(60)))
    page = await site.browser().sign_in(email, PASSWORD)
    assert page.status == 429  # the right password does not help either
    assert 1 <= int(page.response.headers["retry-after"]) <= 60
    assert page.form("/login").fields["email"] == email  # what was typed is kept


async def test_guessing_many_accounts_from_one_address_is_slowed_down(site: Site) -> None:
    browser = site.browser()
    fields = (await browser.get("/login")).form("/login").fields
    statuses = []
    for number in range(31):
        answer = await browser.client.post("/reset", data=fields | {"email": f"person{number}@else.example"})
        statuses.append(answer.status_code)
    assert statuses == [200] * 30 + [429]


async def test_the_right_person_gets_in_after_some_wrong_tries_and_the_count_begins_anew(site: Site) -> None:
    clinic = await site.clinic()
    assert await guess(site, clinic.clinician.email, times=4) == [None] * 4
    assert (await site.browser().sign_in(clinic.clinician.email, PASSWORD)).path == "/account"
    assert await guess(site, clinic.clinician.email, times=5) == [None, None, None, None, 1]


async def test_failures_are_audited_without_what_was_typed(site: Site) -> None:
    clinic = await site.clinic()
    browser = site.browser()
    await browser.sign_in(clinic.clinician.email, "wrong password, this one")
    await browser.sign_in("my-secret-typed-in-the-wrong-field", "x")
    async with site.resources.sessions() as session:
        events = (
            await session.scalars(
                select(AuditEvent)
                .where(AuditEvent.action == "session.sign_in_failed")
                .order_by(AuditEvent.id)
            )
        ).all()
    assert [(event.actor, event.address) for event in events] == [
        (clinic.clinician.email, "127.0.0.1"),
        ("unknown", "127.0.0.1"),
    ]


# Links that work once.


async def invited(site: Site) -> str:
    invitation = await invite(
        site.resources, email="new@harbour-clinic.example", organization="Harbour Clinic", by=By("test")
    )
    return path_of(invitation.url)


async def test_an_invitation_works_once(site: Site) -> None:
    await site.clinic()
    url = await invited(site)
    browser = site.browser()
    page = await browser.get(url)
    assert (await browser.get(url)).status == 200  # looking does not use it up
    weak = await browser.send(page, url, password="short")
    assert weak.status == 422
    done = await browser.send(page, url, password=NEW_PASSWORD)
    assert done.path == "/account"
    again = site.browser()
    assert (await again.get(url)).status == 410
    token = (await again.get("/login")).form("/login").fields["csrf_token"]
    replayed = await again.client.post(url, data={"csrf_token": token, "password": PASSWORD})
    assert replayed.status_code == 410
    assert (await site.browser().sign_in("new@harbour-clinic.example", PASSWORD)).status == 401
    assert (await site.browser().sign_in("new@harbour-clinic.example", NEW_PASSWORD)).path == "/account"


async def test_an_invitation_ends_after_seven_days_and_with_the_next_one(site: Site) -> None:
    await site.clinic()
    first = await invited(site)
    second = await invited(site)
    assert (await site.browser().get(first)).status == 410
    assert (await site.browser().get(second)).status == 200
    async with site.resources.sessions.begin() as session:
        lasted = (
            await session.execute(select(func.max(OneTimeLink.expires_at - OneTimeLink.created_at)))
        ).scalar_one()
        await session.execute(update(OneTimeLink).values(expires_at=in_seconds(-1)))
    assert lasted.total_seconds() == 7 * 24 * 3600
    assert (await site.browser().get(second)).status == 410


async def test_an_invitation_keeps_the_pending_link(site: Site) -> None:
    await site.clinic()
    url = await invited(site)
    browser = site.browser()
    await browser.get(f"/connect/clarius/{TOKEN}")
    landed = await browser.send(await browser.get(url), url, password=NEW_PASSWORD)
    assert landed.path == "/connect"
    assert TOKEN[-4:] in landed.text


async def test_a_reset_link_sets_a_new_password_once_and_signs_out_everywhere(site: Site) -> None:
    clinic = await site.clinic()
    elsewhere, _ = await site.signed_in(clinic.clinician)
    url = path_of(await reset_link(site.resources, clinic.clinician.email, by=By("test")))
    browser = site.browser()
    done = await browser.send(await browser.get(url), url, password=NEW_PASSWORD)
    assert done.path == "/account"
    assert (await elsewhere.get("/account")).path == "/login"
    assert (await site.browser().get(url)).status == 410


async def test_asking_for_a_reset_says_the_same_to_everybody(site: Site) -> None:
    clinic = await site.clinic()
    texts = set()
    for email in (clinic.clinician.email, "nobody@else.example"):
        browser = site.browser()
        token = (await browser.get("/login")).form("/login").fields["csrf_token"]
        answer = await browser.client.post("/reset", data={"csrf_token": token, "email": email})
        texts.add((answer.status_code, re.sub(r'value="[^"]+"', "", answer.text.replace(email, "…"))))
    assert len(texts) == 1
