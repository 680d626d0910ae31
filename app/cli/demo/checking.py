"""Compares what the bridge says became of each exam with what the vendors' journal holds; pure, no I/O."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.cli.demo.submitting import Expected
from app.store.subjects import SubjectKind

ACCEPTED = 202


@dataclass(frozen=True)
class Journal:
    """What the vendors say: accepted effects, what must be empty, armed faults, people with their studies."""

    effects: Sequence[Mapping[str, Any]]
    checks: Mapping[str, Sequence[Any]]
    faults: Sequence[Mapping[str, Any]]
    people: Sequence[Mapping[str, Any]]
    first_team: str

    def created(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """The creates of one kind (`patient`, `case`, `study`), by the id that Aurabox gave."""
        return {
            effect["remote_id"]: effect
            for effect in self.effects
            if effect["kind"] == f"aurabox.{kind}.create"
        }

    def studies_of(self, exam_uuid: str) -> list[Mapping[str, Any]]:
        """The studies that were created for an exam."""
        return [
            effect
            for effect in self.created("study").values()
            if effect["detail"]["fields"].get("source_exam_uuid") == exam_uuid
        ]


@dataclass(frozen=True)
class Verdict:
    """What differs: for each request, and for the run as a whole. Nothing anywhere: all is right."""

    of_exam: Mapping[str, list[str]]
    of_run: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.of_run and not any(self.of_exam.values())


def check(
    expected: Sequence[Expected], exams: Mapping[str, Mapping[str, Any]], journal: Journal, *, images: bool
) -> Verdict:
    """`exams` are the bridge's own descriptions by request UUID; `images`: captures must be in Aurabox too."""
    of_exam = {
        exam.request_uuid: _check_exam(exam, exams.get(exam.request_uuid), journal) for exam in expected
    }
    of_run = _check_run(expected, journal) + _check_people(expected, exams)
    if images:
        of_run += _check_images(expected, exams, journal)
    unknown = set(exams) - {exam.request_uuid for exam in expected}
    of_run += [f"request {request} was never submitted" for request in sorted(unknown)]
    return Verdict(of_exam=of_exam, of_run=of_run)


def _check_exam(expected: Expected, exam: Mapping[str, Any] | None, journal: Journal) -> list[str]:
    if exam is None:
        return ["the bridge does not know it"]
    wrong = []
    if any(answer != ACCEPTED for answer in expected.answers):
        wrong.append(f"the webhook answered {list(expected.answers)}")
    if exam["state"] != expected.state:
        wrong.append(f"is {exam['state']} ({_why(exam)}), must be {expected.state}")
        return wrong
    if expected.code is not None and (exam["error"] or {}).get("code") != expected.code:
        wrong.append(f"is in review ({_why(exam)}), must be for {expected.code}")
    if not expected.has_study:
        return wrong + (["has a study in Aurabox"] if journal.studies_of(expected.exam_uuid) else [])
    if exam["source"] not in expected.sources:
        wrong.append(f"came by {exam['source']}")
    served = Counter(expected.sha256)
    received = Counter(capture["sha256"] for capture in exam["captures"])
    arrived = sum((received & served).values())
    if arrived != (len(expected.sha256) if expected.images is None else expected.images):
        wrong.append(f"{arrived} of {len(expected.sha256)} captures arrived as served")
    return wrong + _check_delivery(expected, exam["aurabox"], journal)


def _check_delivery(expected: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
    wrong = []
    if where["kind"] != expected.kind:
        wrong.append(f"is a {where['kind']} in Aurabox, must be a {expected.kind}")
    if where["patient_id"] not in journal.created(str(where["kind"])):
        wrong.append(f"the {where['kind']} is not in Aurabox's journal")
    studies = journal.studies_of(expected.exam_uuid)
    if expected.unnamed:
        # what must name nobody says nothing of the exam either
        wrong += [f"has a study in Aurabox that names the exam: {study['remote_id']}" for study in studies]
        studies = [
            study for study in journal.created("study").values() if study["remote_id"] == where["study_id"]
        ]
        wrong += _names(expected, where, journal)
    if len(studies) != 1:
        wrong.append(f"has {len(studies)} studies in Aurabox's journal")
    for study in studies[:1]:
        if study["remote_id"] != where["study_id"]:
            wrong.append("the study in Aurabox is another than the one on record")
        if study["detail"]["patient_id"] != where["patient_id"]:
            wrong.append("the study lies under somebody else")
        if study["detail"]["fields"].get("study_instance_uid") != where["study_instance_uid"]:
            wrong.append("the study carries another UID")
        if study["who"] != (expected.team or journal.first_team):
            wrong.append(f"the study is at {study['who']}")
    return wrong + _renamed(expected, where, journal)


def _names(expected: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
    """What holds a word that it must not hold: the subject, the study or an image of it."""
    ids = {where["patient_id"], where["study_id"]}
    return [
        f"{effect['kind']} names somebody"
        for effect in journal.effects
        if effect["kind"].startswith("aurabox.")
        and (
            effect["remote_id"] in ids
            or effect["detail"].get("study_instance_uid") == where["study_instance_uid"]
        )
        and any(word in str(effect["detail"]) for word in expected.unnamed)
    ]


def _renamed(expected: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
    if expected.renamed is None:
        return []
    names = [person["family_name"] for person in journal.people if person.get("id") == where["patient_id"]]
    return [f"the patient's name is {names}"] if names != [expected.renamed] else []


def _check_run(expected: Sequence[Expected], journal: Journal) -> list[str]:
    """Nothing doubled, nothing extra, no key astray, and every fault did happen."""
    wrong = [
        f"{name.replace('_', ' ')}: {list(problems)}" for name, problems in journal.checks.items() if problems
    ]
    filed = [exam for exam in expected if exam.has_study]
    for kind in SubjectKind:
        count = len({exam.person for exam in filed if exam.kind == kind})
        count += sum(exam.leaves == kind for exam in filed)
        created = len(journal.created(kind))
        if created != count:
            wrong.append(f"{created} {kind}s were created, {count} must be")
    count, created = len({exam.exam_uuid for exam in filed}), len(journal.created("study"))
    if created != count:
        wrong.append(f"{created} studies were created, {count} must be")
    return wrong + [
        f"the fault {rule['kind']} on {rule['path']} acted {rule['hits']} times, not once"
        for rule in journal.faults
        if rule["hits"] != 1 and (rule["hits"] == 0 or rule.get("times") is not None)
    ]


def _check_people(expected: Sequence[Expected], exams: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One person, one patient or case; another person, another."""
    ids: dict[str, set[str]] = defaultdict(set)
    for submission in expected:
        exam = exams.get(submission.request_uuid)
        if exam is not None and exam["aurabox"]["patient_id"]:
            ids[submission.person].add(exam["aurabox"]["patient_id"])
    wrong = [f"{person} is {len(people)} in Aurabox" for person, people in ids.items() if len(people) > 1]
    shared = Counter(identifier for people in ids.values() for identifier in people)
    return wrong + [
        f"{number} strangers share {identifier}" for identifier, number in shared.items() if number > 1
    ]


def _check_images(
    expected: Sequence[Expected], exams: Mapping[str, Mapping[str, Any]], journal: Journal
) -> list[str]:
    """As many images in each study as the exam's captures; what was submitted twice is there once."""
    image_counts = {
        exams[exam.request_uuid]["aurabox"]["study_id"]: len(set(exam.sha256))
        if exam.images is None
        else exam.images
        for exam in expected
        if exam.has_study and exam.request_uuid in exams
    }
    there = {study["id"]: study["instances"] for person in journal.people for study in person["studies"]}
    return [
        f"study {study} has {there.get(study)} images in Aurabox, must have {number}"
        for study, number in image_counts.items()
        if there.get(study) != number
    ]


def _why(exam: Mapping[str, Any]) -> str:
    error = exam["error"]
    reason = f"{error['code']}: {error['message']}" if error else exam["reason"]
    return f"at {exam['step']}" + (f", {reason}" if reason else "")
