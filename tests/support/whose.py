"""Checks of whose everything is (I10) and of where it may go (I11), over what Clarius said and what Aurabox journalled.

Who is one person is decided here by a rule of its own, which is stricter than the bridge's and knows no policy.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.delivery.mapping import Identity, read_identity
from app.states import ExamState
from app.store.exams import Exam
from app.store.organizations import IdentityPolicy
from app.store.studies import Study
from app.store.subjects import Mode, Subject
from sandbox.aurabox.state import Person
from sandbox.journal import Effect
from tests.support.at_rest import AtRest, Check

# a step looks at link and policy, then calls: so long it may take from the one to the other
CALL_SECONDS = 3.0
LEAST_CHARACTERS = 3
UNDECIDED = frozenset({ExamState.REVIEW, ExamState.CANCELLED})
UPLOADING = ("bounce.upload.init", "bounce.upload.start", "lift.patch")
FILED = ("aurabox.*.create", "aurabox.*.update")


async def every_study_lies_under_the_person_of_its_filing(system: AtRest) -> AsyncIterator[str]:
    """I10, where it lies."""
    there = system.there()
    for exam in system.exams:
        study = system.records.studies.get(exam.study_id) if exam.study_id else None
        if study is None:
            continue
        if exam.state == ExamState.DELIVERED and exam.subject_id != study.subject_id:
            yield f"I10: {exam.request_uuid} is filed under one subject, and its study under another"
        remote = there.get(study.remote_id)
        if remote is not None and remote[1].id != system.records.subjects[study.subject_id].remote_id:
            yield f"I10: the study of {exam.request_uuid} lies under somebody else"


async def no_record_holds_two_people(system: AtRest) -> AsyncIterator[str]:
    """I10, who is there: all exams below one record must be of one person, and of the one that the record names."""
    there = system.there()
    below: dict[str, list[Exam]] = defaultdict(list)
    records: dict[str, Person] = {}
    for exam in system.exams:
        study = system.records.studies.get(exam.study_id) if exam.study_id else None
        if study is None or study.remote_id not in there or exam.state in UNDECIDED:
            continue
        person = there[study.remote_id][1]
        below[person.id].append(exam)
        records[person.id] = person
    for remote_id, exams in below.items():
        free = any(system.records.decided(exam) for exam in exams)
        told = [(exam, _identity(system, exam)) for exam in exams]
        for (exam, one), (other_exam, other) in combinations(told, 2):
            if why := _two_people(one, other, same_exam=exam.exam_uuid == other_exam.exam_uuid, decided=free):
                yield f"I10: {exam.request_uuid} and {other_exam.request_uuid} share a record, and {why}"
        named = _named_by(records[remote_id])
        for exam, identity in told:
            if named is not None and (why := _contradiction(named, identity)) and not free:
                yield f"I10: the record of {exam.request_uuid} says otherwise than the exam: {why}"


def _identity(system: AtRest, exam: Exam) -> Identity:
    organization = system.records.organizations[exam.organization_id or UUID(int=0)]
    zone = ZoneInfo(organization.timezone)
    placeholders = system.resources.settings.placeholder_identifiers
    at = exam.received_at.astimezone(zone).date()
    return read_identity(system.patient_of(exam), today=at, zone=zone, placeholders=placeholders)


def _named_by(person: Person) -> Identity | None:
    """Whom a patient's record names; a case has no name to compare."""
    if person.kind == "case":
        return None
    fields = {
        "first_name": person.fields.get("given_names"),
        "last_name": person.fields.get("family_name"),
        "date_of_birth": person.fields.get("date_of_birth"),
    }
    made = datetime.fromisoformat(person.created_at).date() + timedelta(days=1)
    return read_identity(fields, today=made)


def _two_people(one: Identity, other: Identity, *, same_exam: bool, decided: bool) -> str | None:
    """Why two exams are not of one person, or may not be taken for that."""
    if why := _contradiction(one, other):
        return None if decided else why
    known = one.identifier and one.identifier == other.identifier
    whole = all((who.given_names or who.animal_name) and who.birth_date is not None for who in (one, other))
    if known or whole or same_exam or decided:
        return None
    return "nothing says that they are of one person"


def _contradiction(one: Identity, other: Identity) -> str | None:
    if one.identifier and other.identifier and one.identifier != other.identifier:
        return "the identifiers differ"
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "the dates of birth differ"
    if one.is_animal or other.is_animal:
        # an animal that is filed as a patient carries its owner's name there
        return None
    if one.family_name and other.family_name and _letters(one.family_name) != _letters(other.family_name):
        return "the family names differ"
    given = [_letters(who.given_names) for who in (one, other)]
    if all(given) and not (given[0].startswith(given[1]) or given[1].startswith(given[0])):
        return "the given names differ"
    return None


def _letters(name: str) -> str:
    """Without case, width, blanks and the accents of scripts in which they do not make another name."""
    kept: list[str] = []
    plain = True
    for char in unicodedata.normalize("NFKD", name).casefold():
        if unicodedata.category(char) == "Mn":
            if not plain:
                kept.append(char)
            continue
        plain = unicodedata.name(char, "").startswith(("LATIN", "GREEK", "CYRILLIC"))
        if char.isalnum() or unicodedata.category(char) == "Mc":
            kept.append(char)
    return "".join(kept)


async def nothing_goes_where_it_may_not(system: AtRest) -> AsyncIterator[str]:
    """I11: at the moment of sending the account was linked there, and what names somebody was allowed to."""
    customers = {
        str(exam.request_uuid): await system.resources.hash_customer(submitted.customer_id)
        for exam in system.exams
        if (submitted := system.sandbox.clarius.exams.get(str(exam.request_uuid))) is not None
    }
    for effect in [one for kind in FILED for one in system.sandbox.journal.effects_of(kind)]:
        owner = _Owner(system, effect)
        if not owner.exams:
            continue
        at = _sent_at(system, effect)
        if not any(
            owner.was_linked(customers.get(str(exam.request_uuid), exam.customer_hash), at)
            for exam in owner.exams
        ):
            yield f"I11: {effect.kind} {effect.remote_id} reached {effect.who}, to which its account was not linked"
        if owner.names_somebody() and not owner.may_name(at):
            yield f"I11: {effect.kind} {effect.remote_id} at {effect.who} names somebody whom it must not name"


class _Owner:
    """Of which exams one effect is, and what held for them."""

    def __init__(self, system: AtRest, effect: Effect) -> None:
        self.system, self.effect = system, effect
        self.organizations = [
            organization_id for organization_id, team in system.teams.items() if team.name == effect.who
        ]
        study = self._study()
        self.subject = system.records.subjects[study.subject_id] if study else self._subject()
        self.exams = self._of_study(study) if study else self._of_subject()

    def _study(self) -> Study | None:
        uid = self.effect.detail.get("study_instance_uid")
        for study in self.system.records.studies.values():
            if study.organization_id in self.organizations and (
                study.remote_id == self.effect.remote_id or (uid and study.study_instance_uid == uid)
            ):
                return study
        return None

    def _subject(self) -> Subject | None:
        return next(
            (
                one
                for one in self.system.records.subjects.values()
                if one.organization_id in self.organizations and one.remote_id == self.effect.remote_id
            ),
            None,
        )

    def _of_study(self, study: Study) -> list[Exam]:
        return [exam for exam in self.system.exams if exam.exam_uuid == study.exam_uuid]

    def _of_subject(self) -> list[Exam]:
        if self.subject is None:
            return [exam for exam in self.system.exams if self._tells_of(exam)]
        theirs = {
            one.exam_uuid for one in self.system.records.studies.values() if one.subject_id == self.subject.id
        }
        return [
            exam
            for exam in self.system.exams
            if exam.subject_id == self.subject.id or exam.exam_uuid in theirs
        ]

    def _tells_of(self, exam: Exam) -> bool:
        """Whether a person nobody recorded, or a study, is of this exam by what it says."""
        fields = self.effect.detail.get("fields", {})
        if fields.get("source_exam_uuid") == str(exam.exam_uuid):
            return True
        patient = self.system.patient_of(exam)
        family = patient.get("last_name") if isinstance(patient, dict) else None
        return bool(family) and fields.get("family_name") == family

    def was_linked(self, customer: bytes | None, at: datetime) -> bool:
        """Whether this customer's exams could go to the effect's team at that moment."""
        return any(
            link.customer_hash == customer
            and link.organization_id in self.organizations
            and link.confirmed_at is not None
            and link.confirmed_at <= at + timedelta(seconds=CALL_SECONDS)
            and (link.ended_at is None or link.ended_at >= at - timedelta(seconds=CALL_SECONDS))
            for link in self.system.records.links
        )

    def names_somebody(self) -> bool:
        """Whether a patient's name, identifier or date of birth stands in what was sent."""
        texts = [*_texts(self.effect.detail.get("fields", {}))]
        if self.effect.kind == "aurabox.instance.create":
            instance = self.system.sandbox.aurabox.teams[self.effect.who].instances.get(self.effect.remote_id)
            texts += instance.words if instance is not None else ()
        words = {word for exam in self.exams for word in self._words(exam)}
        return any(_stands_in(word, text) for word in words for text in texts)

    def _words(self, exam: Exam) -> Iterable[str]:
        patient = self.system.patient_of(exam)
        for name, value in patient.items() if isinstance(patient, dict) else ():
            text = value.strip() if isinstance(value, str) else str(value) if isinstance(value, int) else ""
            if len(text) < LEAST_CHARACTERS or name in {"gender", "animal_type"}:
                continue
            if name != "date_of_birth":
                yield text
            elif not self._keeps_birth_dates():
                yield from (text, text.replace("-", ""))

    def _keeps_birth_dates(self) -> bool:
        kept = [one for each in self.organizations for one in self.system.records.policies.get(each, ())]
        return any(one.keep_birth_date for one in kept)

    def may_name(self, at: datetime) -> bool:
        """Whether the subject is one by name, and the policy of that moment lets it be named."""
        if self.subject is not None and self.subject.mode == Mode.PSEUDONYMOUS:
            return False
        moments = (at - timedelta(seconds=CALL_SECONDS), at)
        whose = [self.subject.organization_id] if self.subject is not None else self.organizations
        held = [self.system.records.in_force(one, moment) for one in whose for moment in moments]
        return any(one is not None and one.identity == IdentityPolicy.IDENTIFIED for one in held)


def _sent_at(system: AtRest, effect: Effect) -> datetime:
    """When it was begun to be sent: an archive long before what is in it is taken in."""
    if effect.kind != "aurabox.instance.create" or effect.detail.get("via") != "uploader":
        return effect.asked_at
    journal = system.sandbox.journal
    done = next(
        one
        for one in journal.effects[effect.sequence :]
        if one.kind == "bounce.upload.complete" and one.who == effect.who
    )
    begun = [
        one.asked_at for kind in UPLOADING for one in journal.effects_of(kind, natural_key=done.natural_key)
    ]
    return max(begun, default=effect.asked_at)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if not str(name).endswith("uid"):
                yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif value is not None:
        yield str(value)


def _stands_in(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


CHECKS: tuple[Check, ...] = (
    every_study_lies_under_the_person_of_its_filing,
    no_record_holds_two_people,
    nothing_goes_where_it_may_not,
)
