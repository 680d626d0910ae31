"""Those who decide what is held, in Debian's Chromium: each kind of form is read, filled in and sent, without a script too."""

from uuid import UUID, uuid4

import pytest
from playwright.async_api import Browser, expect

from app.clients.aurabox import PatientFields
from app.delivery.actions import decide
from app.states import ExamState, Step
from app.store.audit import By
from app.store.claims import Claim
from tests.browser.admin.test_ops import PERSON, glance, signed_in
from tests.support.bridge import Bridge
from tests.support.browser.chromium import context, sticks_out
from tests.support.exams import add_exam

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

BRUNO = PERSON | {"first_name": "Bruno", "gender": "male"}
CLEO = PERSON | {"first_name": "Cleo", "date_of_birth": "1991-07-08"}


async def submitted(bridge: Bridge, customer: str, patient: dict[str, str], state: ExamState) -> str:
    sent = await bridge.sandbox.submit_exam(customer=customer, patient=patient, captures=())
    await bridge.reaches(sent.request_uuid, state)
    return sent.request_uuid


async def test_one_of_several_people_is_named(bridge: Bridge, chromium: Browser):
    customer = await bridge.customer(await bridge.organization(images="none"))
    await submitted(bridge, customer, PERSON, ExamState.DELIVERED)
    second = await submitted(bridge, customer, BRUNO, ExamState.REVIEW)
    await decide(bridge.resources, UUID(second), "separate", by=By("test"))
    await bridge.reaches(second, ExamState.DELIVERED)
    third = await submitted(bridge, customer, CLEO, ExamState.REVIEW)
    people = [person.id for person in bridge.sandbox.team().people.values()]
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto(f"/admin/exams/{third}")
        await glance(page, "decide-people")
        assert await sticks_out(page) == []
        # the browser itself asks for the choice that is missing
        await page.get_by_role("button", name="Same patient").click()
        await expect(page).to_have_url(f"{bridge.url}/admin/exams/{third}")
        await page.get_by_label(f"Known 2: {people[1]}").check()
        await page.get_by_role("button", name="Same patient").click()
        await expect(page.get_by_role("status")).to_contain_text("goes on")
    await bridge.reaches(third, ExamState.DELIVERED)
    assert [len(person.studies) for person in bridge.sandbox.team().people.values()] == [1, 2]


async def test_one_of_several_matches_is_named(bridge: Bridge, chromium: Browser):
    organization = await bridge.organization(images="none")
    client = bridge.resources.aurabox(organization)
    fields = PatientFields(given_names="Ada", family_name="Winter", date_of_birth="1980-01-01", sex="female")
    there = [(await client.create_patient(fields)).id for _ in range(2)]
    exam = await submitted(bridge, await bridge.customer(organization), PERSON, ExamState.REVIEW)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto(f"/admin/exams/{exam}")
        await glance(page, "decide-matches")
        await page.get_by_role("link", name=there[1]).click()
        await expect(page.get_by_label("Family name")).to_have_value("Winter")
        await page.go_back()
        await page.get_by_label(there[1]).check()
        await page.get_by_role("button", name="Use this one").click()
        await expect(page.get_by_role("status")).to_contain_text("goes on")
    await bridge.reaches(exam, ExamState.DELIVERED)
    assert [len(person.studies) for person in bridge.sandbox.team().people.values()] == [0, 1]


async def test_an_incomplete_one_is_filed_as_a_case(bridge: Bridge, chromium: Browser):
    customer = await bridge.customer(await bridge.organization(images="none", incomplete="hold"))
    exam = await submitted(bridge, customer, {"identifier": "MRN-9"}, ExamState.REVIEW)
    async with await context(chromium, bridge.url, script=False) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto(f"/admin/exams/{exam}")
        await expect(page.get_by_text("filed as a case with a label").first).to_be_visible()
        await page.get_by_role("button", name="File as a case").click()
        await expect(page.get_by_role("status")).to_contain_text("as a case")
    await bridge.reaches(exam, ExamState.DELIVERED)


async def test_who_announced_a_forged_exam_is_read_before_it_is_released(bridge: Bridge, chromium: Browser):
    organization = await bridge.organization(images="none")
    customer = await bridge.customer(organization)
    exam = await add_exam(bridge.resources, state=ExamState.UNVERIFIED, step=Step.VERIFY, due_in=None)
    async with bridge.resources.sessions.begin() as session:
        session.add(
            Claim(
                exam_id=exam.id,
                customer_hash=await bridge.resources.hash_customer(customer),
                exam_uuid=exam.exam_uuid,
                download_url=f"{bridge.sandbox.clarius_url}/api/public/v0/exams/download-requests/{uuid4()}/data/",
                ended_at=exam.received_at,
            )
        )
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto(f"/admin/exams/{exam.request_uuid}")
        await glance(page, "unverified")
        assert await sticks_out(page) == []
        await page.get_by_text("Release…").click()
        await expect(page.get_by_text("It is filed for Harbour Clinic if")).to_be_visible()
        await page.get_by_role("button", name="Release").click()
        await expect(page.get_by_role("status")).to_contain_text("released")
    await bridge.reaches(str(exam.request_uuid), ExamState.REVIEW)


async def test_a_link_is_moved_with_its_exams(bridge: Bridge, chromium: Browser):
    customer = await bridge.customer(await bridge.organization(images="none", incomplete="hold"))
    await bridge.organization("Lakeside Clinic", images="none", incomplete="hold")
    exam = await submitted(bridge, customer, {"identifier": "MRN-9"}, ExamState.REVIEW)
    async with await context(chromium, bridge.url) as browser:
        page = await browser.new_page()
        await signed_in(bridge, page)
        await page.goto("/admin/links")
        await page.get_by_text("Move").first.click()
        await glance(page, "link-move")
        await expect(page.get_by_text("1 exam of this account is under way")).to_be_visible()
        await page.get_by_label("To organisation").select_option(label="Lakeside Clinic")
        await page.get_by_label("Cancel them").check()
        await page.get_by_role("button", name="Move").click()
        await expect(page.get_by_role("status")).to_contain_text("belongs to the other organisation")
    await bridge.reaches(exam, ExamState.CANCELLED)
