"""What the DICOM objects of two people call them: never the same (sources: README.md)."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.delivery.dicom_subject import dicom_subject, patient_id
from app.delivery.labels import keyed_digest
from app.delivery.mapping import Identity
from app.imaging.dicom_text import LONG_STRING_CHARACTERS, long_string
from app.store.organizations import Organization

DIGEST = keyed_digest(b"an organisation's key")
LONG = "https://fhir.clinic.example/identifiers/medical-record-number/patients|"


def written(identifier, **more):
    return patient_id(identifier, **{"remote_id": "remote-1", "digest": DIGEST, **more})


PAIRS = [
    (f"{LONG}000123", f"{LONG}000999"),
    ("x" * 64, "x" * 65),
    ("x" * 65, "x" * 66),
    ("A\\1", "A 1"),
    ("A\\1", "A\\\\1"),
    ("\\A1", "A1"),
    ("A1\\", "A1"),
    ("A\u00ad1", "A 1"),
    ("علی\u200cرضا", "علی رضا"),
    ("p-1", "P-1"),
    ("7", "07"),
    ("é" * 64, "é" * 63 + "e"),
    ("4711", "4711 #0123456789ab"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_identifiers_are_two_patient_ids(one, other):
    assert written(one) != written(other)
    for identifier in (one, other):
        value = written(identifier)
        assert value == long_string(value)
        assert 0 < len(value) <= LONG_STRING_CHARACTERS


@pytest.mark.parametrize("identifier", ["4711", "P-7", "x" * 64, "985141000123456", "Müller 7", "不明1"])
def test_an_identifier_that_fits_is_the_patient_id_as_it_is(identifier):
    assert written(identifier) == identifier


def test_what_was_cut_or_changed_stays_readable_at_the_front():
    assert written(f"{LONG}000123").startswith("https://fhir.clinic.example/")
    assert written("A\\1").startswith("A 1 #")


def test_subjects_of_one_identifier_are_told_apart_by_their_keys():
    plain = written("4711")
    kept = [written("4711", distinct=True, key=key) for key in ("one key", "another key")]
    by_remote = [written("4711", distinct=True, remote_id=remote) for remote in ("remote-1", "remote-2")]
    everybody = [plain, *kept, *by_remote]
    assert all(one != other for one, other in combinations(everybody, 2))
    assert all(value.startswith("4711") for value in everybody)
    # the key holds when Aurabox's record has to be made anew
    assert written("4711", distinct=True, key="one key", remote_id="remote-9") == kept[0]


def test_without_an_identifier_it_is_auraboxs_own():
    assert (
        written("", remote_id="0190c6f2-aaaa-7bbb-8ccc-000000000001")
        == "0190c6f2-aaaa-7bbb-8ccc-000000000001"
    )


@pytest.mark.parametrize(
    "animal", [{}, {"animal_name": "Rex", "animal_type": "Canine"}], ids=["human", "animal"]
)
def test_people_and_animals_are_named_by_this_rule(animal):
    identity = Identity(identifier=f"{LONG}000123", given_names="Ada", family_name="Ashgrove", **animal)
    organization = Organization(name="Harbour Clinic", identity="identified")
    subject = dicom_subject(
        identity, organization, label="", remote_id="remote-1", key="k", distinct=True, digest=DIGEST
    )
    assert subject.patient_id == written(f"{LONG}000123", distinct=True, key="k")


@settings(max_examples=300, deadline=None)
@given(one=st.text(min_size=1, max_size=80), other=st.text(min_size=1, max_size=80))
def test_whatever_two_identifiers_hold(one, other):
    assert (written(one) == written(other)) == (one == other)
    assert len(written(one)) <= LONG_STRING_CHARACTERS
