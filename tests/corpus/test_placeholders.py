"""Words for "none": strangers who share one share nothing (sources: README.md)."""

import json
from datetime import date
from uuid import UUID

import pytest

from app.delivery.labels import keyed_digest
from app.delivery.mapping import CasePlan, PatientPlan, key_text, plan_subject, read_identity
from app.delivery.placeholders import is_placeholder

TODAY = date(2026, 3, 1)

PLACEHOLDERS = """
0|00|0000|00000000|0.0|0,0|-0|000-00-0000|٠٠٠|০০০
N/A|n/a|NA|N.A.|na|#N/A|#REF!|#VALUE!|nan|NaN|NaT|none|None|NONE|null|(null)|<null>|nil|void|undefined|inf|-inf|Infinity
unknown|UNKNOWN|Unknown.|(unknown)|unk|UNK|not known|not available|not applicable|not given|none given|missing|blank|empty
TEST|test|Test|testing|demo|dummy|sample|example|temp|default|string|[object Object]|false
anonymous|Anon|anonymised|redacted|withheld|de-identified|unidentified|John Doe|jane doe
-|--|---|.|...|_|*|?|???|/|\\|#|!|x|X|xx|xxx|XXXX|zzz|aaa|999|9999|99999999|111111|888-88-8888|-1|-9|-99|-999|-1.0
MRN|ID|MRN: none|no MRN|No ID|ID unknown|mrn 0|patient id: n/a|unknown patient|Test Patient|no number|tbd|TBA|pending|walk-in
inconnu|Inconnue|aucun|néant|sans numéro|non renseigné|unbekannt|UNBEKANNT|keine|keine Angabe|k.A.|ohne Nummer|entfällt
desconocido|Desconocida|ninguno|sin número|SIN NUMERO|s/n|S/N|sin dato|desconhecido|nenhum|não informado|sem número
sconosciuto|nessuno|senza numero|onbekend|geen|n.v.t.|okänd|ukjent|ukendt|ingen|tuntematon|nieznany|brak|neznámý|ismeretlen
necunoscut|bilinmiyor|yok|неизвестно|НЕТ ДАННЫХ|б/н|невідомо|άγνωστο|ΑΓΝΩΣΤΟΣ|مجهول|غير معروف|لا يوجد|ندارد|לא ידוע|אין
अज्ञात|नहीं|অজানা|இல்லை|ไม่ทราบ|ไม่มี|không rõ|không có|tidak ada|不明|なし|ナシ|ﾅｼ|未登録|未知|无|無|不详|暂无|测试|없음|미상|모름
"""

IDENTIFIERS = """
7|1|11|22|42|100|1000|0001|007|12345|123456|4711|100000|900009|P-7|p-1|P-1|A|B7|FAM-77|MRN-100|MRN 100|ID 7|H-1001|UNK-17
Unknown 1|TEST01|Test-7|NA-104|N0NE|Null-4|0-1|10-00|X1|X-ray 7|SB-000001|VET-000001|ABC|Nadir|Nonet|NAN-5|Nilsson|Testa
943 476 5919|985141000123456|urn:oid:1.2.3|A\\1|patient-42|00000001|99998|11112|不明1|7.5|-5|2026/0001|R0000
"""


def listed(text: str) -> list[str]:
    return [word for line in text.strip().splitlines() for word in line.split("|")]


def read(**patient):
    return read_identity(patient, today=TODAY)


@pytest.mark.parametrize("word", listed(PLACEHOLDERS))
def test_a_placeholder_is_no_identifier(word):
    one, other = read(identifier=word), read(identifier=word)
    assert one.identifier == ""
    assert key_text(one, UUID(int=1)) != key_text(other, UUID(int=2))
    born = read(identifier=word, date_of_birth="1980-01-01")
    assert key_text(born, UUID(int=1)) != key_text(born, UUID(int=2))


@pytest.mark.parametrize("word", listed(IDENTIFIERS))
def test_an_identifier_is_kept_to_the_letter(word):
    assert read(identifier=word).identifier == word


@pytest.mark.parametrize(
    ("value", "identifier"),
    [
        ("NaN", ""),
        ("Infinity", ""),
        ("-Infinity", ""),
        ("0", ""),
        ("0.0", ""),
        ("-0.0", ""),
        ("7.0", "7"),
        ("100007.0", "100007"),
        ("1e6", "1000000"),
        ("7.5", "7.5"),
        ("7", "7"),
        ("-1", ""),
        ("true", ""),
        ("null", ""),
        ("[7]", ""),
        ('{"value": 7}', ""),
        ('"7.0"', "7.0"),
    ],
)
def test_a_number_is_an_identifier_when_it_is_one(value, identifier):
    """MEDS_transforms#25, cohort-extractor#859: NaN became the identifier of all who had none."""
    assert read(identifier=json.loads(value)).identifier == identifier


def test_pets_of_one_name_and_no_identifier_stay_apart():
    dog = read(identifier="N/A", animal_name="Bella", animal_type="Canine", owner_name="Ivo Dunmore")
    cat = read(identifier="N/A", animal_name="Bella", animal_type="Feline", owner_name="Petra Quill")
    assert key_text(dog, UUID(int=1)) != key_text(cat, UUID(int=2))


@pytest.mark.parametrize(
    "also", [["Walk  In"], ["ＷＡＬＫ ＩＮ"], ["other", "walk-in"], frozenset({"walkin"})], ids=repr
)
def test_an_installation_adds_words_of_its_own(also):
    patient = {"identifier": "walk in"}
    assert read_identity(patient, today=TODAY, placeholders=also).identifier == ""
    assert (
        read_identity({"identifier": "laufkunde"}, today=TODAY, placeholders=also).identifier == "laufkunde"
    )


def test_a_word_of_an_installation_is_no_pattern():
    assert is_placeholder("-5", ["-5"])
    assert not is_placeholder("5", ["-5"])
    assert is_placeholder("12345", ["12345"])
    assert not is_placeholder("123456", ["12345"])


NOBODY = [
    ("Unknown", "Unknown"),
    ("Unknown", "Patient"),
    ("UNKNOWN", "Smith"),
    ("John", "Unknown"),
    ("Test", "Patient"),
    ("Test", "Test"),
    ("Patient", "Test"),
    ("N/A", "N/A"),
    ("None", "None"),
    ("Null", "Null"),
    ("xxx", "xxx"),
    ("X", "X"),
    ("Anonymous", "Anonymous"),
    ("No Name", "No Name"),
    ("Inconnu", "Inconnu"),
    ("Unbekannt", "Unbekannt"),
    ("不明", "不明"),
    ("Неизвестный", "Неизвестный"),
    ("Baby", "Smith"),
    ("Babygirl", "Smith"),
    ("Baby Boy", "Smith"),
    ("BG", "Smith"),
    ("Newborn", "Smith"),
    ("RN", "García"),
]

SOMEBODY = [
    ("John", "Doe"),
    ("Chris", "Null"),
    ("Na", "Li"),
    ("Nil", "Yıldız"),
    ("Test", "Ashgrove"),
    ("John", "Patient"),
    ("X", "Ashgrove"),
    ("Malcolm", "X"),
    ("Baby Girl A", "Smith"),
    ("Babymarie", "Smith"),
    ("Nan", "Birchwood"),
    ("J.", "Ashgrove"),
    ("No", "Ha-eun"),
    ("Sans", "Dunmore"),
]


def plan(identity, exam):
    return plan_subject(
        identity,
        key=key_text(identity, exam),
        deidentified=False,
        hold_incomplete=False,
        animals_as_patients=False,
        keep_birth_date=False,
        digest=keyed_digest(b"an organisation's key"),
    )


@pytest.mark.parametrize(("given", "family"), NOBODY)
def test_a_placeholder_for_a_name_keys_nobody_together(given, family):
    who = read(first_name=given, last_name=family, date_of_birth="2025-05-05", gender="F")
    assert key_text(who, UUID(int=1)) != key_text(who, UUID(int=2))
    made = plan(who, UUID(int=1))
    assert isinstance(made, CasePlan)
    assert made != plan(who, UUID(int=2))
    # with an identifier it is somebody, whatever the name
    assert isinstance(
        plan(
            read(identifier="P-7", first_name=given, last_name=family, date_of_birth="2025-05-05"),
            UUID(int=1),
        ),
        PatientPlan,
    )


@pytest.mark.parametrize(("given", "family"), SOMEBODY)
def test_a_plausible_name_is_a_name(given, family):
    who = read(first_name=given, last_name=family, date_of_birth="1985-05-05", gender="F")
    assert key_text(who, UUID(int=1)) == key_text(who, UUID(int=2))
    assert isinstance(plan(who, UUID(int=1)), PatientPlan)
