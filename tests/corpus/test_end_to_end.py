"""The same through the whole bridge: what Aurabox holds of two people afterwards (sources: README.md)."""

import json
from typing import Any

import pytest

from app.config.settings import Settings
from app.states import ExamState
from tests.delivery.images.scene import TRANSPORTS, image_scene
from tests.support.clinic import Clinic, open_clinic

LONG = "https://fhir.clinic.example/identifiers/medical-record-number/patients|"
MARIA = {"first_name": "Maria", "last_name": "Garcia", "date_of_birth": "1980-01-01", "gender": "F"}
TWIN = {"last_name": "शर्मा", "date_of_birth": "2015-05-05", "gender": "F"}
JOHN = {"first_name": "John", "last_name": "Smith", "gender": "M"}


def studies_of_each(clinic: Clinic) -> list[int]:
    """How many studies each patient and case of the team holds."""
    return sorted(len(person.studies) for person in clinic.people)


STRANGERS = {
    "04: N/A": ({"identifier": "N/A"}, {"identifier": "N/A"}),
    "04: zeros": ({"identifier": "0000"}, {"identifier": "0000"}),
    "04: NaN": ({"identifier": json.loads("NaN")}, {"identifier": json.loads("NaN")}),
    "04: two pets": (
        {"identifier": "N/A", "animal_name": "Bella", "animal_type": "Canine", "owner_name": "Ivo Dunmore"},
        {"identifier": "N/A", "animal_name": "Bella", "animal_type": "Feline", "owner_name": "Petra Quill"},
    ),
    "04: one birth date": (
        {**MARIA, "identifier": "N/A"},
        {"identifier": "N/A", "date_of_birth": "1980-01-01"},
    ),
    "05: vowel signs": ({**TWIN, "first_name": "रीमा"}, {**TWIN, "first_name": "रोमा"}),
    "05: voicing marks": ({**TWIN, "first_name": "たいき"}, {**TWIN, "first_name": "だいき"}),
    "07: year one": ({**JOHN, "date_of_birth": "0001-01-01T00:00:00"},) * 2,
    "07: 1900": ({**JOHN, "date_of_birth": "1900-01-01"},) * 2,
    "two newborns": ({**MARIA, "first_name": "Babygirl", "date_of_birth": "2025-05-05"},) * 2,
    "a human and an animal of one number": (
        {"identifier": "7", "date_of_birth": "2019-05-01"},
        {"identifier": "7", "date_of_birth": "2019-05-01", "animal_type": "Canine"},
    ),
}


@pytest.mark.parametrize("people", STRANGERS.values(), ids=STRANGERS.keys())
async def test_two_people_never_share_a_record(settings: Settings, people: Any) -> None:
    async with open_clinic(settings) as clinic:
        first, second = [await clinic.filed(patient) for patient in people]
        assert first.state == ExamState.DELIVERED
        if second.state == ExamState.DELIVERED:
            assert studies_of_each(clinic) == [1, 1]
        else:
            assert (second.error_code, studies_of_each(clinic)) == ("identity_conflict", [1])


@pytest.mark.parametrize(
    ("one", "other", "family"),
    [
        ("Jo", "Al", "Papadopoulos"),
        ("Olivia", "Oliver", "Brown"),
        ("Anna", "Hanna", "Schmidt"),
        ("रीमा", "रोमा", "शर्मा"),
    ],
)
async def test_twins_under_one_number_go_to_review(
    settings: Settings, one: str, other: str, family: str
) -> None:
    family_of = {"identifier": "FAM-77", "date_of_birth": "2019-07-07", "last_name": family}
    async with open_clinic(settings) as clinic:
        first = await clinic.filed({**family_of, "first_name": one})
        second = await clinic.filed({**family_of, "first_name": other})
        assert (first.state, second.state) == (ExamState.DELIVERED, ExamState.REVIEW)
        assert second.error_code == "identity_conflict"
        assert studies_of_each(clinic) == [1]


@pytest.mark.parametrize(
    ("one", "other"), [(f"{LONG}000123", f"{LONG}000999"), ("A\\1", "A 1")], ids=["long", "backslash"]
)
async def test_two_people_are_two_patient_ids(settings: Settings, one: str, other: str) -> None:
    async with image_scene(settings, TRANSPORTS[1]) as scene:
        petra = {"first_name": "Petra", "last_name": "Quill", "date_of_birth": "1991-02-02", "gender": "F"}
        for person in ({**MARIA, "identifier": one}, {**petra, "identifier": other}):
            await scene.reaches(await scene.submit("jpeg", patient=person), ExamState.DELIVERED, timeout=60)
        assert len({received.patient_id for received in scene.received}) == 2
