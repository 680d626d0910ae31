"""The admin pages: every one opens for an admin and for nobody else, and each act does what its button says."""

import base64
import re
import uuid

import pytest
from sqlalchemy import update

from app.main import create_app
from app.states import ExamState
from app.store.exams import Exam
from sandbox import faults
from sandbox.clarius.state import EXAM_APPLICATIONS

APPLICATION = next(iter(EXAM_APPLICATIONS))


def admin_routes() -> list[tuple[str, str]]:
    """(method, path) of every admin page."""
    found = []

    def walk(routes):
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                walk(inner.routes)
            elif getattr(route, "path", "").startswith("/admin"):
                found.extend((method, route.path) for method in route.methods if method != "HEAD")

    walk(create_app().routes)
    return sorted(found)


def concrete(path: str, **known: str) -> str:
    """The path with an id in every place."""
    return re.sub(r"\{(\w+)\}", lambda match: known.get(match.group(1), str(uuid.uuid4())), path)


async def test_every_admin_page_refuses_clinicians_and_nobody(office):
    routes = admin_routes()
    assert len(routes) > 40
    for method, path in routes:
        where = concrete(path)
        refused = await office.clinician.client.request(method, where)
        assert refused.status_code == 403, (method, path, refused.status_code)
        unknown = await office.nobody.client.request(method, where)
        assert unknown.status_code == 401, (method, path, unknown.status_code)
    assert office.bridge.sandbox.journal.effects == []


async def test_every_act_needs_the_form_token_and_our_origin(office):
    for method, path in admin_routes():
        if method != "POST":
            continue
        where = concrete(path)
        form = {"csrf_token": "wrong", "name": "x", "choice": "same"}
        answer = await office.admin.client.post(where, data=form)
        assert answer.status_code == 403, (path, answer.status_code)
        foreign = await office.admin.client.post(where, data=form, headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403, (path, foreign.status_code)


async def test_every_page_opens_for_an_admin(office):
    bridge, organization = office.bridge, office.organization
    customer = await bridge.customer(organization)
    exam = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(exam.request_uuid, ExamState.DELIVERED)
    patient = next(iter(bridge.sandbox.team().people.values()))
    study = next(iter(patient.studies))
    known = {
        "request_uuid": exam.request_uuid,
        "n": "0",
        "organization": str(organization.id),
        "application": APPLICATION,
        "kind": "patients",
        "person_id": patient.id,
        "study_id": study,
    }
    for method, path in admin_routes():
        if method != "GET" or path == "/admin/live":
            continue
        page = await office.admin.get(concrete(path, **known))
        assert page.status == 200, (path, page.status, page.text[-3000:])
        if "html" in page.response.headers["content-type"]:
            assert "<h1>" in page.text, path


async def test_the_exam_page_names_the_patient_and_says_so_in_the_audit_trail(office):
    bridge = office.bridge
    customer = await bridge.customer(office.organization)
    exam = await bridge.sandbox.submit_exam(
        customer=customer,
        patient={
            "identifier": "MRN-77",
            "first_name": "Quillon",
            "last_name": "Marbeck",
            "date_of_birth": "1970-02-01",
            "gender": "male",
        },
    )
    await bridge.reaches(exam.request_uuid, ExamState.DELIVERED)
    page = await office.admin.get(f"/admin/exams/{exam.request_uuid}")
    assert "Quillon" in page.text
    followed = await office.admin.get(
        f"/admin/exams/{exam.request_uuid}", headers={"X-Sonobridge-Follow": "1"}
    )
    assert "Quillon" not in followed.text
    events = (await office.admin.get("/admin/events?action=patient.view")).text
    assert events.count(exam.request_uuid) == 1
    assert "user:admin@harbour.example" in events
    assert "Quillon" not in events
    assert "Quillon" not in (await office.admin.get("/admin/exams")).text


async def test_the_exam_page_alone_shows_what_aurabox_said_and_the_audit_trail_says_who_saw_it(office):
    bridge = office.bridge
    customer = await bridge.customer(office.organization)
    bridge.sandbox.faults.arm(
        faults.answer(422, {"message": "Nora <Marbeck> is known.", "errors": {"sex": ["Nora has none."]}}),
        server="aurabox",
        method="POST",
        path="*/patients",
    )
    exam = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(exam.request_uuid, ExamState.FAILED)
    path = f"/admin/exams/{exam.request_uuid}"
    followed = await office.admin.get(path, headers={"X-Sonobridge-Follow": "1"})
    assert "answered 422 (sex is not accepted)" in followed.text
    assert "Nora" not in followed.text
    assert "patient.view" not in (await office.admin.get("/admin/events")).text
    page = await office.admin.get(path)
    assert "Nora &lt;Marbeck&gt; is known.; sex: Nora has none." in page.text
    assert (await office.admin.get("/admin/events?action=patient.view")).text.count(exam.request_uuid) == 1
    assert "Nora" not in (await office.admin.get("/admin/exams")).text
    assert "Nora" not in (await office.clinician.get(path)).text
    await office.admin.send(page, f"{path}/retry")
    await bridge.reaches(exam.request_uuid, ExamState.DELIVERED)
    assert "Nora" not in (await office.admin.get(path)).text


async def test_an_identity_conflict_is_shown_side_by_side_and_settled_each_way(office):
    bridge = office.bridge
    customer = await bridge.customer(office.organization)
    person = {
        "identifier": "MRN-1",
        "first_name": "Ada",
        "last_name": "Winter",
        "date_of_birth": "1980-01-01",
        "gender": "female",
    }
    first = await bridge.sandbox.submit_exam(customer=customer, patient=person)
    await bridge.reaches(first.request_uuid, ExamState.DELIVERED)
    for choice, patients in (("same", 1), ("separate", 2)):
        other = await bridge.sandbox.submit_exam(
            customer=customer, patient=person | {"first_name": "Bruno", "gender": "male"}
        )
        await bridge.reaches(other.request_uuid, ExamState.REVIEW)
        where = f"/admin/exams/{other.request_uuid}"
        page = await office.admin.get(where)
        assert "Ada" in page.text
        assert "Bruno" in page.text
        settled = await office.admin.send(page, f"{where}/decide", choice=choice)
        assert settled.status == 200, settled.text
        await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
        made = bridge.sandbox.journal.effects_of("aurabox.patient.create")
        assert len(made) == patients, choice


async def test_bulk_retry_counts_before_it_acts(office):
    bridge = office.bridge
    customer = await bridge.customer(office.organization)
    exams = [await bridge.sandbox.submit_exam(customer=customer, shape="list") for _ in range(2)]
    for exam in exams:
        await bridge.reaches(exam.request_uuid, ExamState.FAILED)
    page = await office.admin.get("/admin/exams/retry?state=failed")
    assert "Retry 2 exams?" in page.text
    done = await office.admin.send(page, "/admin/exams/retry")
    assert "2 exams are tried again." in done.text


async def test_an_organization_is_added_by_the_form_and_a_mistake_keeps_what_was_typed(office):
    page = await office.admin.get("/admin/organizations/new")
    form = {
        "name": "Lakeside",
        "aurabox_key": "lake-key",
        "timezone": "Mars/Olympus",
        "identity": "identified",
    }
    wrong = await office.admin.send(page, "/admin/organizations/new", **form)
    assert wrong.status == 422
    assert "time zone" in wrong.text
    assert 'value="Lakeside"' in wrong.text
    assert "lake-key" not in wrong.text
    added = await office.admin.send(
        wrong, "/admin/organizations/new", **(form | {"timezone": "UTC", "images": "none"})
    )
    assert added.status == 200, added.text
    assert "The organisation was added" in added.text
    tested = await office.admin.send(added, f"{added.path}/test")
    assert "does not work" in tested.text


async def test_clarius_is_registered_and_its_key_rotated(office):
    page = await office.admin.get("/admin/clarius")
    assert "Clarius has something else" in page.text
    page = await office.admin.send(page, "/admin/clarius/register")
    assert "Clarius has what this bridge serves" in page.text
    before = set(office.bridge.sandbox.clarius.keys)
    page = await office.admin.send(page, "/admin/clarius/keys/rotate")
    assert "the old one is revoked" in page.text
    assert set(office.bridge.sandbox.clarius.keys).isdisjoint(before)


async def test_a_report_is_uploaded_from_the_page(office):
    customer = await office.bridge.customer(office.organization)
    exam = await office.bridge.sandbox.submit_exam(customer=customer, captures=[])
    await office.bridge.reaches(exam.request_uuid, ExamState.DELIVERED)
    where = f"/admin/exams/{exam.request_uuid}"
    page = await office.admin.get(where)
    answer = await office.admin.client.post(
        f"{where}/reports",
        data={"csrf_token": page.form(f"{where}/reports").fields["csrf_token"], "name": "Findings"},
        files={"file": ("findings.pdf", b"%PDF-1.7 invented", "application/pdf")},
        headers={"Origin": office.bridge.url},
    )
    assert answer.status_code == 200, answer.text
    assert [report.name for report in office.bridge.sandbox.clarius.reports] == ["Findings"]


@pytest.mark.parametrize(
    "cursor", ["nonsense", base64.urlsafe_b64encode(b"[" * 3000).decode(), "A" * 20_000], ids=len
)
async def test_a_cursor_that_is_none_of_ours_is_refused_in_words(office, cursor: str):
    page = await office.admin.client.get("/admin/exams", params={"cursor": cursor})
    assert page.status_code == 422
    assert "Cursor: not one of ours" in page.text


async def test_what_a_newer_version_wrote_hides_no_list_and_no_page(office):
    customer = await office.bridge.customer(office.organization)
    sent = await office.bridge.sandbox.submit_exam(customer=customer, captures=())
    await office.bridge.reaches(sent.request_uuid, ExamState.DELIVERED)
    async with office.bridge.resources.sessions.begin() as session:
        await session.execute(
            update(Exam)
            .where(Exam.request_uuid == sent.request_uuid)
            .values(state="parked", step="polish", reason="moon")
        )
    for path in ("/admin", "/admin/exams", f"/admin/exams/{sent.request_uuid}", "/account"):
        page = await office.admin.get(path)
        assert page.status == 200, path
        assert "/admin/exams" not in path or "parked" in page.text
