"""What pages say of an exam: filed is one thing, its images another, and none that was not counted is called seen."""

from app.organizations.changes import set_organization
from app.states import ExamState
from app.store.audit import By


async def test_without_images_no_page_says_that_any_arrived(office):
    bridge = office.bridge
    customer = await bridge.customer(office.organization)
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg", "png"))
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    page = await office.admin.get(f"/admin/exams/{submitted.request_uuid}")
    assert "It is filed in Aurabox. Its images are not sent there." in page.text
    assert page.text.count("not sent") >= 2
    for claim in ("arrived", "accepted", "counted there", 'good">delivered'):
        assert claim not in page.text, claim
    for where, browser in (("/admin/exams", office.admin), ("/account", office.clinician)):
        shown = await browser.get(where)
        assert "It is filed in Aurabox. Its images are not sent there." in shown.text
        assert "has arrived" not in shown.text


async def test_images_that_were_counted_are_said_to_be(office):
    bridge = office.bridge
    team = bridge.sandbox.team()
    await set_organization(
        bridge.resources,
        office.organization.name,
        {"images": "dicomweb", "dicomweb_url": bridge.sandbox.dicomweb_url, "dicomweb_token": team.key},
        by=By("test"),
    )
    customer = await bridge.customer(office.organization)
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg", "png"))
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    page = await office.admin.get(f"/admin/exams/{submitted.request_uuid}")
    assert "All 2 images were counted there." in page.text
    assert page.text.count("counted there</span>") == 2
    assert "All 2 images were counted there." in (await office.clinician.get("/account")).text
