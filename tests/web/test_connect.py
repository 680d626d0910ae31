"""Linking in the browser, from Clarius's door to the status page (docs/security.md, "Linking"; row 28 of docs/faults.md)."""

import re
from uuid import UUID

import pytest
from sqlalchemy import select, update

from app.linking.links import start_link
from app.store.audit import AuditEvent, By
from app.store.base import in_seconds
from app.store.browser_sessions import BrowserSession
from app.store.links import Link
from app.store.pending_connects import PendingConnect
from tests.web.conftest import PASSWORD, TOKEN, Site

OTHER_TOKEN = "aaENW6HO4xdM0KlGO2kBXtTbD5XX1LTfdV-vYslZZZZ"


async def links(site: Site) -> list[Link]:
    async with site.resources.sessions() as session:
        return list(await session.scalars(select(Link).order_by(Link.created_at)))


async def test_both_shapes_lead_to_a_clean_url_and_leave_no_trace(site: Site) -> None:
    for door in (
        f"/connect/clarius/{TOKEN}",
        f"/connect/clarius?token={TOKEN}",
        f"/connect/clarius/{TOKEN}/",
    ):
        browser = site.browser()
        response = await browser.client.get(door, follow_redirects=False)
        assert response.status_code == 303
        assert response.headers["location"] == "/connect"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        page = await browser.get("/connect")
        assert page.path == "/login"
        assert TOKEN not in page.text
        assert page.response.headers["referrer-policy"] == "same-origin"


async def test_signing_in_half_way_keeps_the_pending_link(site: Site) -> None:
    clinic = await site.clinic()
    browser = site.browser()
    login = await browser.get(f"/connect/clarius/{TOKEN}")
    confirm = await browser.send(login, "/login", email=clinic.clinician.email, password=PASSWORD)
    assert confirm.path == "/connect"
    assert "Harbour Clinic" in confirm.text
    assert TOKEN[-4:] in confirm.text
    assert TOKEN not in confirm.text
    assert TOKEN not in confirm.title
    assert await links(site) == []
    status = await browser.send(confirm, "/connect")
    assert status.path == "/connect/status"
    assert status.states == ["pending"]
    (link,) = await links(site)
    assert link.organization_id == clinic.organization.id
    assert link.user_id == clinic.clinician.id
    assert link.customer_hint == TOKEN[-4:]


async def test_back_and_refresh_after_linking_lead_to_the_status(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    confirm = await browser.get(f"/connect/clarius/{TOKEN}")
    await browser.send(confirm, "/connect")
    assert (await browser.send(confirm, "/connect")).path == "/connect/status"
    assert (await browser.get("/connect")).path == "/connect/status"
    assert len(await links(site)) == 1


async def test_a_form_agrees_to_the_token_that_it_showed_and_to_no_later_one(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    first_tab = await browser.get(f"/connect/clarius/{TOKEN}")
    second_tab = await browser.get(f"/connect/clarius/{OTHER_TOKEN}")
    refused = await browser.send(first_tab, "/connect")
    assert refused.status == 409
    assert "/connect" in refused.links
    assert await links(site) == []
    await browser.send(second_tab, "/connect")
    assert [link.customer_hint for link in await links(site)] == [OTHER_TOKEN[-4:]]


async def test_a_token_of_the_wrong_shape_ends_in_a_page_that_says_what_to_do(site: Site) -> None:
    for token in ("short", "x" * 256, "has%20blank%20in%20the%20middle", "semi;colon;semi;colon"):
        for door in (f"/connect/clarius/{token}", f"/connect/clarius?token={token}"):
            page = await site.browser().get(door)
            assert page.status == 400, door
            assert "start again in Clarius" in page.text
    async with site.resources.sessions() as session:
        assert (await session.scalars(select(PendingConnect))).all() == []


async def test_nothing_pending_ends_in_a_page_that_says_what_to_do(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    for path in ("/connect", "/connect/status"):
        page = await browser.get(path)
        assert page.status == 404
        assert "start in Clarius" in page.text


async def test_a_pending_link_that_grew_old_is_not_linked(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    confirm = await browser.get(f"/connect/clarius/{TOKEN}")
    async with site.resources.sessions.begin() as session:
        await session.execute(update(PendingConnect).values(expires_at=in_seconds(-1)))
    assert (await browser.send(confirm, "/connect")).status == 404
    assert await links(site) == []


async def test_a_session_that_expired_on_the_confirm_page_goes_through_signing_in_and_back(
    site: Site,
) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    confirm = await browser.get(f"/connect/clarius/{TOKEN}")
    async with site.resources.sessions.begin() as session:
        await session.execute(update(BrowserSession).values(last_seen_at=in_seconds(-31 * 60)))
    login = await browser.send(confirm, "/connect")
    assert login.path == "/login"
    assert await links(site) == []
    again = await browser.send(login, "/login", email=clinic.clinician.email, password=PASSWORD)
    assert again.path == "/connect"
    assert (await browser.send(again, "/connect")).path == "/connect/status"


@pytest.mark.row(28)
async def test_a_token_that_another_organisation_holds_is_refused_and_audited(site: Site) -> None:
    ours, theirs = await site.clinic(), await site.clinic("Other Clinic")
    held = await start_link(
        site.resources, token=TOKEN, organization_id=theirs.organization.id, user_id=None, by=By("test")
    )
    browser, _ = await site.signed_in(ours.clinician)
    page = await browser.send(await browser.get(f"/connect/clarius/{TOKEN}"), "/connect")
    assert page.status == 409
    assert "Other Clinic" not in page.text
    assert [(link.id, link.organization_id) for link in await links(site)] == [
        (held.id, theirs.organization.id)
    ]
    async with site.resources.sessions() as session:
        event = (await session.scalars(select(AuditEvent).where(AuditEvent.result == "refused"))).one()
    assert (event.action, event.actor) == ("link.start", ours.clinician.email)
    assert (await browser.get("/connect/status")).status == 404


async def test_two_browsers_with_one_token_make_one_link(site: Site) -> None:
    clinic = await site.clinic()
    first, _ = await site.signed_in(clinic.clinician)
    second, _ = await site.signed_in(clinic.admin)
    pages = [await browser.get(f"/connect/clarius/{TOKEN}") for browser in (first, second)]
    states = [
        (await browser.send(page, "/connect")).states
        for browser, page in zip((first, second), pages, strict=True)
    ]
    assert states == [["pending"], ["pending"]]
    assert len(await links(site)) == 1


@pytest.mark.row(28)
async def test_nobody_links_without_a_session(site: Site) -> None:
    browser = site.browser()
    login = await browser.get(f"/connect/clarius/{TOKEN}")
    token = login.form("/login").fields["csrf_token"]
    response = await browser.client.post("/connect", data={"csrf_token": token}, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (303, "/login")
    assert await links(site) == []


@pytest.mark.row(28)
async def test_a_pending_link_belongs_to_one_browser(site: Site) -> None:
    clinic = await site.clinic()
    await site.browser().get(f"/connect/clarius/{TOKEN}")
    other, _ = await site.signed_in(clinic.clinician)
    assert (await other.get("/connect")).status == 404


async def test_what_one_person_left_pending_is_not_the_next_ones_to_agree_to(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    confirm = await browser.get(f"/connect/clarius/{TOKEN}")
    await browser.send(confirm, "/logout")
    landed = await browser.sign_in(clinic.admin.email, PASSWORD)
    assert landed.path == "/account"
    assert (await browser.get("/connect")).status == 404


async def test_the_status_page_tells_each_state_and_what_to_do(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    await browser.send(await browser.get(f"/connect/clarius/{TOKEN}"), "/connect")
    expected = {"confirmed": "is linked", "refused": "start in Clarius", "disconnected": "has ended"}
    for state, words in expected.items():
        async with site.resources.sessions.begin() as session:
            await session.execute(update(Link).values(state=state))
        page = await browser.get("/connect/status")
        assert page.states == [state]
        assert words in page.text
    async with site.resources.sessions.begin() as session:
        await session.execute(update(Link).values(state="pending", error="no answer (clarius_unavailable)"))
    page = await browser.get("/connect/status")
    assert "go on trying" in page.text
    assert "clarius_unavailable" not in page.text
    assert "/connect/status" in page.links


async def test_the_token_is_sealed_and_in_no_column_as_text(site: Site) -> None:
    clinic = await site.clinic()
    browser, _ = await site.signed_in(clinic.clinician)
    confirm = await browser.get(f"/connect/clarius/{TOKEN}")
    async with site.resources.sessions() as session:
        pending = (await session.scalars(select(PendingConnect))).one()
    await browser.send(confirm, "/connect")
    async with site.resources.sessions() as session:
        assert (await session.scalars(select(PendingConnect))).all() == []
        events = (await session.scalars(select(AuditEvent))).all()
    (link,) = await links(site)
    for sealed in (pending.token_sealed, link.token_sealed):
        assert TOKEN.encode() not in sealed
        assert site.resources.unseal_text(sealed) == TOKEN
    assert not any(TOKEN in (event.detail or "") + (event.subject or "") for event in events)
    assert UUID(str(link.id))
    assert not re.search(TOKEN, repr(link))
