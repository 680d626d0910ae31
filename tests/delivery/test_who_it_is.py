"""Who an exam is filed as: contradictions, a person's decisions, corrections, through the whole bridge."""

from datetime import date
from typing import Any

import pytest

from app.clients.aurabox import PatientFields
from app.config.settings import Settings
from app.delivery.actions import RELEASE, act_on, decide
from app.errors import Misuse
from app.states import ExamState
from app.store.audit import By
from sandbox import faults
from tests.support.clinic import ANN, open_clinic
from tests.support.wait import until

BOB = {
    "identifier": "P-1",
    "date_of_birth": "1991-03-04",
    "gender": "M",
    "first_name": "Bob",
    "last_name": "Birch",
}
TWIN = {**BOB, "date_of_birth": ANN["date_of_birth"]}


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        (
            {"identifier": "P-1", "date_of_birth": "1980-01-02"},
            {"identifier": "P-1", "date_of_birth": "1991-03-04"},
            {},
        ),
        (ANN, TWIN, {"identity": "deidentified"}),
        (ANN, TWIN, {}),
    ],
    ids=["incomplete people", "de-identified", "of one birth date"],
)
async def test_who_is_kept_separate_lies_apart(
    settings: Settings, first: dict[str, Any], second: dict[str, Any], options: dict[str, Any]
) -> None:
    async with open_clinic(settings, **options) as clinic:
        assert (await clinic.filed(first)).state == ExamState.DELIVERED
        exam = await clinic.rests(submitted := await clinic.submit(second))
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "identity_conflict")
        await decide(clinic.bridge.resources, exam.request_uuid, "separate", by=By("test"))
        exam = await clinic.rests(submitted, besides=1)
        assert exam.state == ExamState.DELIVERED
        assert sorted(len(person.studies) for person in clinic.people) == [1, 1]


async def test_what_was_decided_is_remembered(settings: Settings) -> None:
    """Further exams of either person need nobody: they agree with a record, whatever the other of that number says."""
    async with open_clinic(settings) as clinic:
        await clinic.filed(ANN)
        for other in (BOB, TWIN):
            exam = await clinic.rests(submitted := await clinic.submit(other))
            assert exam.error_code == "identity_conflict"
            await decide(clinic.bridge.resources, exam.request_uuid, "separate", by=By("test"))
            assert (await clinic.rests(submitted, besides=1)).state == ExamState.DELIVERED
        for known in (ANN, BOB, TWIN):
            assert (await clinic.filed(known)).state == ExamState.DELIVERED
        assert [len(person.studies) for person in clinic.people] == [2, 2, 2]


async def test_two_identifiers_of_one_name_do_not_share_a_record_in_silence(settings: Settings) -> None:
    who = {"first_name": "John", "last_name": "Smith", "date_of_birth": "1980-01-01", "gender": "M"}
    async with open_clinic(settings) as clinic:
        await clinic.filed({**who, "identifier": "MRN-100"})
        exam = await clinic.rests(submitted := await clinic.submit({**who, "identifier": "MRN-200"}))
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "identity_conflict")
        await decide(clinic.bridge.resources, exam.request_uuid, "separate", by=By("test"))
        assert (await clinic.rests(submitted, besides=1)).state == ExamState.DELIVERED
        assert len(clinic.people) == 2


async def test_sisters_whose_names_differ_in_a_vowel_sign(settings: Settings) -> None:
    who = {"last_name": "शर्मा", "date_of_birth": "2020-05-05", "gender": "F"}
    async with open_clinic(settings) as clinic:
        for given in ("रीमा", "रोमा"):
            assert (await clinic.filed({**who, "first_name": given})).state == ExamState.DELIVERED
        assert len(clinic.people) == 2


async def test_contradicting_people_of_one_identifier_at_one_moment(settings: Settings) -> None:
    """The second comes while the first is being made: it waits, and then it is a contradiction; nobody is made for it."""
    # the first's request outlasts the hold, however long this takes
    async with open_clinic(settings, timing={"request_seconds": 90.0}) as clinic:
        held = clinic.bridge.sandbox.faults.arm(
            faults.hold(), server="aurabox", method="POST", path="*/patients", times=1
        )
        first = await clinic.submit(ANN)
        await until(lambda: held.waiting == 1, timeout=30)
        second = await clinic.submit(TWIN)

        async def second_waits() -> bool:
            exam = await clinic.bridge.exam(second.request_uuid)
            return exam.reason == "settling"

        await until(second_waits, timeout=30)
        held.release()
        assert (await clinic.rests(first)).state == ExamState.DELIVERED
        exam = await clinic.rests(second)
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "identity_conflict")
        assert len(clinic.people) == 1


async def test_an_incomplete_patient_that_is_held_becomes_a_case_by_a_word(settings: Settings) -> None:
    async with open_clinic(settings, incomplete="hold") as clinic:
        for act in ("release", "decide"):
            exam = await clinic.rests(submitted := await clinic.submit({"identifier": f"P-{act}"}))
            assert (exam.state, exam.error_code) == (ExamState.REVIEW, "patient_incomplete")
            if act == "release":
                await act_on(clinic.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
            else:
                await decide(clinic.bridge.resources, exam.request_uuid, "as-case", by=By("test"))
            assert (await clinic.rests(submitted, besides=1)).state == ExamState.DELIVERED
        assert {person.kind for person in clinic.people} == {"case"}


async def test_a_corrected_patient_gets_a_study_of_its_own_by_a_word(settings: Settings) -> None:
    """The exam was under the wrong person; the clinician submits it again with the right one."""
    right = {
        **ANN,
        "identifier": "P-2",
        "first_name": "Berta",
        "last_name": "Birch",
        "date_of_birth": "1975-06-07",
    }
    async with open_clinic(settings) as clinic:
        first = await clinic.filed(ANN)
        exam = await clinic.rests(submitted := await clinic.submit(right, exam_uuid=str(first.exam_uuid)))
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "study_of_other_subject")
        await act_on(clinic.bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
        assert (await clinic.rests(submitted, besides=1)).state == ExamState.DELIVERED
        uids = [
            study.fields["study_instance_uid"]
            for person in clinic.people
            for study in person.studies.values()
        ]
        assert len(clinic.people) == len(set(uids)) == 2, "one UID must not lie under two people"


@pytest.mark.parametrize("how", ["policy", "update-patient", "same", "separate"])
async def test_a_corrected_name_is_updated_or_asked_about(settings: Settings, how: str) -> None:
    misspelt = {**ANN, "last_name": "Ashgrov"}
    options = {"corrections": "update"} if how == "policy" else {}
    async with open_clinic(settings, **options) as clinic:
        first = await clinic.filed(misspelt)
        again = await clinic.submit({**ANN, "last_name": "Ashgrove"})
        exam = await clinic.rests(again)
        if how != "policy":
            assert (exam.state, exam.error_code) == (ExamState.REVIEW, "patient_changed")
            await decide(clinic.bridge.resources, exam.request_uuid, how, by=By("test"))
            exam = await clinic.rests(again, besides=1)
        assert (first.state, exam.state) == (ExamState.DELIVERED, ExamState.DELIVERED)
        names = sorted(str(person.fields["family_name"]) for person in clinic.people)
        assert (
            names
            == {
                "policy": ["Ashgrove"],
                "update-patient": ["Ashgrove"],
                "same": ["Ashgrov"],
                "separate": ["Ashgrov", "Ashgrove"],
            }[how]
        )


async def test_several_matches_are_settled_by_naming_one_or_by_none(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        client = clinic.bridge.resources.aurabox(clinic.organization)
        fields = PatientFields(
            given_names="Ann", family_name="Ash", date_of_birth=date(1980, 1, 2), sex="female"
        )
        there = [(await client.create_patient(fields)).id for _ in range(2)]
        exam = await clinic.rests(submitted := await clinic.submit(ANN))
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "several_matches")
        resources = clinic.bridge.resources
        with pytest.raises(Misuse, match=there[0]):
            await decide(resources, exam.request_uuid, "same", by=By("test"))
        await decide(resources, exam.request_uuid, "same", by=By("test"), subject=there[1])
        assert (await clinic.rests(submitted, besides=1)).state == ExamState.DELIVERED
        assert [len(person.studies) for person in clinic.people] == [0, 1]
