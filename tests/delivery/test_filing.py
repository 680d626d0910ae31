"""A filing is written once and compared ever after: links that move, policies and exam data that change mid-way."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from app.config.settings import Settings
from app.delivery.actions import RELEASE, RETRY, act_on, decide
from app.errors import Misuse
from app.linking.links import exams_under_way, move_link, unlink
from app.organizations.changes import set_organization
from app.states import ExamState, Reason, Step
from app.store.audit import By
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import Policy
from sandbox import faults
from sandbox.aurabox.state import Person
from sandbox.submitting import Submitted
from tests.delivery.images.scene import Scene, image_scene
from tests.support.clinic import Clinic, open_clinic
from tests.support.wait import until


def home_of(scene: Scene, study_uid: str) -> Person:
    """The person in Aurabox below whom the study lies."""
    for person in scene.sandbox.team().people.values():
        for study in person.studies.values():
            if study_uid in study.fields.values():
                return person
    raise AssertionError("no such study")


async def waits_at(scene: Scene, submitted: Submitted, step: Step) -> None:
    async def there() -> bool:
        exam = await scene.bridge.exam(submitted.request_uuid)
        return exam.step == step and exam.state == ExamState.WAITING

    await until(there, timeout=60)


async def switches(scene: Scene, submitted: Submitted, **options: object) -> None:
    """`org set`; what had begun below the policy before it has ended, while the faults still stand."""
    await scene.change(**options)

    async def ended() -> bool:
        exam = await scene.bridge.exam(submitted.request_uuid)
        return exam.lease_until is None and exam.state != ExamState.RUNNING

    await until(ended, timeout=60)


async def test_every_policy_is_kept(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        resources, name = clinic.bridge.resources, clinic.organization.name
        await set_organization(resources, name, {"identity": "deidentified"}, by=By("ann"))
        await set_organization(resources, name, {"identity": "deidentified", "concurrency": 3}, by=By("bob"))
        async with resources.sessions() as session:
            kept = list(await session.scalars(select(Policy).order_by(Policy.version)))
    assert [(one.version, one.identity, one.created_by) for one in kept] == [
        (1, "identified", "test"),
        (2, "deidentified", "ann"),
    ]


async def test_a_patient_known_by_name_is_not_given_pseudonymous_objects(settings: Settings) -> None:
    async with image_scene(settings, "uploader") as scene:
        await scene.delivered("jpeg", number=7)
        named = {one.sop_instance_uid for one in scene.received}
        await scene.change(identity="deidentified", burned_in="no")
        await scene.delivered("jpeg", number=7)
        (new,) = [one for one in scene.received if one.sop_instance_uid not in named]
        assert home_of(scene, new.study_instance_uid).kind == "case"


async def test_a_pseudonymous_case_is_not_given_objects_that_name(settings: Settings) -> None:
    async with image_scene(settings, "uploader", identity="deidentified", burned_in="no") as scene:
        await scene.delivered("jpeg", number=7)
        before = {one.sop_instance_uid for one in scene.received}
        await scene.change(identity="identified")
        await scene.delivered("jpeg", number=7)
        (new,) = [one for one in scene.received if one.sop_instance_uid not in before]
        assert home_of(scene, new.study_instance_uid).kind == "patient"


@pytest.mark.row(33)
@pytest.mark.parametrize("transport", ["uploader", "dicomweb"])
async def test_what_was_made_before_a_switch_leaves_without_a_name(
    settings: Settings, transport: str
) -> None:
    """De-identified from this moment on, while converted images wait to be sent: they are made again."""
    async with image_scene(settings, transport) as scene:
        path = "*/upload/init" if transport == "uploader" else "/dicomweb/*"
        scene.sandbox.faults.arm(faults.answer(503), server="aurabox", path=path, times=None)
        submitted = await scene.submit("jpeg", number=7)
        await waits_at(scene, submitted, Step.SEND)
        await switches(scene, submitted, identity="deidentified", burned_in="no")
        scene.sandbox.faults.clear()
        await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert len(scene.received) == 1
        (image,) = scene.received
        assert re.fullmatch("SB-[0-9A-F]{20}", image.patient_name)
        assert home_of(scene, image.study_instance_uid).kind == "case"


@pytest.mark.row(33)
async def test_a_stricter_policy_after_images_left_is_a_persons_to_decide(settings: Settings) -> None:
    async with image_scene(settings, "dicomweb") as scene:
        rule = scene.sandbox.faults.arm(
            faults.answer(503), server="aurabox", method="GET", path="/dicomweb/*", times=None
        )
        submitted = await scene.submit("jpeg", number=7)
        await until(lambda: rule.hits >= 1, timeout=60)
        await waits_at(scene, submitted, Step.CONFIRM)
        await switches(scene, submitted, identity="deidentified", burned_in="no")
        scene.sandbox.faults.clear()
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        assert exam.error_code == "policy_changed"
        await decide(scene.bridge.resources, exam.request_uuid, "refile", by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        kinds = sorted(home_of(scene, one.study_instance_uid).kind for one in scene.received)
        assert kinds == ["case", "patient"], (
            "what left before stays, the rest is filed by the policy in force"
        )


@pytest.mark.row(35)
async def test_exam_data_that_names_somebody_else_when_read_again(settings: Settings) -> None:
    async with image_scene(settings, "uploader") as scene:
        scene.sandbox.faults.arm(faults.answer(503), server="aurabox", path="*/upload/init", times=None)
        submitted = await scene.submit("jpeg", number=7)
        await waits_at(scene, submitted, Step.SEND)
        at_clarius = scene.sandbox.clarius.exams[submitted.request_uuid]
        other = {
            "identifier": "X-9",
            "first_name": "Otto",
            "last_name": "Other",
            "date_of_birth": "1950-05-05",
            "gender": "M",
        }
        at_clarius.shape = replace(at_clarius.shape, patient=lambda _: other)
        exam = await scene.bridge.exam(submitted.request_uuid)
        await scene.bridge.resources.staging.discard(exam.id)
        scene.sandbox.clarius.expire_links()
        scene.sandbox.faults.clear()
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        assert exam.error_code == "patient_changed"
        assert not scene.received
        await decide(scene.bridge.resources, exam.request_uuid, "refile", by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        (image,) = scene.received
        assert "Other" in image.patient_name
        assert home_of(scene, image.study_instance_uid).fields["family_name"] == "Other"


@pytest.mark.row(35)
async def test_exam_data_of_another_request_is_not_filed(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        body = {
            "request_uuid": "00000000-0000-4000-8000-000000000001",
            "patient": {
                "first_name": "Some",
                "last_name": "Body",
                "date_of_birth": "1970-01-02",
                "gender": "F",
            },
            "captures": [],
        }
        submitted = await clinic.bridge.sandbox.submit_exam(customer=clinic.customer, data=body)
        exam = await clinic.bridge.reaches(submitted.request_uuid, ExamState.REVIEW)
        assert exam.error_code == "wrong_answer"
        assert exam.exam_data_sealed is None
        with pytest.raises(Misuse, match="asks Clarius anew"):
            await act_on(clinic.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        assert not clinic.people


async def paused_at_match(clinic: Clinic) -> tuple[Submitted, str, Link]:
    """An exam that waits at match because its organisation's key is refused, the key that would serve, its link."""
    bridge = clinic.bridge
    await bridge.organization("Other Clinic", team=bridge.sandbox.team("Team Two"), images="none")
    team = bridge.sandbox.team("Team One")
    team.key = "aura_a-new-key-of-this-team"
    submitted = await clinic.submit({"identifier": "P-9"})
    exam = await bridge.reaches(submitted.request_uuid, ExamState.WAITING)
    assert exam.reason == Reason.PAUSED
    async with bridge.resources.sessions() as session:
        link = (await session.scalars(select(Link).where(Link.state == "confirmed"))).one()
    return submitted, team.key, link


async def held(clinic: Clinic, submitted: Submitted) -> Exam:
    exam = await clinic.bridge.reaches(submitted.request_uuid, ExamState.REVIEW, timeout=60)
    assert exam.error_code == "link_changed"
    return exam


def people_of(clinic: Clinic) -> dict[str, int]:
    return {name: len(team.people) for name, team in clinic.bridge.sandbox.aurabox.teams.items()}


@pytest.mark.row(34)
@pytest.mark.parametrize("then", ["hold", "refile", "cancel"])
async def test_a_link_that_moved_takes_nothing_to_the_clinic_it_was_taken_from(
    settings: Settings, then: str
) -> None:
    async with open_clinic(settings) as clinic:
        submitted, key, link = await paused_at_match(clinic)
        resources, name = clinic.bridge.resources, clinic.organization.name
        assert await exams_under_way(resources, link.id) == 1
        await move_link(resources, link.id, organization="Other Clinic", under_way=then, by=By("admin"))
        await set_organization(resources, name, {"aurabox_key": key}, by=By("test"))
        if then == "hold":
            exam = await held(clinic, submitted)
            await decide(resources, exam.request_uuid, "refile", by=By("test"))
        if then == "cancel":
            exam = await clinic.bridge.reaches(submitted.request_uuid, ExamState.CANCELLED)
            assert people_of(clinic) == {"Team One": 0, "Team Two": 0}
            return
        await clinic.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
        assert people_of(clinic) == {"Team One": 0, "Team Two": 1}


@pytest.mark.row(34)
async def test_an_exam_whose_link_ended_is_held_until_it_is_linked_again(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        submitted, key, link = await paused_at_match(clinic)
        resources, name = clinic.bridge.resources, clinic.organization.name
        await unlink(resources, link.id, by=By("clinician"))
        await set_organization(resources, name, {"aurabox_key": key}, by=By("test"))
        exam = await held(clinic, submitted)
        assert exam.reason == Reason.LINK
        with pytest.raises(Misuse, match="linked to no organisation"):
            await decide(resources, exam.request_uuid, "refile", by=By("test"))
        await act_on(resources, exam.request_uuid, RETRY, by=By("test"))
        await held(clinic, submitted)
        assert people_of(clinic) == {"Team One": 0, "Team Two": 0}
        await clinic.bridge.link(clinic.customer, clinic.organization)
        await clinic.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
        assert people_of(clinic) == {"Team One": 1, "Team Two": 0}


async def test_a_decision_without_exam_data_is_refused_with_a_sentence(settings: Settings) -> None:
    async with open_clinic(settings, incomplete="hold") as clinic:
        exam = await clinic.rests(submitted := await clinic.submit({"identifier": "P-5"}))
        resources = clinic.bridge.resources
        async with resources.sessions.begin() as session:
            await session.execute(update(Exam).where(Exam.id == exam.id).values(exam_data_sealed=None))
        with pytest.raises(Misuse, match="reads them anew"):
            await decide(resources, exam.request_uuid, "as-case", by=By("test"))
        await act_on(resources, exam.request_uuid, RETRY, by=By("test"))
        exam = await clinic.bridge.reaches(submitted.request_uuid, ExamState.REVIEW)
        await decide(resources, exam.request_uuid, "as-case", by=By("test"))
        await clinic.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)


@pytest.mark.row(48)
@pytest.mark.parametrize("address", ["another request's", "its own"])
async def test_a_released_forgery_fetches_nothing_that_is_not_its_own(
    settings: Settings, address: str
) -> None:
    async with open_clinic(settings) as clinic:
        bridge = clinic.bridge
        theirs = await bridge.organization(
            "Other Clinic", team=bridge.sandbox.team("Team Two"), images="none"
        )
        victim = await bridge.sandbox.submit_exam(customer=await bridge.customer(theirs), captures=())
        await bridge.reaches(victim.request_uuid, ExamState.DELIVERED)
        forged = "00000000-0000-4000-8000-00000000f0e9"
        request = victim.request_uuid if address == "another request's" else forged
        before = len(bridge.sandbox.journal.requests_to("clarius", "GET", "*/download-requests/*"))
        await bridge.sandbox.notify_raw(
            {
                "request_uuid": forged,
                "exam_uuid": forged,
                "customer_id": clinic.customer,
                "download_url": f"{bridge.sandbox.clarius_url}/api/public/v0/exams/download-requests/{request}/data/",
                "submitted_at": "2026-01-01T00:00:00Z",
            }
        )
        exam = await bridge.reaches(forged, ExamState.UNVERIFIED, timeout=60)
        await act_on(bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        await bridge.reaches(forged, ExamState.REVIEW, ExamState.GONE, ExamState.FAILED, timeout=60)
        asked = len(bridge.sandbox.journal.requests_to("clarius", "GET", "*/download-requests/*")) - before
        assert asked == (0 if address == "another request's" else asked)
        assert not clinic.people
