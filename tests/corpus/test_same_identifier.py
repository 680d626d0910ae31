"""Two people under one number, and one person twice: what contradicts, what is a correction (sources: README.md)."""

from datetime import date

import pytest

from app.delivery.mapping import adds, contradicts, differs, merged, read_identity

TODAY = date(2026, 3, 1)


def who(**patient):
    return read_identity({"identifier": "FAM-77", "date_of_birth": "2019-07-07", **patient}, today=TODAY)


TWINS = """
Olivia|Oliver|Brown
Anna|Hanna|Schmidt
Jo|Al|Papadopoulos
Daan|Bram|van der Westhuizen
Ahmed|Mohamed|Abdelrahman
Mia|Ida|Christodoulopoulou
Maria|Marie|Dubois
Daniel|Daniela|Rossi
Christian|Christina|Hansen
Christina|Christine|Papadimitriou
Francesco|Francesca|Esposito
Julia|Julian|Kowalska-Lewandowska
Marina|Martina|Novotny
Helena|Helene|Lindqvist
Aleksandr|Aleksandra|Iwanow
Александр|Александра|Иванова
Joanna|Johanna|Wisniewska
Jon|John|Ashgrove
María José|María Luisa|García López
Anna Maria|Maria Anna|Gruber
Anna Maria|Anna Sofia|Gruber
Wei Ming|Wei Jie|Tan
Wei Ming|Ming Wei|Tan
J.|Al|Papadopoulos
Tú|Tư|Nguyễn
Thủy|Thúy|Nguyễn
Hasan|Husain|Abdelrahman
حَسَن|حُسْن|عبد الرحمن
حسن|حسين|عبد الرحمن
דָּן|דִּין|כהן
रीमा|रोमा|शर्मा
ලීලා|ලාලා|පෙරේරා
たいき|だいき|さとう
明|明美|佐藤
伟|伟强|王
지민|지만|김
ดี|ดู|สุขใจ
Yuto|Yuuto|Tanaka
Twin A|Twin B|Ashgrove
Baby 1|Baby 2|Ashgrove
"""

SAME = """
Ada|Ashgrove|ADA|ASHGROVE
José|García|Jose|Garcia
Jörg|Müller|Joerg|Mueller
Jörg|Müller|Jorg|Muller
Łukasz|Wójcik|Lukasz|Wojcik
Søren|Ågård|Soeren|Aagaard
Thủy|Nguyễn|Thuy|Nguyen
Αντώνης|Παπαδόπουλος|Αντωνης|Παπαδοπουλος
Артём|Королёв|Артем|Королев
Anne-Marie|O'Brien|Annemarie|OBrien
Ada Mae|Ashgrove|Ada|Ashgrove
Ada Mae|Ashgrove|Ada M.|Ashgrove
John|Ashgrove|J.|Ashgrove
Ana|García López|Ana|García
Daan|van der Westhuizen|Daan|Westhuizen
محمد|عبد الرحمن|مُحَمَّد|عبد الرحمن
أحمد|علي|احمد|علي
ｶﾞｲ|ｻﾄｳ|ガイ|サトウ
ශ්රී|පෙරේරා|ශ්‍රී|පෙරේරා
Ada|Ashgrove||Ashgrove
Ada|Ashgrove||
Ada|Ashgrove|Unknown|Unknown
Olivia|Ashgrove|Baby Girl|Ashgrove
"""

CORRECTIONS = """
Ada|Ashgrove|Ada|Ashgrov|family_name
Ada|Ashgrove|Ada|Ashgorve|family_name
Ada|Ashgrove|Ada|Ashgrowe|family_name
Mohamed|Ali|Mohammed|Ali|given_names
Isabella|Moretti|Isabela|Moretti|given_names
J. Paul|Ashgrove|John P.|Ashgrove|given_names
Kim|Nguyễn|Kim|Nguyên|family_name
Ahmed|Khan|Khan|Ahmed|given_names family_name
明|佐藤|佐藤|明|given_names family_name
"""

OTHERS = """
Kim|Ashgrove|Kim|Birchwood
Kim|Hansen|Kim|Jansen
Kim|Ashgrove-7|Kim|Ashgrove-8
Kim|Meyer|Kim|Weber
Kim|Li|Kim|Lu
Wei|Zhang|Wei|Zheng
|Ashgrove||Ashgrov
Ada|Ashgrove|Bea|Ashgrov
"""


def rows(text):
    return [tuple(line.split("|")) for line in text.strip().splitlines()]


@pytest.mark.parametrize(("one", "other", "family"), rows(TWINS))
def test_twins_under_one_number_contradict_each_other(one, other, family):
    first, second = (who(first_name=name, last_name=family) for name in (one, other))
    assert contradicts(first, second) == "the given name does not resemble the known one"
    assert contradicts(second, first) == contradicts(first, second)


@pytest.mark.parametrize(("given", "family", "given_again", "family_again"), rows(SAME))
def test_ways_to_write_one_person_are_no_difference(given, family, given_again, family_again):
    known = who(first_name=given, last_name=family)
    again = who(first_name=given_again, last_name=family_again)
    for pair in ((known, again), (again, known)):
        assert contradicts(*pair) is None
        assert differs(*pair) == ()
    assert adds(known, again) == ()
    assert merged(known, again) == known


@pytest.mark.parametrize(("given", "family", "given_again", "family_again", "fields"), rows(CORRECTIONS))
def test_another_spelling_is_a_correction(given, family, given_again, family_again, fields):
    known = who(first_name=given, last_name=family)
    corrected = who(first_name=given_again, last_name=family_again)
    for one, other in ((known, corrected), (corrected, known)):
        assert contradicts(one, other) is None
        assert list(differs(one, other)) == fields.split()
        assert merged(one, other) == other


@pytest.mark.parametrize(("given", "family", "given_again", "family_again"), rows(OTHERS))
def test_another_name_is_somebody_else(given, family, given_again, family_again):
    known = who(first_name=given, last_name=family)
    other = who(first_name=given_again, last_name=family_again)
    assert "name does not resemble" in contradicts(known, other)
    assert contradicts(known, other) == contradicts(other, known)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"date_of_birth": "1980-01-01"}, {"date_of_birth": "1991-02-02"}, "the date of birth differs"),
        ({"gender": "F"}, {"gender": "M"}, "the sex differs"),
        ({"gender": "F"}, {"gender": "X"}, "the sex differs"),
        ({"identifier": "H-1001"}, {"identifier": "H-2002"}, "the identifier differs"),
        ({"identifier": "p-1"}, {"identifier": "P-1"}, "the identifier differs"),
        ({"animal_type": "Canine", "owner_name": "Ann Ash"}, {"first_name": "Bob"}, "one is an animal"),
        ({"animal_name": "Rex"}, {}, "one is an animal"),
        ({"animal_name": "Rex"}, {"animal_name": "Max"}, "the animal name does not resemble the known one"),
        (
            {"animal_name": "Bella", "animal_type": "Canine"},
            {"animal_name": "Bella", "animal_type": "Cat"},
            "the kind of animal differs",
        ),
        ({"gender": "F"}, {"gender": ""}, None),
        ({"date_of_birth": "1980-01-01"}, {"date_of_birth": "1900-01-01"}, None),
        ({"identifier": "H-1001"}, {"identifier": "N/A"}, None),
        (
            {"animal_name": "Bella", "animal_type": "Canine"},
            {"animal_name": "BELLA", "animal_type": "Dog"},
            None,
        ),
        ({"animal_name": "Bella", "owner_name": "Ivo Dunmore"}, {"animal_name": "Bella"}, None),
    ],
)
def test_other_facts_that_contradict_or_do_not(one, other, why):
    assert contradicts(who(**one), who(**other)) == why
    assert contradicts(who(**other), who(**one)) == why


def test_an_animal_with_another_owner_is_corrected():
    rex = who(animal_name="Rex", owner_name="Ivo Dunmore")
    sold = who(animal_name="Rex", owner_name="Petra Quill")
    assert contradicts(rex, sold) is None
    assert differs(rex, sold) == ("owner_name",)


def test_what_is_added_is_told_and_kept():
    known = who(last_name="Ashgrove", date_of_birth=None)
    fuller = who(first_name="Ada Mae", last_name="Ashgrove", gender="F")
    assert differs(known, fuller) == ()
    assert set(adds(known, fuller)) == {"given_names", "birth_date", "sex"}
    assert merged(known, fuller) == fuller
    assert adds(fuller, known) == ()


def test_a_short_name_stands_for_two_sisters_only_until_one_was_seen():
    known = who(first_name="María", last_name="García")
    jose, luisa = (who(first_name=f"María {name}", last_name="García") for name in ("José", "Luisa"))
    assert contradicts(known, jose) is None
    assert contradicts(known, luisa) is None
    assert contradicts(merged(known, jose), luisa) is not None


def test_a_newborn_that_was_named_is_not_its_twin():
    known = who(first_name="Baby Girl", last_name="Ashgrove")
    olivia, emma = (who(first_name=name, last_name="Ashgrove") for name in ("Olivia", "Emma"))
    assert adds(known, olivia) == ("given_names",)
    assert contradicts(merged(known, olivia), emma) is not None


def test_no_reason_says_whose_facts_it_is_about():
    known = who(first_name="Zzyzx", last_name="Qwertz", gender="F")
    for change in (
        {"first_name": "Ada"},
        {"last_name": "Ash"},
        {"gender": "M"},
        {"date_of_birth": "1980-02-02"},
    ):
        why = contradicts(
            known, who(**{"first_name": "Zzyzx", "last_name": "Qwertz", "gender": "F", **change})
        )
        assert why is not None
        assert not any(word in why for word in ("Zzyzx", "Qwertz", "Ada", "Ash", "1980", "FAM"))
