"""What we recorded of Aurabox has a life: deleted, merged, archived, another team's, or not readable yet."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from app.config.settings import Settings
from app.delivery.actions import RETRY, act_on, decide
from app.organizations.changes import set_organization
from app.states import ExamState, Reason
from app.store.audit import AuditEvent, By, find_events
from app.store.exams import Exam
from app.store.subjects import Subject
from sandbox import faults
from sandbox.aurabox.state import Person
from tests.delivery.images.scene import image_scene
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import SHORT
from tests.support.wait import until

ANN = {
    "identifier": "P-77",
    "date_of_birth": "1980-01-02",
    "gender": "F",
    "first_name": "Ann",
    "last_name": "Ashgrove",
}
QUICKLY_MISSED = {"settle_seconds": 0.5}


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with (
        Sandbox(teams=("Team One", "Team Two")) as sandbox,
        open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as opened,
    ):
        yield opened


async def delivered(bridge: Bridge, customer: str, **more: Any) -> Exam:
    given = {"patient": dict(ANN), "captures": (), **more}
    submitted = await bridge.sandbox.submit_exam(customer=customer, **given)
    return await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)


async def replaced(bridge: Bridge, what: str) -> Sequence[AuditEvent]:
    async with bridge.resources.sessions() as session:
        return await find_events(session, limit=100, action=f"{what}.replace")


def people(bridge: Bridge, team: str = "Team One") -> list[Person]:
    return list(bridge.sandbox.team(team).people.values())


@pytest.mark.row(37)
async def test_a_patient_that_was_deleted_is_made_anew_once(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    await delivered(bridge, customer)
    (old,) = people(bridge)
    bridge.sandbox.team().people.clear()
    several = [
        await bridge.sandbox.submit_exam(customer=customer, patient=dict(ANN), captures=()) for _ in range(3)
    ]
    for one in several:
        await bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60)
    (new,) = people(bridge)
    assert new.fields == old.fields
    assert len(new.studies) == 3
    (told,) = await replaced(bridge, "subject")
    assert old.id in (told.detail or "")
    assert new.id in (told.detail or "")
    await delivered(bridge, customer)
    assert len(people(bridge)) == 1
    assert len(await replaced(bridge, "subject")) == 1


@pytest.mark.row(37)
async def test_a_patient_that_was_merged_into_another_record_is_taken_over_with_its_studies(
    bridge: Bridge,
) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    first = await delivered(bridge, customer)
    (old,) = people(bridge)
    team = bridge.sandbox.team()
    survivor = Person(
        id="the-survivor",
        kind="patient",
        fields=dict(old.fields),
        created_at=old.created_at,
        updated_at=old.updated_at,
        sequence=old.sequence,
        studies=old.studies,
    )
    team.people = {survivor.id: survivor}
    again = await bridge.sandbox.submit_exam(customer=customer, again=str(first.request_uuid))
    await bridge.reaches(again.request_uuid, ExamState.DELIVERED, timeout=60)
    assert people(bridge) == [survivor]
    assert len(survivor.studies) == 1
    (told,) = await replaced(bridge, "subject")
    assert "taken over" in (told.detail or "")
    assert not await replaced(bridge, "study")


async def test_a_case_that_was_deleted_is_made_anew_under_its_label(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none", identity="deidentified"))
    await delivered(bridge, customer)
    (old,) = people(bridge)
    bridge.sandbox.team().people.clear()
    await delivered(bridge, customer)
    (new,) = people(bridge)
    assert new.fields == old.fields


async def test_another_teams_key_makes_another_record(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization("Clinic", images="none"))
    await delivered(bridge, customer)
    other = bridge.sandbox.team("Team Two")
    await set_organization(bridge.resources, "Clinic", {"aurabox_key": other.key}, by=By("test"))
    await delivered(bridge, customer)
    (person,) = people(bridge, "Team Two")
    assert len(person.studies) == 1


@pytest.mark.row(37)
@pytest.mark.parametrize("identity", ["identified", "deidentified"])
async def test_an_archived_patient_waits_for_a_person(bridge: Bridge, identity: str) -> None:
    customer = await bridge.customer(await bridge.organization(images="none", identity=identity))
    await delivered(bridge, customer)
    (person,) = people(bridge)
    person.archived = True
    second = await bridge.sandbox.submit_exam(customer=customer, patient=dict(ANN), captures=())
    exam = await bridge.reaches(second.request_uuid, ExamState.REVIEW)
    assert exam.error_code == "patient_archived"
    assert len(person.studies) == 1
    person.archived = False
    await act_on(bridge.resources, exam.request_uuid, RETRY, by=By("test"))
    await bridge.reaches(second.request_uuid, ExamState.DELIVERED)
    assert len(person.studies) == 2


@pytest.mark.parametrize("identifier", ["P-77", None])
async def test_another_record_beside_an_archived_one_is_remembered(
    bridge: Bridge, identifier: str | None
) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    ann = {**ANN, "identifier": identifier}
    await delivered(bridge, customer, patient=ann)
    (old,) = people(bridge)
    old.archived = True
    second = await bridge.sandbox.submit_exam(customer=customer, patient=ann, captures=())
    exam = await bridge.reaches(second.request_uuid, ExamState.REVIEW)
    await decide(bridge.resources, exam.request_uuid, "separate", by=By("test"))
    await bridge.reaches(second.request_uuid, ExamState.DELIVERED)
    await delivered(bridge, customer, patient=ann)
    assert [(one.archived, len(one.studies)) for one in people(bridge)] == [(True, 1), (False, 2)]


@pytest.mark.row(38)
@pytest.mark.parametrize(
    ("path", "times"),
    [("*/patients/*/studies", 1), ("*/patients/*/studies/*", 1), ("*/patients/*", 2)],
    ids=["the new patient's studies", "the new study", "the new patient"],
)
async def test_what_was_just_made_and_answers_404_is_looked_for_again(
    bridge: Bridge, path: str, times: int
) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    rule = bridge.sandbox.faults.arm(
        faults.answer(404, {"message": "Not found"}), server="aurabox", method="GET", path=path, times=times
    )
    exam = await delivered(bridge, customer)
    assert rule.hits == times
    assert exam.attempts == 0
    (person,) = people(bridge)
    assert len(person.studies) == 1
    assert not await replaced(bridge, "subject")
    async with bridge.resources.sessions() as session:
        (subject,) = await session.scalars(select(Subject))
    assert subject.seen_at is not None
    assert subject.missing_since is None


@pytest.mark.row(38)
async def test_what_is_listed_and_answers_404_is_not_made_beside_it(settings: Settings) -> None:
    more = {**SHORT, **QUICKLY_MISSED, "retry_budget_hours": 0.0005}
    async with Sandbox() as sandbox, open_bridge(settings_for(settings, sandbox, **more), sandbox) as bridge:
        customer = await bridge.customer(await bridge.organization(images="none"))
        await delivered(bridge, customer)
        sandbox.faults.arm(
            faults.answer(404, {"message": "Not found"}),
            server="aurabox",
            method="GET",
            path="*/patients/*",
            times=None,
        )
        second = await sandbox.submit_exam(customer=customer, patient=dict(ANN), captures=())
        exam = await bridge.reaches(second.request_uuid, ExamState.FAILED)
        assert exam.error_code == "aurabox_not_found"
        assert len(people(bridge)) == 1


@pytest.mark.row(37)
@pytest.mark.parametrize("transport", ["uploader", "dicomweb"])
async def test_a_study_that_was_deleted_is_made_anew_with_its_images(
    settings: Settings, transport: str
) -> None:
    async with image_scene(settings, transport, given=QUICKLY_MISSED) as scene:
        first, _ = await scene.delivered("jpeg", "png", number=3)
        (old,) = scene.studies
        for person in scene.sandbox.team().people.values():
            person.studies.clear()
        scene.sandbox.team().instances.clear()
        again = await scene.submit(again=first.request_uuid)
        exam = await scene.reaches(again, ExamState.DELIVERED, timeout=60)
        (new,) = scene.studies
        assert new.id != old.id
        assert new.fields["study_instance_uid"] == old.fields["study_instance_uid"]
        assert len(scene.received) == 2
        assert exam.sent_count == 2
        (told,) = await replaced(scene.bridge, "study")
        assert "2 images that were sent are gone" in (told.detail or "")


async def test_a_patient_deleted_while_its_images_are_sent_is_made_anew(settings: Settings) -> None:
    async with image_scene(settings, "uploader", given=QUICKLY_MISSED) as scene:
        held = scene.sandbox.faults.arm(
            faults.answer(503, {"message": "away"}), server="aurabox", path="*/upload/init", times=None
        )
        submitted = await scene.submit("jpeg")

        async def refused() -> bool:
            exam = await scene.bridge.exam(submitted.request_uuid)
            return held.hits > 0 and exam.state == ExamState.WAITING and exam.reason == Reason.RETRY

        await until(refused)
        scene.sandbox.team().people.clear()
        scene.sandbox.faults.clear()
        await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert len(scene.studies) == 1
        assert len(scene.received) == 1


async def test_a_correction_of_a_patient_that_was_deleted_is_not_lost(bridge: Bridge) -> None:
    organization = await bridge.organization(images="none", corrections="update")
    customer = await bridge.customer(organization)
    await delivered(bridge, customer, patient={**ANN, "last_name": "Ashgrov"})
    bridge.sandbox.team().people.clear()
    await delivered(bridge, customer)
    (person,) = people(bridge)
    assert person.fields["family_name"] == "Ashgrove"
