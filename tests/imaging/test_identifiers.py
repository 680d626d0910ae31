"""Identifiers and wording: stable, keyed, within DICOM's lengths; kinds by magic bytes."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.imaging import uids
from app.imaging.dicom_text import long_string, person_name
from app.imaging.sniff import sniff, sniff_bytes
from app.imaging.subjects import US_IMAGE, US_MULTI_FRAME
from tests.imaging.samples import EXAM_UUID, KEY, clip, jpeg, png, scanner_dicom


def test_the_study_is_the_exam_as_an_integer():
    expected = f"2.25.{uuid.UUID(EXAM_UUID).int}"
    assert uids.study_uid(EXAM_UUID, deidentify_key=None) == expected
    assert uids.study_uid(uuid.UUID(EXAM_UUID), deidentify_key=None) == expected


def test_a_key_hides_the_exam_and_keys_differ():
    plain = uids.study_uid(EXAM_UUID, deidentify_key=None)
    keyed = uids.study_uid(EXAM_UUID, deidentify_key=KEY)
    other = uids.study_uid(EXAM_UUID, deidentify_key=KEY[::-1])
    assert len({plain, keyed, other}) == 3
    assert keyed == uids.study_uid(EXAM_UUID.upper(), deidentify_key=KEY)
    assert uuid.UUID(int=int(keyed.removeprefix("2.25."))).variant == uuid.RFC_4122


def test_identifiers_never_move():
    # Studies already delivered carry these; changing one would deliver every exam again.
    study = uids.study_uid(EXAM_UUID, deidentify_key=KEY)
    assert study == "2.25.11679275256009739121190281998268350243"
    assert uids.accession_number(EXAM_UUID, deidentify_key=None) == "IIHVJZXUIKMKSKJT"
    assert (
        uids.series_uid(study, US_IMAGE, deidentify_key=KEY) == "2.25.78374483675920935042964421389578416333"
    )
    assert (
        uids.instance_uid(study, "ab" * 32, deidentify_key=KEY)
        == "2.25.19201043570457653020988745182053084751"
    )


def test_one_series_per_sop_class():
    study = uids.study_uid(EXAM_UUID, deidentify_key=None)
    stills = uids.series_uid(study, US_IMAGE, deidentify_key=None)
    clips = uids.series_uid(study, US_MULTI_FRAME, deidentify_key=None)
    assert stills != clips


@given(exam=st.uuids(), key=st.none() | st.binary(min_size=1, max_size=64))
def test_identifiers_are_within_dicom_lengths(exam, key):
    study = uids.study_uid(exam, deidentify_key=key)
    others = [
        uids.series_uid(study, US_IMAGE, deidentify_key=key),
        uids.instance_uid(study, "00" * 32, deidentify_key=key),
    ]
    for uid in (study, *others):
        assert len(uid) <= 64
        assert uid.removeprefix("2.25.").isdigit()
        assert not uid.startswith("2.25.0") or uid == "2.25.0"
    assert len(uids.accession_number(exam, deidentify_key=key)) == 16


@given(parts=st.lists(st.text(max_size=300), min_size=1, max_size=3))
def test_a_name_always_fits_and_has_no_stray_separator(parts):
    name = person_name(*parts)
    assert len(name) <= 64
    assert name.count("^") <= len(parts) - 1
    assert not set(name) & set("\\=\n\r\t\x00\x1b")


def test_a_long_name_keeps_its_family_name():
    name = person_name("Papadopoulou", "A" * 200, "B" * 200)
    assert name.startswith("Papadopoulou^AAAA")
    assert len(name) <= 64


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("O'Neill", "Ann\\Mary", ""), "O'Neill^Ann Mary"),
        (("a^b=c", "", "d"), "a b c^^d"),
        (("", "", ""), ""),
        (("Zoe\u0308", "李"), "Zoë^李"),
    ],
)
def test_names_are_cleaned(parts, expected):
    assert person_name(*parts) == expected


def test_text_is_cut_and_cleaned():
    assert long_string("a\\b\r\n" + "c" * 100) == ("a b " + "c" * 60)


def test_kinds_by_their_first_bytes(tmp_path):
    (tmp_path / "nothing").write_bytes(b"")
    (tmp_path / "page").write_bytes(b"<!doctype html><title>Sign in</title>")
    assert sniff(jpeg(tmp_path / "a.png")) == "jpeg"
    assert sniff(png(tmp_path / "a.jpg")) == "png"
    assert sniff(clip(tmp_path / "a.txt", frames=1)) == "mp4"
    assert sniff(scanner_dicom(tmp_path / "a")) == "dicom"
    assert sniff(tmp_path / "nothing") == "unknown"
    assert sniff(tmp_path / "page") == "unknown"
    assert sniff_bytes(b"PK\x03\x04....") == "zip"


@given(st.binary(max_size=200))
def test_any_bytes_have_a_kind(data):
    assert sniff_bytes(data) in ("jpeg", "png", "mp4", "dicom", "zip", "unknown")
