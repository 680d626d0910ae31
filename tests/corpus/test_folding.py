"""Names that fold together are one person's in a key; names of two people never do (sources: README.md)."""

import sys
from datetime import date
from itertools import combinations
from uuid import UUID

import pytest

from app.delivery.mapping import Identity, key_text
from app.delivery.names import clean, normal

DIFFERENT = {
    "Devanagari: vowel signs (f-tree#113, bert#138)": "रीमा रोमा रमा राम रामा रोम कुमार कमार श्याम शयाम दीपा दीपू",
    "Devanagari: nasal, nukta, virama": "संजय सजय ज़ारा जारा अर्जुन अरजुन",
    "Bengali": "মিতা মাতা মিতু রিমা রুমা রমা",
    "Gurmukhi": "ਸਿਮਰ ਸੁਮਰ ਜੀਤ ਜੋਤ",
    "Gujarati": "મીરા મોરા મારા રીના રેના",
    "Tamil": "லீலா லாலா அனி அனு மாலா மாலி குமார் குமரர்",
    "Telugu": "రాము రామా సీతా సుతా",
    "Kannada": "ರಾಮ ರಮಾ ಲೀಲಾ ಲಾಲಾ",
    "Malayalam (indic_nlp_library#7, whisper_normalizer#25)": "മീര മാര ലീല ലോല",
    "Sinhala": "ලීලා ලාලා නිමල් නිමාල් සුනිල් සනිල්",
    "Thai": "ดี ดู ดา นิด นุด แก้ว แก่ว มา ม้า",
    "Lao": "ດີ ດູ ມາ ມ້າ",
    "Khmer": "ធីតា ធូតា សុខ សិខ",
    "Burmese": "မိမိ မုမု သီရိ သူရိ",
    "Tibetan": "བཀྲ བཀི བསོད བསད",
    "kana: voicing marks (fts-xapian#199, bert#130)": "たいき だいき はな ばな ぱな かい がい ハンダ パンダ カギ ガギ ガキ",
    "kana: half width": "ﾊﾅ ﾊﾞﾅ ﾊﾟﾅ",
    "kana: long and small": "ゆき ゆうき ユキ ユーキ りよう りょう",
    "Hangul": "지민 지만 수진 소진",
    "Arabic": "حسن حسين محمد محمود حَسَن حُسْن",
    "Hebrew: points": "דָּן דִּין דן",
    "Latin letters that only look alike": "Łukasz Lukasz Đức Duc Işık",
    "Cyrillic": "Иван Ивана Мария Марья",
}

ALIKE = [
    ("José", "JOSE"),
    ("José", "Jose\u0301"),
    ("Ζωή", "ζωη"),
    ("Артём", "АРТЕМ"),
    ("Ａｄａ", "ada"),
    ("ｶﾞｲ", "ガイ"),
    ("か\u3099い", "がい"),
    ("か\u309bい", "がい"),
    ("지민", "\u110c\u1175\u1106\u1175\u11ab"),
    ("क\u093c", "\u0958"),
    ("கொ", "க\u0bc6\u0bbe"),
    ("ශ්\u200dරී", "ශ්රී"),
    ("Straße", "STRASSE"),
    ("Anne-Marie", "Anne  Marie"),
    ("ΝΙΚΟΣ", "νικος"),
    ("ﬁona", "Fiona"),
    ("Nguyễn", "Nguyen"),
]


def keyed(name: str, exam: int) -> str:
    person = Identity(given_names=name, family_name="शर्मा", birth_date=date(2015, 5, 5), sex="female")
    return key_text(person, UUID(int=exam))


@pytest.mark.parametrize("names", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_names_of_different_people_have_keys_of_their_own(names):
    for one, other in combinations(names.split(), 2):
        assert keyed(one, 1) != keyed(other, 2), f"{one} and {other} are one person"


def test_no_two_names_of_the_corpus_fold_together():
    everybody = [name for names in DIFFERENT.values() for name in names.split()]
    folded = {normal(name) for name in everybody}
    assert len(folded) == len(set(everybody))


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_ways_to_write_one_name_are_one_key(one, other):
    assert keyed(one, 1) == keyed(other, 2)


def test_marks_never_become_blanks():
    for names in DIFFERENT.values():
        for name in names.split():
            assert " " not in normal(name)
            assert " " not in clean(name)


def test_a_joiner_inside_a_word_stays_as_it_was_written():
    assert clean("ශ්\u200dරී") == "ශ්\u200dරී"
    assert clean("علی\u200cرضا") == "علی\u200cرضا"
    assert clean("\u200dAda\u200c 7\u200d8") == "Ada 7 8"


@pytest.mark.parametrize("fold", [normal, clean])
def test_folding_any_character_twice_changes_nothing_more(fold):
    # most of the million are folded to the same few, and those once more are looked at once
    folded = set(map(fold, map(chr, range(sys.maxunicode + 1))))
    assert [text for text in folded if fold(text) != text] == []
