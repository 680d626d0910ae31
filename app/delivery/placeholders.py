"""Words that people and software write where there is nothing to say. Pure, no I/O.

A form that demands an identifier gets one: "0000", "N/A", "unknown". Two strangers who share such a word share nothing
(opal#172: patients without a number overwrote each other). What is taken for a placeholder here costs little when it was
none: the exam is then known by its name and date of birth, or stands by itself.
"""

import re
import unicodedata
from collections.abc import Collection

from app.delivery.names import clean, normal

SAME_CHARACTER = 3
"""From so many on, one character over and over (xxx, 999) is no identifier; 11 and 22 are people's numbers."""

NEGATIVE = re.compile(r"[-\u2212\u2010-\u2015] ?(1|9+)([.,]0+)?")
"""What statistics packages write for a missing number."""

SPREADSHEET_ERRORS = frozenset({"#n/a", "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!"})


def _squeezed(text: str) -> str:
    """Without case, width, accents, blanks and punctuation."""
    return normal(text).replace(" ", "")


def _set(*lines: str) -> frozenset[str]:
    return frozenset(_squeezed(word) for line in lines for word in line.split(","))


NOBODY = _set(
    "unknown, unk, unkn, not known, unnamed, no name, anonymous, anon, unidentified, undefined, not given, not provided",
    "not available, not applicable, not recorded, not stated, withheld, redacted, deidentified, de-identified",
    "anonymised, anonymized, inconnu, inconnue, non renseigné, sans nom, anonyme, unbekannt, unbekannte, unbekannter",
    "nicht bekannt, ohne namen, namenlos, anonym, desconocido, desconocida, sin nombre, anónimo, no identificado",
    "desconhecido, desconhecida, não identificado, não informado, sem nome, sconosciuto, sconosciuta, senza nome",
    "onbekend, niet bekend, anoniem, okänd, ukjent, ukendt, tuntematon, nieznany, nieznana, neznámý, neznámá",
    "ismeretlen, necunoscut, necunoscuta, bilinmiyor, bilinmeyen, isimsiz, неизвестно, неизвестный, неизвестная",
    "неизвестен, аноним, без имени, невідомо, невідомий, невідома, άγνωστο, άγνωστος, άγνωστη, مجهول, غير معروف",
    "بدون اسم, ناشناس, نامعلوم, לא ידוע, אלמוני, अज्ञात, অজানা, ไม่ทราบชื่อ, ไม่ทราบ, không rõ, không biết",
    "tidak diketahui, tanpa nama, haijulikani, 不明, 未知, 不詳, 不详, 無名, 无名, 無名氏, 无名氏, 名無し, 匿名, 미상, 불명, 무명, 익명",
)
"""Words for somebody unknown, in any field."""

NOTHING = _set(
    "n/a, na, nan, nat, none, null, nil, nul, void, nothing, missing, blank, empty, inf, infinity, true, false, string",
    "object object, x, xx, zz, tbd, tba, tbc, pending, to follow, default, temp, temporary, dummy, sample, example, demo",
    "test, testing, tester, none given, not assigned, unassigned, unregistered, walk-in, new, emergency, john doe, jane doe",
    "néant, aucun, aucune, sans, sans numéro, nr, nc, keine, keiner, kein, keine angabe, k.A., ohne, ohne nummer, leer",
    "nicht vorhanden, entfällt, ninguno, ninguna, sin número, s/n, sin dato, sin datos, s/d, n/d, no aplica, no tiene",
    "sin identificación, sin id, nenhum, nenhuma, sem número, sem id, ignorado, nessuno, nessuna, senza numero",
    "non disponibile, non noto, ignoto, prova, prueba, teste, geen, n.v.t., nvt, ingen, saknas, mangler, puuttuu",
    "ei tiedossa, brak, n.n., nie dotyczy, není, žádný, nincs, fără, niciunul, yok, нет, нет данных, не указано",
    "не указан, б/н, тест, немає, няма, κανένα, δεν υπάρχει, لا يوجد, بدون, بدون رقم, غير متوفر, اختبار, ندارد, نامشخص",
    "אין, בדיקה, नहीं, कोई नहीं, पता नहीं, নেই, নাই, இல்லை, ไม่มี, ไม่ระบุ, không có, chưa có, tidak ada, tiada",
    "なし, ナシ, 無し, 無, 未定, 未登録, 未入力, テスト, 无, 沒有, 没有, 暂无, 未填, 未提供, 测试, 測試, 없음, 모름, 테스트, 해당없음",
)
"""Words for nothing at all; some of them are names too (Null, Na, Nil, Test), so of a name both parts have to be such."""

LABELS = _set(
    "id, ids, pid, mrn, urn, ur, nhs, ssn, identifier, number, no, num, nr, hospital, chart, record, file, medical, case",
    "patient, pat, name, person, patientid, patient id, mr, ref, reference, code, numero, nummer, номер, 番号, 编号, 번호",
)
"""What a field is called: as its value, or beside a placeholder ("MRN: none"), it says nothing."""

NEWBORN = _set(
    "baby, babyboy, babygirl, baby boy, baby girl, boy, girl, bb, bg, newborn, newborn boy, newborn girl, infant, neonate",
    "baby of, bebe, bébé, nouveau-né, neugeborenes, säugling, recién nacido, recién nacida, rn, recém-nascido, neonato, neonata",
    "noworodek, новорожденный, новорожденная, مولود, 新生児, 新生儿, 신생아, ベビー",
)
"""Given names of children who have none yet: a nursery's many, twins first (ISMP, AHRQ on newborn naming)."""


def is_placeholder(identifier: str, also: Collection[str] = ()) -> bool:
    """Whether an identifier is none; `also`: words that this installation's people write (a setting)."""
    text = clean(identifier)
    plain = unicodedata.normalize("NFKC", text).casefold()
    if plain in SPREADSHEET_ERRORS or NEGATIVE.fullmatch(plain) or _is_listed(text, also):
        return True
    if _is_nothing(_squeezed(text)):
        return True
    words = [word for word in normal(text).split() if word not in LABELS]
    return _is_nothing("".join(words)) or all(map(_is_nothing, words))


def _is_listed(text: str, also: Collection[str]) -> bool:
    """As typed but for case, width and blanks; words also without their punctuation."""
    exact = unicodedata.normalize("NFKC", text).casefold()
    squeezed = _squeezed(text)
    for entry in also:
        if exact == unicodedata.normalize("NFKC", clean(entry)).casefold():
            return True
        # "-1" must not make a placeholder of 1
        if any(char.isalpha() for char in entry) and squeezed == _squeezed(entry):
            return True
    return False


def _is_nothing(word: str) -> bool:
    """Whether a squeezed word is a placeholder: in a list, empty, all zeros, or one character over and over."""
    if word in NOBODY or word in NOTHING or word in LABELS:
        return True
    return all(unicodedata.digit(char, None) == 0 for char in word) or _is_one_character(word)


def _is_one_character(word: str) -> bool:
    return len(word) >= SAME_CHARACTER and len(set(word)) == 1


def real_names(given_name: str, family_name: str) -> tuple[str, str]:
    """Given and family name, each "" where a placeholder stands for it.

    "Unknown" is nobody's name, "Baby" and "Babygirl" are every newborn's. Words that are names too (Null, Test,
    Patient) count only when both parts are such.
    """
    names = (_squeezed(given_name), _squeezed(family_name))
    nobody = [not name or name in NOBODY or _is_one_character(name) for name in names]
    nobody[0] = nobody[0] or names[0] in NEWBORN
    nothing = [no or _is_nothing(name) for no, name in zip(nobody, names, strict=True)]
    if all(nothing):
        return "", ""
    return "" if nobody[0] else given_name, "" if nobody[1] else family_name
