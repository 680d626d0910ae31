"""What subjects and studies are called in Aurabox: labels of cases, pseudonyms, the study's description. Pure, no I/O.

A lost create is looked for by its label: a deploy that changes a label finds those under way no more.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence

from app.imaging.subjects import STUDY_DESCRIPTION

MAX_TEXT = 255
"""Of a name or label at Aurabox."""

HASH_CHARACTERS = 12
"""Of a keyed hash at the end of a label: "Exam" may have a hundred thousand, and 32 bits would be one for two of them."""

TAILED = re.compile(r".* #[0-9a-f]{8,}|SB-[0-9A-F]{20}")
"""Texts that could be a label or patient id of our own making."""

Digest = Callable[[str], str]
"""A keyed hash of a text as lower-case hex; stable for an organisation."""


def study_description() -> str:
    """What a study is called: in Aurabox, in the announcement of an upload, and in DICOM where the exam is identified.

    The same for every exam. De-identified objects carry this text whatever is given here (`app/imaging/attributes.py`).
    """
    return STUDY_DESCRIPTION


def pseudonym(key: str, digest: Digest) -> str:
    """The label of a de-identified case: the same for one key, and no way back from it."""
    return f"SB-{digest('pseudonym|' + key)[:20].upper()}"


def case_label(
    identifier: str, animal: Sequence[str], *, is_animal: bool, plain: bool, key: str, digest: Digest
) -> str:
    """A label that no two subjects share: the identifier (an animal's name and species before it), readable at the front.

    `plain`: it stands for the one subject that the identifier alone means. It ends with a keyed hash of the key for
    whatever is more than that, and wherever the words alone could be read as another's.
    """
    words = ", ".join([*animal, identifier] if identifier else animal)
    is_ambiguous = (
        any(", " in part for part in (*animal, identifier))
        or bool(animal) != is_animal
        or bool(TAILED.fullmatch(words))
    )
    if not identifier or not plain or is_ambiguous:
        words = tailed(words or "Exam", MAX_TEXT, digest("label|" + key))
    return fit_label(words, digest)


def fit_label(label: str, digest: Digest) -> str:
    """The label within Aurabox's 255 characters; what is cut is stood for by a keyed hash of the whole."""
    return label if len(label) <= MAX_TEXT else tailed(label, MAX_TEXT, digest("cut|" + label))


def tailed(text: str, limit: int, hashed: str) -> str:
    """The text, cut to the limit together with its tail: `#` and the beginning of a keyed hash."""
    tail = f"#{hashed[:HASH_CHARACTERS]}"
    return f"{text[: limit - len(tail) - 1]} {tail}".strip()


def keyed_digest(key: bytes) -> Digest:
    """A `Digest` under an organisation's pseudonym key."""
    return lambda text: hmac.digest(key, text.encode(), "sha256").hex()


def bare_digest(text: str) -> str:
    """A `Digest` without a key, for text that is shown beside it anyway."""
    return hashlib.sha256(text.encode()).hexdigest()
