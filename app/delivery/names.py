"""Names of people and animals: folded for keys, compared for contradictions. Pure, no I/O.

Folding decides who is one person without asking anybody, so it drops only what never tells two people apart. Comparing
decides what a person has to look at, so whatever is more than a way of writing counts as a difference.
"""

import unicodedata
from enum import StrEnum

FOLDING_ROUNDS = 5

ACCENTED = ("LATIN", "GREEK", "CYRILLIC")
"""Scripts whose marks are accents: often left out in typing, and added by whoever knows better."""

POINTED = ("ARABIC", "HEBREW", "SYRIAC")
"""Scripts whose vowel points are optional in writing; they tell people apart where both are pointed."""

JOINERS = "\u200c\u200d"
"""Zero width (non-)joiner: part of the spelling in Sinhala, Malayalam and Persian, invisible elsewhere."""

STROKES = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
"""Letters that keep their stroke when marks are dropped, as a keyboard without them writes them."""

TRANSCRIBED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
"""As passports write them (ICAO 9303, part 3, section 6)."""

SLIP_LETTERS = 6
DOUBLED_LETTERS = 7


class Relation(StrEnum):
    """What a claimed name says beside the known one."""

    SAME = "same"
    LESS = "less"
    """Nothing new: words are missing, or stand as initials."""
    MORE = "more"
    """Fuller than what is known, and nothing against it."""
    CORRECTED = "corrected"
    """Another spelling that may be the same person's: a person, or the policy for corrections, decides."""
    OTHER = "other"
    """Somebody else's, as far as anybody can tell."""


def clean(value: object) -> str:
    """A text field as a person would write it: one line, composed characters, no controls; "" for anything else.

    A number that is not finite says nothing (NaN is pandas's word for none: MEDS_transforms#25); one without a
    fraction is written without it. Joiners stay inside a word, where they are part of the spelling.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float):
        if value - value != 0:
            return ""
        value = int(value) if value.is_integer() else value
    text = unicodedata.normalize("NFC", str(value))
    shown = "".join(
        char if unicodedata.category(char)[0] not in "ZC" or _joins(text, place) else " "
        for place, char in enumerate(text)
    )
    return " ".join(shown.split())


def _joins(text: str, place: int) -> bool:
    if text[place] not in JOINERS or not 0 < place < len(text) - 1:
        return False
    return all(unicodedata.category(char)[0] in "LM" for char in (text[place - 1], text[place + 1]))


def normal(name: str) -> str:
    """A name as it stands in keys: no case, width, punctuation or double spaces, no Latin, Greek or Cyrillic accents.

    Marks of all other scripts stay: a vowel sign or a voicing mark is a letter of the name (f-tree#113, bert#138,
    fts-xapian#199). So do Arabic and Hebrew points: most people leave them out, but where they are written they may be
    all that tells two brothers apart, and two records of one person are mended more easily than one of two.
    The same again for its own result.
    """
    return _folded(name, accents=False)


def _folded(name: str, *, accents: bool) -> str:
    # the spacing voicing marks are what a keyboard of half width leaves behind its kana
    folded = name.replace("\u309b", "\u3099").replace("\u309c", "\u309a")
    # a decomposed character may have a case of its own, so one round is not always enough (UAX 15, default caseless)
    for _ in range(FOLDING_ROUNDS):
        before = folded
        plain = unicodedata.normalize("NFKD", folded.casefold())
        folded = unicodedata.normalize("NFC", " ".join(_kept(plain, accents=accents).split()))
        if folded == before:
            break
    return folded


def _kept(text: str, *, accents: bool) -> str:
    """Letters, digits and the marks that count, of a decomposed text; whatever else is visible as a blank."""
    kept = []
    base = ""
    for char in text:
        category = unicodedata.category(char)
        if category[0] == "M":
            kept.append(char if accents or not _is_accent(char, base) else "")
        elif char.isalnum():
            kept.append(char)
            base = char
        elif category != "Cf":
            kept.append(" ")
            base = ""
    return "".join(kept)


def _is_accent(mark: str, base: str) -> bool:
    """Whether a mark on this base (none: "") is an accent, and not a part of the letter."""
    if base.isalpha():
        return _script_is(base, ACCENTED)
    # the kana's own marks are "combining" by name, and are no accents
    name = unicodedata.name(mark, "")
    return name.startswith("COMBINING") and "KATAKANA" not in name


def _script_is(char: str, scripts: tuple[str, ...]) -> bool:
    return unicodedata.name(char, "").startswith(scripts)


def _writings(word: str) -> set[str]:
    """A folded word with its accents, and the ways in which it is written without them."""
    bare = "".join(char for char in unicodedata.normalize("NFD", word) if not _is_optional(char))
    return {word, *(normal(text).translate(STROKES) for text in (bare, word.translate(TRANSCRIBED)))}


def _is_optional(char: str) -> bool:
    """A vowel point, or the bar that only stretches a word (tatweel)."""
    return char == "\u0640" or (unicodedata.category(char) == "Mn" and _script_is(char, POINTED))


def same_word(word: str, other: str) -> bool:
    """Whether two words with their accents are one: equal, or one of them is the other without or in transcription.

    Accents may be missing, they may not be different: José is Jose, Thủy is not Thúy.
    """
    return word in _writings(other) or other in _writings(word)


def given_names(recorded: str, claimed: str) -> Relation:
    """What the claimed given names say beside the known ones.

    Twins have one family name, one date of birth and often one number, and given names that parents liked to match:
    Anna and Hanna, Daniel and Daniela, Maria and Marie. So a letter more or less is another name here, wherever it
    stands; only a doubled consonant in a long name is taken for a slip. Middle names may be missing, initials may
    stand for names; the first given name has to be the first of both.
    """
    words, claimed_words = _words(recorded), _words(claimed)
    if (silent := _one_is_silent(words, claimed_words)) is not None:
        return silent
    if same_word("".join(words), "".join(claimed_words)):
        return Relation.SAME
    matches = [_word_relation(*pair) for pair in zip(words, claimed_words, strict=False)]
    if Relation.OTHER in matches:
        return Relation.OTHER
    matches.append(_by_count(words, claimed_words))
    return _together(matches)


def family_names(recorded: str, claimed: str, *, slips: bool) -> Relation:
    """What the claimed family name says beside the known one; `slips`: the given names agree.

    One of two family names may be missing, and so may particles. One letter more, less, other or exchanged in a long
    name is a slip only beside the same given name: siblings share the family name, so it tells little by itself.
    """
    words, claimed_words = _words(recorded), _words(claimed)
    if (silent := _one_is_silent(words, claimed_words)) is not None:
        return silent
    if same_word("".join(words), "".join(claimed_words)):
        return Relation.SAME
    shorter, longer = (words, claimed_words) if len(words) <= len(claimed_words) else (claimed_words, words)
    rest = iter(longer)
    if len(words) != len(claimed_words) and all(
        any(same_word(word, next_one) for next_one in rest) for word in shorter
    ):
        return _by_count(words, claimed_words)
    if (
        len(words) == len(claimed_words) == 1
        and (initial := _word_relation(words[0], claimed_words[0])) is not Relation.OTHER
    ):
        return initial
    first, second = normal("".join(words)), normal("".join(claimed_words))
    # alike but for accents that differ, or a slip
    return Relation.CORRECTED if slips and (first == second or _is_slip(first, second)) else Relation.OTHER


def are_swapped(recorded: tuple[str, str], claimed: tuple[str, str]) -> bool:
    """Whether given and family name stand in each other's place."""
    names, claimed_names = (tuple("".join(_words(part)) for part in pair) for pair in (recorded, claimed))
    if not all((*names, *claimed_names)) or names == claimed_names:
        return False
    return same_word(names[0], claimed_names[1]) and same_word(names[1], claimed_names[0])


def _words(name: str) -> list[str]:
    return _folded(name, accents=True).split()


def _one_is_silent(recorded: list[str], claimed: list[str]) -> Relation | None:
    if recorded and claimed:
        return None
    return Relation.MORE if claimed else Relation.LESS if recorded else Relation.SAME


def _by_count(recorded: list[str], claimed: list[str]) -> Relation:
    if len(recorded) == len(claimed):
        return Relation.SAME
    return Relation.MORE if len(claimed) > len(recorded) else Relation.LESS


def _together(relations: list[Relation]) -> Relation:
    """One relation for several words; what is fuller in one place and poorer in another is a correction."""
    relations_seen = set(relations) - {Relation.SAME}
    if not relations_seen:
        return Relation.SAME
    return relations_seen.pop() if len(relations_seen) == 1 else Relation.CORRECTED


def _word_relation(recorded: str, claimed: str) -> Relation:
    if same_word(recorded, claimed):
        return Relation.SAME
    first, second = normal(recorded), normal(claimed)
    if _is_initial(first) and second.startswith(first) and second != first:
        return Relation.MORE
    if _is_initial(second) and first.startswith(second) and second != first:
        return Relation.LESS
    longest = max(len(first), len(second))
    if longest >= DOUBLED_LETTERS and _undoubled(first) == _undoubled(second):
        return Relation.CORRECTED
    return Relation.OTHER


def _is_initial(word: str) -> bool:
    """A single letter of a script that abbreviates names so; in others (明, 伟) it is a whole name."""
    return len(word) == 1 and word.isalpha() and _script_is(word, ACCENTED)


def _undoubled(word: str) -> str:
    """Doubled consonants as one; a doubled vowel is another name (Yuto, Yuuto)."""
    return "".join(
        char for place, char in enumerate(word) if char in "aeiouy" or place == 0 or word[place - 1] != char
    )


def _is_slip(word: str, other: str) -> bool:
    """One letter more, less, other, or two exchanged, behind the first of a long name; a digit is never a slip."""
    if min(len(word), len(other)) < SLIP_LETTERS or word[0] != other[0]:
        return False
    if not all(char.isalpha() and _script_is(char, ACCENTED) for char in word + other):
        return False
    start = next(
        (place for place, pair in enumerate(zip(word, other, strict=False)) if pair[0] != pair[1]), None
    )
    if start is None:
        return abs(len(word) - len(other)) == 1
    rest, rest_other = word[start:], other[start:]
    exchanged = rest[:2] == rest_other[:2][::-1] and rest[2:] == rest_other[2:]
    return exchanged or rest[1:] == rest_other[1:] or rest[1:] == rest_other or rest == rest_other[1:]
