"""The pages on which a person decides: what is asked, of whom, what will happen, and that it then does."""

import json
from uuid import UUID

from sqlalchemy import update

from app.delivery.actions import decide
from app.states import ExamState, Step
from app.store.audit import By
from app.store.claims import Claim
from app.store.exams import Exam
from app.store.links import link_in_force
from app.store.organizations import find_organization
from tests.support.exams import add_exam
from tests.web.admin.conftest import Office

ANN = {
    "identifier": "MRN-1",
    "first_name": "Ann",
    "last_name": "Ash",
    "date_of_birth": "1980-01-02",
    "gender": "F",
}
BOB = ANN | {"first_name": "Bob", "last_name": "Birch", "gender": "M"}
CLEO = ANN | {"first_name": "Cleo", "last_name": "Cole", "gender": "O"}


async def submitted(office: Office, customer: str, patient: dict[str, str], state: ExamState) -> str:
    """An exam of this patient that has reached this state; the path of its page."""
    sent = await office.bridge.sandbox.submit_exam(customer=customer, patient=patient, captures=())
    await office.bridge.reaches(sent.request_uuid, state)
    return f"/admin/exams/{sent.request_uuid}"


async def reaches(office: Office, where: str, state: ExamState) -> Exam:
    return await office.bridge.reaches(where.rpartition("/")[2], state)


async def test_several_people_of_one_number_stand_side_by_side_and_one_is_named(office: Office) -> None:
    customer = await office.bridge.customer(office.organization)
    await submitted(office, customer, ANN, ExamState.DELIVERED)
    second = await submitted(office, customer, BOB, ExamState.REVIEW)
    await decide(office.bridge.resources, UUID(second.rpartition("/")[2]), "separate", by=By("test"))
    await reaches(office, second, ExamState.DELIVERED)
    third = await submitted(office, customer, CLEO, ExamState.REVIEW)
    page = await office.admin.get(third)
    assert all(name in page.text for name in ("Ann", "Bob", "Cleo", "Known 1", "Known 2", "Which one?"))
    people = [person.id for person in office.bridge.sandbox.team().people.values()]
    for one in people:
        assert f'value="{one}"' in page.text
        assert f"/admin/aurabox/{office.organization.id}/patients/{one}" in page.text
    followed = await office.admin.get(third, headers={"X-Sonobridge-Follow": "1"})
    assert not any(name in followed.text for name in ("Ann", "Bob", "Cleo"))
    refused = await office.admin.send(page, f"{third}/decide", choice="same", subject="nobody")
    assert refused.status == 409
    done = await office.admin.send(page, f"{third}/decide", choice="same", subject=people[1])
    assert done.status == 200, done.text
    await reaches(office, third, ExamState.DELIVERED)
    assert "user:admin@harbour.example: same patient" in (await office.admin.get(third)).text
    assert [len(one.studies) for one in office.bridge.sandbox.team().people.values()] == [1, 2]


async def test_each_way_is_said_before_it_is_taken_and_mending_where_there_is_none(office: Office) -> None:
    resources = office.bridge.resources
    said = {
        ("patient_incomplete", "{}"): "The exam is filed as a case with a label instead of a patient.",
        ("captures_missing", "{}"): "The exam is delivered without the captures that are missing.",
        ("several_matches", '{"candidates": ["pat-1", "pat-2"], "of": "patient"}'): "None of them is taken",
        (
            "several_matches",
            '{"candidates": ["st-1", "st-2"], "of": "study"}',
        ): "into the study that you name",
        ("wrong_answer", "{}"): "Trying again asks Clarius anew; a forged notification is cancelled.",
        ("burned_in_unknown", "{}"): "what Clarius burns in; trying again goes on.",
        ("study_not_searchable", "{}"): "AURABOX_STUDY_FIELDS",
        ("link_changed", "{}"): "That is Harbour Clinic.",
        ("something_new", "{}"): "Try it again, or cancel it.",
    }
    customer = await office.bridge.customer(office.organization)
    where = await submitted(office, customer, ANN, ExamState.DELIVERED)
    request = UUID(where.rpartition("/")[2])
    for (code, question), words in said.items():
        async with resources.sessions.begin() as session:
            await session.execute(
                update(Exam)
                .where(Exam.request_uuid == request)
                .values(
                    state=ExamState.REVIEW,
                    error_code=code,
                    error_message="it is so",
                    question=json.loads(question),
                )
            )
        page = await office.admin.get(where)
        assert page.status == 200, (code, page.text[-2000:])
        assert words in page.text, code
        assert "It is so." in page.text
        if code == "several_matches":
            assert "Which one?" in page.text
            linked = f"/admin/aurabox/{office.organization.id}/patients/pat-2" in page.text
            assert linked == ("pat-1" in question)


async def test_how_an_exam_is_filed_is_on_its_page(office: Office) -> None:
    customer = await office.bridge.customer(office.organization)
    page = await office.admin.get(await submitted(office, customer, ANN, ExamState.DELIVERED))
    assert f"Harbour Clinic, by the link ending in <code>{customer[-4:]}</code>" in page.text
    assert "patient, by name, by policy version 1" in page.text
    assert "the rules" in page.text


async def announced(office: Office, customer: str, *, path: str = "") -> str:
    """An exam that Clarius does not list, announced under this account; the path of its page."""
    resources = office.bridge.resources
    exam = await add_exam(resources, state=ExamState.UNVERIFIED, step=Step.VERIFY, due_in=None)
    path = path or f"/exams/{exam.request_uuid}/data/"
    async with resources.sessions.begin() as session:
        session.add(
            Claim(
                exam_id=exam.id,
                customer_hash=await resources.hash_customer(customer),
                exam_uuid=exam.exam_uuid,
                download_url=f"https://me:secret@clarius.example{path}?signature=secret",
                ended_at=exam.received_at,
            )
        )
    return f"/admin/exams/{exam.request_uuid}"


async def test_a_forged_exam_is_released_knowing_whose_from_where_and_to_whom(office: Office) -> None:
    customer = await office.bridge.customer(office.organization)
    page = await office.admin.get(where := await announced(office, customer, path="/exams/x/<b>/data/"))
    for words in (
        "Clarius does not list this exam",
        f"whose code ends in <code>{customer[-4:]}</code>",
        "Harbour Clinic",
        "clarius.example/exams/x/%3Cb%3E/data/",
        "not this request&#39;s address",
        "It is filed for Harbour Clinic if the data",
    ):
        assert words in page.text.replace("this request's", "this request&#39;s"), words
    assert "secret" not in page.text
    done = await office.admin.send(page, f"{where}/release")
    assert "It was released and goes on." in done.text
    assert (await reaches(office, where, ExamState.REVIEW)).error_code == "wrong_answer"
    trail = (await office.admin.get("/admin/events?action=exam.release")).text
    assert "was unverified at verify" in trail
    nobodys = await office.admin.get(await announced(office, "a-token-that-nobody-linked"))
    assert "a Clarius account that is linked to nobody" in nobodys.text
    assert "It waits until the account is linked" in nobodys.text
    assert "not this request" not in nobodys.text


async def test_a_link_is_moved_knowing_how_many_exams_are_under_way(office: Office) -> None:
    bridge = office.bridge
    await bridge.organization("Lakeside Clinic")
    idle, busy = await bridge.customer(office.organization), await bridge.customer(office.organization)
    await submitted(office, busy, ANN, ExamState.DELIVERED)
    where = await submitted(office, busy, BOB, ExamState.REVIEW)
    page = await office.admin.get("/admin/links")
    assert page.text.count("1 exam of this account is under way") == 1
    assert page.text.count("No exam of this account is under way.") == 1
    assert idle[-4:] in page.text
    async with bridge.resources.sessions() as session:
        link = await link_in_force(session, await bridge.resources.hash_customer(busy))
        lakeside = await find_organization(session, "Lakeside Clinic")
    assert link is not None
    assert lakeside is not None
    action = f"/admin/links/{link.id}/move"
    assert (
        await office.admin.send(page, action, organization=str(lakeside.id), under_way="burn")
    ).status == 409
    done = await office.admin.send(page, action, organization=str(lakeside.id), under_way="cancel")
    assert "belongs to the other organisation now" in done.text
    await reaches(office, where, ExamState.CANCELLED)
    assert "1 exams under way: cancel" in (await office.admin.get("/admin/events?action=link.move")).text
