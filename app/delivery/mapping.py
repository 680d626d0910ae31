"""From Clarius's patient fields to who that is in Aurabox: names, dates, sex, keys, labels. Pure, no I/O.

The rules are delivery.md's, "Patient or case". Nothing here decides by guessing: what does not fit is incomplete.
"""

import difflib
import hmac
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

MAX_TEXT = 255
LABEL_HASH_CHARACTERS = 8
RESEMBLANCE = 0.75
FOLDING_ROUNDS = 5

SEXES: dict[str, str] = {
    **dict.fromkeys(("m", "male", "man", "boy", "masculine"), "male"),
    **dict.fromkeys(("f", "female", "woman", "girl", "w", "feminine"), "female"),
    **dict.fromkeys(
        ("o", "other", "x", "nonbinary", "diverse", "d", "intersex", "indeterminate", "nb"),
        "other",
    ),
}


@dataclass(frozen=True)
class Identity:
    """What the exam data says of its subject; every field may be empty. Dates are calendar days."""

    identifier: str = ""
    birth_date: date | None = None
    sex: str = "unknown"
    given_names: str = ""
    family_name: str = ""
    animal_name: str = ""
    animal_type: str = ""
    owner_name: str = ""

    @property
    def is_animal(self) -> bool:
        """Clarius sends these fields for animals only."""
        return bool(self.animal_name or self.animal_type or self.owner_name)

    def facts(self) -> dict[str, str | None]:
        """As it is sealed beside a subject, for later comparison."""
        return {**asdict(self), "birth_date": self.birth_date.isoformat() if self.birth_date else None}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Identity":
        """The inverse of `facts`."""
        born = facts.get("birth_date")
        return cls(**{**facts, "birth_date": date.fromisoformat(born) if born else None})


def clean(value: Any) -> str:
    """A text field as a person would write it: one line, composed characters, no controls; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = unicodedata.normalize("NFC", str(value))
    shown = "".join(" " if unicodedata.category(char)[0] in "ZC" else char for char in text)
    return " ".join(shown.split())


def read_birth_date(value: Any, *, today: date) -> date | None:
    """A date of birth before today (Aurabox refuses others), as ISO date or date-time; None for anything else."""
    text = clean(value)
    try:
        born = date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text).date()
    except ValueError:
        return None
    return born if born < today else None


def read_sex(value: Any) -> str:
    """`male`, `female`, `other`, or `unknown` for an empty or unheard-of spelling."""
    return SEXES.get("".join(char for char in clean(value).casefold() if char.isalpha()), "unknown")


def read_identity(patient: Any, *, today: date) -> Identity:
    """Read whatever is there; a patient that is missing or no object is nobody in particular."""
    if not isinstance(patient, Mapping):
        return Identity()
    return Identity(
        identifier=clean(patient.get("identifier")),
        birth_date=read_birth_date(patient.get("date_of_birth"), today=today),
        sex=read_sex(patient.get("gender")),
        given_names=clean(f"{clean(patient.get('first_name'))} {clean(patient.get('middle_name'))}"),
        family_name=clean(patient.get("last_name")),
        animal_name=clean(patient.get("animal_name")),
        animal_type=clean(patient.get("animal_type")),
        owner_name=clean(patient.get("owner_name")),
    )


def normal(name: str) -> str:
    """A name for comparison: no case, accents, punctuation or double spaces; the same again for its own result."""
    folded = name
    # a decomposed character may have a case of its own, so one round is not always enough (UAX 15, default caseless)
    for _ in range(FOLDING_ROUNDS):
        before = folded
        plain = unicodedata.normalize("NFKD", folded.casefold())
        kept = "".join(char if char.isalnum() else " " for char in plain if not unicodedata.combining(char))
        folded = " ".join(kept.split())
        if folded == before:
            break
    return folded


def resembles(one: str, other: str) -> bool:
    """Whether two names may be one person's: spelling slips, a missing middle name, swapped order.

    An empty name contradicts nothing.
    """
    first, second = normal(one), normal(other)
    if not first or not second:
        return True
    words, others = set(first.split()), set(second.split())
    if words <= others or others <= words:
        return True
    # in a fixed order: the matcher's ratio is not the same both ways
    one_way, other_way = sorted((" ".join(sorted(words)), " ".join(sorted(others))))
    return difflib.SequenceMatcher(None, one_way, other_way).ratio() >= RESEMBLANCE


def full_name(identity: Identity) -> str:
    """The name that two versions of one identity are compared by."""
    if identity.is_animal:
        return identity.animal_name
    return clean(f"{identity.given_names} {identity.family_name}")


def contradicts(known: Identity, claimed: Identity) -> str | None:
    """Why two identities with one identifier can't be the same subject; None when nothing speaks against it.

    What one of them leaves out contradicts nothing.
    """
    if known.birth_date and claimed.birth_date and known.birth_date != claimed.birth_date:
        return "the date of birth differs"
    if "unknown" not in {known.sex, claimed.sex} and known.sex != claimed.sex:
        return "the sex differs"
    if known.is_animal != claimed.is_animal and full_name(known) and full_name(claimed):
        return "one is an animal"
    if not resembles(full_name(known), full_name(claimed)):
        return "the name does not resemble the known one"
    return None


def key_text(identity: Identity, exam_uuid: UUID) -> str:
    """What makes a subject itself within an organisation; the exam alone when it says too little to be anybody."""
    born = identity.birth_date.isoformat() if identity.birth_date else ""
    if identity.identifier:
        return f"identifier|{identity.identifier}|{born}"
    named = normal(identity.given_names) and normal(identity.family_name)
    if named and born and not identity.is_animal:
        return f"name|{normal(identity.given_names)}|{normal(identity.family_name)}|{born}|{identity.sex}"
    return f"exam|{exam_uuid}"


def why_incomplete(identity: Identity) -> str | None:
    """Why a human can't be a patient in Aurabox (A2's required fields and limits); None when nothing is amiss."""
    if not identity.given_names or not identity.family_name:
        return "the name is incomplete"
    if identity.birth_date is None:
        return "there is no valid date of birth"
    if max(len(identity.given_names), len(identity.family_name)) > MAX_TEXT:
        return f"a name is longer than {MAX_TEXT} characters"
    return None


@dataclass(frozen=True)
class PatientPlan:
    """To be created as a patient (A2)."""

    given_names: str
    family_name: str
    birth_date: date
    sex: str


@dataclass(frozen=True)
class CasePlan:
    """To be created as a case (A7)."""

    label: str
    birth_date: date | None
    sex: str


@dataclass(frozen=True)
class HoldPlan:
    """A person has to look: the policy holds incomplete patients."""

    why: str


Plan = PatientPlan | CasePlan | HoldPlan

Digest = Callable[[str], str]
"""A keyed hash of a text as lower-case hex; stable for an organisation."""


def plan_subject(
    identity: Identity,
    *,
    exam_uuid: UUID,
    deidentified: bool,
    hold_incomplete: bool,
    animals_as_patients: bool,
    keep_birth_date: bool,
    digest: Digest,
) -> Plan:
    """Patient, case or a person's decision, by the organisation's policy, in delivery.md's order."""
    if deidentified:
        label = f"SB-{digest('pseudonym|' + key_text(identity, exam_uuid))[:20].upper()}"
        return CasePlan(label, identity.birth_date if keep_birth_date else None, identity.sex)
    if identity.is_animal:
        return _plan_animal(
            identity,
            exam_uuid=exam_uuid,
            as_patient=animals_as_patients,
            hold_incomplete=hold_incomplete,
            digest=digest,
        )
    why = why_incomplete(identity)
    if why is None and identity.birth_date is not None:
        return PatientPlan(identity.given_names, identity.family_name, identity.birth_date, identity.sex)
    if hold_incomplete:
        return HoldPlan(why or "the patient is incomplete")
    return _case(identity, [identity.identifier], exam_uuid=exam_uuid, digest=digest)


def _plan_animal(
    identity: Identity, *, exam_uuid: UUID, as_patient: bool, hold_incomplete: bool, digest: Digest
) -> Plan:
    if as_patient:
        named = Identity(
            given_names=identity.animal_name, family_name=identity.owner_name, birth_date=identity.birth_date
        )
        why = why_incomplete(named)
        if why is None and identity.birth_date is not None:
            return PatientPlan(named.given_names, named.family_name, identity.birth_date, identity.sex)
        if hold_incomplete:
            return HoldPlan(f"the animal can't be a patient: {why}")
    parts = [identity.animal_name, identity.animal_type, identity.identifier]
    return _case(identity, parts, exam_uuid=exam_uuid, digest=digest)


def _case(identity: Identity, parts: list[str], *, exam_uuid: UUID, digest: Digest) -> CasePlan:
    """A label that no two strangers share: with an identifier its own words, else ended by the key's hash."""
    words = ", ".join(part for part in parts if part)
    if not identity.identifier:
        tail = digest("label|" + key_text(identity, exam_uuid))[:LABEL_HASH_CHARACTERS]
        words = f"{words or 'Exam'} #{tail}"
    return CasePlan(fit_label(words, digest), identity.birth_date, identity.sex)


def fit_label(label: str, digest: Digest) -> str:
    """The label within Aurabox's 255 characters; what is cut is stood for by a keyed hash of the whole."""
    if len(label) <= MAX_TEXT:
        return label
    tail = "#" + digest("cut|" + label)[:LABEL_HASH_CHARACTERS]
    return label[: MAX_TEXT - len(tail) - 1] + " " + tail


def keyed_digest(key: bytes) -> Digest:
    """A `Digest` under an organisation's pseudonym key."""
    return lambda text: hmac.digest(key, text.encode(), "sha256").hex()
