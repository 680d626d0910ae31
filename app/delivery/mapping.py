"""From Clarius's patient fields to who that is in Aurabox: names, dates, sex, keys. Pure, no I/O.

The rules are those of docs/delivery.md, "Patient or case". Nothing here decides by guessing: what does not fit is
incomplete, and what may be two people is two people until a person says otherwise.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any
from uuid import UUID

from app.delivery.labels import MAX_TEXT, Digest, case_label, pseudonym
from app.delivery.names import Relation, are_swapped, clean, family_names, given_names, normal
from app.delivery.placeholders import is_placeholder, real_names

OLDEST_YEARS = 123
"""Nobody is known to have lived longer than 122 years and 164 days."""

NO_BIRTH_DATES = frozenset({date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1), date(1904, 1, 1)})
"""Day zero or one of spreadsheets, COM and old Macs: written for "none" by whatever exports them."""

UNIX_EPOCH = frozenset({date(1970, 1, 1), date(1969, 12, 31)})
"""Day zero of most computers, east and west of Greenwich; it is many people's birthday too."""

PLAIN_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+ ?(Z|[+-][0-9:]+)?")

SPECIES_GROUPS = (
    "canine dog",
    "feline cat",
    "equine horse pony",
    "bovine cow cattle calf",
    "ovine sheep lamb",
    "caprine goat",
    "porcine pig swine",
    "avian bird parrot chicken",
    "lagomorph rabbit",
    "rodent rat mouse hamster",
)
SPECIES = {word: number for number, group in enumerate(SPECIES_GROUPS) for word in group.split()}

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


def read_birth_date(value: Any, *, today: date, zone: tzinfo = UTC) -> date | None:
    """A date of birth before today (Aurabox refuses others); None for whatever is none. `today` is the zone's.

    Clarius documents plain dates; read are YYYY-MM-DD and YYYYMMDD, and a moment that says which day it means. Dates that
    no living patient can have, and those that software writes for "none", are none (moov-io/customers#197,
    cohort-extractor#537): two strangers of one name have nothing else in common with each other.
    """
    if isinstance(value, float):
        return None
    text = clean(value).upper()
    try:
        if PLAIN_DATE.fullmatch(text):
            born = date.fromisoformat(text)
        elif MOMENT.fullmatch(text):
            moment = _day_of(datetime.fromisoformat(text), zone)
            if moment is None:
                return None
            born = moment
        else:
            return None
    except (ValueError, OverflowError):
        return None
    is_too_old = (born.year + OLDEST_YEARS, born.month, born.day) <= (today.year, today.month, today.day)
    return None if born >= today or is_too_old or born in NO_BIRTH_DATES else born


def _day_of(moment: datetime, zone: tzinfo) -> date | None:
    """The day that a birth date written as a moment means (msupply-foundation/mobile#4334).

    Midnight as written is that day, whatever its zone. Anything else is read in the organisation's zone, where it is a
    day only until noon: a midnight of further east falls on the evening before, and nobody can tell.
    """
    if moment.time() == time():
        return moment.date()
    here = moment if moment.tzinfo is None else moment.astimezone(zone)
    return here.date() if here.hour < 12 else None


def read_sex(value: Any) -> str:
    """`male`, `female`, `other`, or `unknown` for an empty or unheard-of spelling."""
    return SEXES.get("".join(char for char in clean(value).casefold() if char.isalpha()), "unknown")


def read_identity(
    patient: Any, *, today: date, zone: tzinfo = UTC, placeholders: Collection[str] = ()
) -> Identity:
    """Read whatever is there; a patient that is missing or no object is nobody in particular.

    `today` is the day in `zone`, the organisation's: a baby born yesterday in Sydney is born before today there.
    `placeholders`: what else is no identifier (`SONOBRIDGE_PLACEHOLDER_IDENTIFIERS`).
    """
    if not isinstance(patient, Mapping):
        return Identity()
    identifier = clean(patient.get("identifier"))
    return Identity(
        identifier="" if is_placeholder(identifier, placeholders) else identifier,
        birth_date=read_birth_date(patient.get("date_of_birth"), today=today, zone=zone),
        sex=read_sex(patient.get("gender")),
        given_names=clean(f"{clean(patient.get('first_name'))} {clean(patient.get('middle_name'))}"),
        family_name=clean(patient.get("last_name")),
        animal_name=clean(patient.get("animal_name")),
        animal_type=clean(patient.get("animal_type")),
        owner_name=clean(patient.get("owner_name")),
    )


def contradicts(recorded: Identity, claimed: Identity) -> str | None:
    """Why two identities can't be one subject; None when nothing speaks against it. The same both ways.

    What one of them leaves out contradicts nothing, but for being an animal: only animals come with an animal's fields.
    """
    born = recorded.birth_date and claimed.birth_date and recorded.birth_date != claimed.birth_date
    species = {_species(recorded), _species(claimed)}
    against = {
        "one is an animal": recorded.is_animal != claimed.is_animal,
        "the identifier differs": len({recorded.identifier, claimed.identifier} - {""}) == 2,
        "the date of birth differs": born,
        "the sex differs": len({recorded.sex, claimed.sex} - {"unknown"}) == 2,
        "the kind of animal differs": len(species - {None}) == 2,
    }
    for field, relation in _relations(recorded, claimed).items():
        what = field.replace("_", " ").removesuffix("s")
        against[f"the {what} does not resemble the known one"] = relation is Relation.OTHER
    return next((why for why, holds in against.items() if holds), None)


def differs(recorded: Identity, claimed: Identity) -> tuple[str, ...]:
    """The fields that say something else of what may be the same subject: a correction, or another person after all.

    Accents, case, middle names that are missing and initials are no difference. Meant for identities that do not
    contradict each other.
    """
    relations = _relations(recorded, claimed)
    return tuple(field for field, relation in relations.items() if relation is Relation.CORRECTED)


def adds(recorded: Identity, claimed: Identity) -> tuple[str, ...]:
    """The fields of which the claimed identity says more: a value where there was none, or a fuller name."""
    fields = [field for field, relation in _relations(recorded, claimed).items() if relation is Relation.MORE]
    if claimed.birth_date and not recorded.birth_date:
        fields.append("birth_date")
    if recorded.sex == "unknown" != claimed.sex:
        fields.append("sex")
    if claimed.identifier and not recorded.identifier:
        fields.append("identifier")
    return tuple(fields)


def merged(recorded: Identity, claimed: Identity) -> Identity:
    """What is known once a claim is believed: its additions and corrections, and else what was known before.

    To be recorded whenever an exam is filed under a known subject. María stands for both María José and María Luisa only
    until one of them has been seen.
    """
    fields = {*differs(recorded, claimed), *adds(recorded, claimed)}
    return replace(recorded, **{field: getattr(claimed, field) for field in fields})


def _relations(recorded: Identity, claimed: Identity) -> dict[str, Relation]:
    """Name by name; a placeholder ("Unknown", "Baby Girl") says nothing. The order is that of the sentences."""
    names = real_names(recorded.given_names, recorded.family_name)
    claimed_names = real_names(claimed.given_names, claimed.family_name)
    if are_swapped(names, claimed_names):
        given_relation = family_relation = Relation.CORRECTED
    else:
        given_relation = given_names(names[0], claimed_names[0])
        alike = bool(names[0] and claimed_names[0]) and given_relation is not Relation.OTHER
        family_relation = family_names(names[1], claimed_names[1], slips=alike)
    owner = family_names(recorded.owner_name, claimed.owner_name, slips=False)
    return {
        "given_names": given_relation,
        "family_name": family_relation,
        "animal_name": given_names(recorded.animal_name, claimed.animal_name),
        "animal_type": _type_relation(recorded, claimed),
        # animals are sold and families share one, so another owner is another fact and not another animal
        "owner_name": Relation.CORRECTED if owner is Relation.OTHER else owner,
    }


def _species(identity: Identity) -> int | None:
    return SPECIES.get(normal(identity.animal_type))


def _type_relation(recorded: Identity, claimed: Identity) -> Relation:
    kind, claimed_kind = normal(recorded.animal_type), normal(claimed.animal_type)
    if kind == claimed_kind or (_species(recorded) is not None and _species(recorded) == _species(claimed)):
        return Relation.SAME
    if not kind or not claimed_kind:
        return Relation.MORE if claimed_kind else Relation.LESS
    return Relation.CORRECTED


def key_text(identity: Identity, exam_uuid: UUID, separate: UUID | str | None = None) -> str:
    """What makes a subject itself within an organisation; the exam alone when it says too little to be anybody.

    `separate`: the UUID of the exam for which a person decided that it is somebody else; it makes another subject of the
    same words. Two different subjects never have one text: the identifier is the only part that may hold a bar, and
    what follows it is a date or nothing.
    The texts of humans are what they always were, since pseudonyms are made of them.
    """
    text = _identifier_key(identity) or _name_key(identity) or f"exam|{exam_uuid}"
    return f"{text}|separate|{separate}" if separate else text


def _identifier_key(identity: Identity) -> str:
    if not identity.identifier:
        return ""
    kind = "animal|" if identity.is_animal else ""
    return f"{kind}identifier|{identity.identifier}|{_iso(identity.birth_date)}"


def _name_key(identity: Identity) -> str:
    """Whole names, date of birth and sex; "" where one of them may stand for nothing, or for an animal."""
    given_name, family_name = map(normal, real_names(identity.given_names, identity.family_name))
    if identity.is_animal or not given_name or not family_name:
        return ""
    if identity.birth_date is None or identity.birth_date in UNIX_EPOCH:
        return ""
    return f"name|{given_name}|{family_name}|{_iso(identity.birth_date)}|{identity.sex}"


def former_key_text(identity: Identity) -> str | None:
    """The text under which an animal may be on record from before animals and humans had keys of their own."""
    if not identity.is_animal or not identity.identifier:
        return None
    return f"identifier|{identity.identifier}|{_iso(identity.birth_date)}"


def _iso(born: date | None) -> str:
    return born.isoformat() if born else ""


def why_incomplete(identity: Identity) -> str | None:
    """Why a human can't be a patient in Aurabox (A2's required fields and limits); None when nothing is amiss."""
    if not identity.given_names or not identity.family_name:
        return "the name is incomplete"
    if not identity.identifier and not all(real_names(identity.given_names, identity.family_name)):
        return "the name is a placeholder, and there is no identifier"
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


def plan_subject(
    identity: Identity,
    *,
    key: str,
    deidentified: bool,
    hold_incomplete: bool,
    animals_as_patients: bool,
    keep_birth_date: bool,
    digest: Digest,
    distinct: bool = False,
) -> Plan:
    """Patient, case or a person's decision, by the organisation's policy, in the order of docs/delivery.md, "Patient or case".

    `key` is the subject's (`key_text`), of which its label is made. `distinct`: another subject of this identifier is on
    record, so the identifier alone can't be this one's label.
    """
    if deidentified:
        return CasePlan(
            pseudonym(key, digest), identity.birth_date if keep_birth_date else None, identity.sex
        )
    label = case_label(
        identity.identifier,
        [part for part in (identity.animal_name, identity.animal_type) if part],
        is_animal=identity.is_animal,
        plain=key == _identifier_key(identity) and not distinct,
        key=key,
        digest=digest,
    )
    case = CasePlan(label, identity.birth_date, identity.sex)
    if identity.is_animal:
        return _plan_animal(identity, case, as_patient=animals_as_patients, hold_incomplete=hold_incomplete)
    why = why_incomplete(identity)
    if why is None and identity.birth_date is not None:
        return PatientPlan(identity.given_names, identity.family_name, identity.birth_date, identity.sex)
    return HoldPlan(why or "the patient is incomplete") if hold_incomplete else case


def _plan_animal(identity: Identity, case: CasePlan, *, as_patient: bool, hold_incomplete: bool) -> Plan:
    if not as_patient:
        return case
    named = replace(identity, given_names=identity.animal_name, family_name=identity.owner_name)
    why = why_incomplete(named)
    if why is None and identity.birth_date is not None:
        return PatientPlan(named.given_names, named.family_name, identity.birth_date, identity.sex)
    return HoldPlan(f"the animal can't be a patient: {why}") if hold_incomplete else case
