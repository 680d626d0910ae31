"""Those who run the bridge, in Debian's Chromium: find what is stuck and put it right, page by page."""

import pytest
from playwright.async_api import Browser, Page, expect

from app.people.users import add_user
from app.states import ExamState
from app.store.audit import By
from sandbox.clarius.state import EXAM_APPLICATIONS
from tests.support.bridge import Bridge
from tests.support.browser.chromium import DESK, PHONE, context, judge, picture, scrolls_sideways

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PASSWORD = "violet kettle seventeen"
PERSON = {
    "identifier": "MRN-1",
    "first_name": "Ada",
    "last_name": "Winter",
    "date_of_birth": "1980-01-01",
    "gender": "female",
}


async def signed_in(bridge: Bridge, page: Page, role: str = "admin") -> None:
    """A user of the first organisation, signed in."""
    email = f"{role}@harbour.example"
    await add_user(
        bridge.resources,
        email=email,
        organization="Harbour Clinic",
        role=role,
        password=PASSWORD,
        by=By("test"),
    )
    await page.goto("/login")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def glance(page: Page, name: str) -> None:
    """Picture and judge the page on a desk in the light and on a phone in the dark."""
    for label, size, scheme in (("1440-light", DESK, "light"), ("360-dark", PHONE, "dark")):
        await page.set_viewport_size(size)
        await page.emulate_media(color_scheme=scheme)
        await picture(page, f"admin-{name}-{label}")
        assert await judge(page) == [], f"{name} {label}"
        assert not await scrolls_sideways(page), f"{name} scrolls sideways at {label}"
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size(DESK)


async def test_every_page_reads_well(bridge: Bridge, chromium: Browser):
    organization = await bridge.organization()
    customer = await bridge.customer(organization)
    good = await bridge.sandbox.submit_exam(customer=customer, patient=PERSON)
    await bridge.reaches(good.request_uuid, ExamState.DELIVERED)
    conflict = await bridge.sandbox.submit_exam(
        customer=customer, patient=PERSON | {"first_name": "Bruno", "gender": "male"}
    )
    broken = await bridge.sandbox.submit_exam(customer=customer, shape="list")
    await bridge.sandbox.submit_exam(customer=await bridge.customer())
    await bridge.reaches(conflict.request_uuid, ExamState.REVIEW)
    await bridge.reaches(broken.request_uuid, ExamState.FAILED)
    person = next(iter(bridge.sandbox.team().people.values()))
    pages = {
        "overview": "/admin",
        "gaps": "/admin/gaps",
        "exams": "/admin/exams",
        "exam": f"/admin/exams/{good.request_uuid}",
        "review": f"/admin/exams/{conflict.request_uuid}",
        "retry": "/admin/exams/retry?state=failed",
        "links": "/admin/links",
        "organizations": "/admin/organizations",
        "organization": f"/admin/organizations/{organization.id}",
        "users": "/admin/users",
        "clarius": "/admin/clarius",
        "records": "/admin/clarius/records",
        "tokens": "/admin/clarius/tokens",
        "applications": "/admin/clarius/applications",
        "application": f"/admin/clarius/applications/{next(iter(EXAM_APPLICATIONS))}",
        "patients": f"/admin/aurabox/{organization.id}/patients",
        "patient": f"/admin/aurabox/{organization.id}/patients/{person.id}",
        "events": "/admin/events",
    }
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        for name, path in pages.items():
            await page.goto(path)
            await glance(page, name)


async def test_a_stuck_exam_is_found_and_retried(bridge: Bridge, chromium: Browser):
    customer = await bridge.customer(await bridge.organization())
    broken = await bridge.sandbox.submit_exam(customer=customer, shape="list")
    await bridge.reaches(broken.request_uuid, ExamState.FAILED)
    bridge.sandbox.clarius.exams[broken.request_uuid].data = {"patient": PERSON, "captures": []}
    bridge.sandbox.clarius.exams[broken.request_uuid].has_data = True
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto("/admin")
        await page.get_by_role("link", name="Not delivered").click()
        await expect(page).to_have_url(f"{bridge.url}/admin/exams?state=failed")
        await page.get_by_role("link", name="open this exam").click()
        await page.get_by_role("button", name="Try again").click()
        # the page follows along by itself
        await expect(page.get_by_role("heading", name="In Aurabox")).to_be_visible()
    await bridge.reaches(broken.request_uuid, ExamState.DELIVERED)


@pytest.mark.parametrize(("label", "patients"), [("Keep separate", 2), ("Same patient", 1)])
async def test_an_identity_conflict_is_settled(bridge: Bridge, chromium: Browser, label: str, patients: int):
    customer = await bridge.customer(await bridge.organization())
    first = await bridge.sandbox.submit_exam(customer=customer, patient=PERSON, captures=[])
    await bridge.reaches(first.request_uuid, ExamState.DELIVERED)
    other = await bridge.sandbox.submit_exam(
        customer=customer, patient=PERSON | {"first_name": "Bruno", "gender": "male"}, captures=[]
    )
    await bridge.reaches(other.request_uuid, ExamState.REVIEW)
    async with await context(chromium, bridge.url, script=False) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto(f"/admin/exams/{other.request_uuid}")
        await expect(page.get_by_role("heading", name="Who is this?")).to_be_visible()
        await page.get_by_role("button", name=label).click()
        await expect(page.get_by_role("status")).to_contain_text("goes on")
    await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
    assert len(bridge.sandbox.journal.effects_of("aurabox.patient.create")) == patients


async def test_the_urls_are_registered_and_the_key_rotated_while_exams_flow(
    bridge: Bridge, chromium: Browser
):
    customer = await bridge.customer(await bridge.organization())
    exams = [await bridge.sandbox.submit_exam(customer=customer, captures=["jpeg"]) for _ in range(3)]
    before = set(bridge.sandbox.clarius.keys)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto("/admin/clarius")
        await page.get_by_role("button", name="Rotate the key in use").click()
        exams += [await bridge.sandbox.submit_exam(customer=customer, captures=["jpeg"]) for _ in range(3)]
        await expect(page.get_by_role("status")).to_contain_text("old one is revoked")
        await page.get_by_role("button", name="Register this bridge's URLs").click()
        await expect(page.get_by_text("Clarius has what this bridge serves")).to_be_visible()
    assert before.isdisjoint(bridge.sandbox.clarius.keys)
    for exam in exams:
        await bridge.reaches(exam.request_uuid, ExamState.DELIVERED)


async def test_all_that_failed_is_retried_at_once(bridge: Bridge, chromium: Browser):
    customer = await bridge.customer(await bridge.organization())
    exams = [await bridge.sandbox.submit_exam(customer=customer, shape="list") for _ in range(3)]
    for exam in exams:
        await bridge.reaches(exam.request_uuid, ExamState.FAILED)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto("/admin/exams?state=failed")
        await page.get_by_role("link", name="Retry all of these").click()
        await expect(page.get_by_role("heading", name="Retry 3 exams?")).to_be_visible()
        await page.get_by_role("button", name="Retry 3").click()
        await expect(page.get_by_role("status")).to_contain_text("3 exams are tried again")


async def test_a_clinician_sees_none_of_it(bridge: Bridge, chromium: Browser):
    await bridge.organization()
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page, role="clinician")
        await expect(page.get_by_role("link", name="Administration")).to_have_count(0)
        for path in ("/admin", "/admin/exams", "/admin/users", "/admin/clarius"):
            answer = await page.goto(path)
            assert answer is not None
            assert answer.status == 403
            await expect(page.get_by_role("heading")).to_contain_text("administrators")
