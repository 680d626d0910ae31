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
    of_exam = {one.request_uuid: _check_exam(one, exams.get(one.request_uuid), journal) for one in expected}
    of_run = _check_run(expected, journal) + _check_people(expected, exams)
    if images:
        of_run += _check_images(expected, exams, journal)
    unknown = set(exams) - {one.request_uuid for one in expected}
    of_run += [f"request {request} was never submitted" for request in sorted(unknown)]
    return Verdict(of_exam=of_exam, of_run=of_run)


def _check_exam(one: Expected, exam: Mapping[str, Any] | None, journal: Journal) -> list[str]:
    if exam is None:
        return ["the bridge does not know it"]
    wrong = []
    if any(answer != ACCEPTED for answer in one.answers):
        wrong.append(f"the webhook answered {list(one.answers)}")
    if exam["state"] != one.state:
        wrong.append(f"is {exam['state']} ({_why(exam)}), must be {one.state}")
        return wrong
    if one.code is not None and (exam["error"] or {}).get("code") != one.code:
        wrong.append(f"is in review ({_why(exam)}), must be for {one.code}")
    if not one.has_study:
        return wrong + (["has a study in Aurabox"] if journal.studies_of(one.exam_uuid) else [])
    if exam["source"] not in one.sources:
        wrong.append(f"came by {exam['source']}")
    served = Counter(one.sha256)
    received = Counter(capture["sha256"] for capture in exam["captures"])
    arrived = sum((received & served).values())
    if arrived != (len(one.sha256) if one.images is None else one.images):
        wrong.append(f"{arrived} of {len(one.sha256)} captures arrived as served")
    return wrong + _check_delivery(one, exam["aurabox"], journal)


def _check_delivery(one: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
    wrong = []
    if where["kind"] != one.kind:
        wrong.append(f"is a {where['kind']} in Aurabox, must be a {one.kind}")
    if where["patient_id"] not in journal.created(str(where["kind"])):
        wrong.append(f"the {where['kind']} is not in Aurabox's journal")
    studies = journal.studies_of(one.exam_uuid)
    if one.unnamed:
        # what must name nobody says nothing of the exam either
        wrong += [f"has a study in Aurabox that names the exam: {study['remote_id']}" for study in studies]
        studies = [
            study for study in journal.created("study").values() if study["remote_id"] == where["study_id"]
        ]
        wrong += _names(one, where, journal)
    if len(studies) != 1:
        wrong.append(f"has {len(studies)} studies in Aurabox's journal")
    for study in studies[:1]:
        if study["remote_id"] != where["study_id"]:
            wrong.append("the study in Aurabox is another than the one on record")
        if study["detail"]["patient_id"] != where["patient_id"]:
            wrong.append("the study lies under somebody else")
        if study["detail"]["fields"].get("study_instance_uid") != where["study_instance_uid"]:
            wrong.append("the study carries another UID")
        if study["who"] != (one.team or journal.first_team):
            wrong.append(f"the study is at {study['who']}")
    return wrong + _renamed(one, where, journal)


def _names(one: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
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
        and any(word in str(effect["detail"]) for word in one.unnamed)
    ]


def _renamed(one: Expected, where: Mapping[str, Any], journal: Journal) -> list[str]:
    if one.renamed is None:
        return []
    names = [person["family_name"] for person in journal.people if person.get("id") == where["patient_id"]]
    return [f"the patient's name is {names}"] if names != [one.renamed] else []


def _check_run(expected: Sequence[Expected], journal: Journal) -> list[str]:
    """Nothing doubled, nothing extra, no key astray, and every fault did happen."""
    wrong = [f"{name.replace('_', ' ')}: {list(found)}" for name, found in journal.checks.items() if found]
    filed = [one for one in expected if one.has_study]
    for kind in SubjectKind:
        wanted = len({one.person for one in filed if one.kind == kind})
        wanted += sum(one.leaves == kind for one in filed)
        made = len(journal.created(kind))
        if made != wanted:
            wrong.append(f"{made} {kind}s were created, {wanted} must be")
    wanted, made = len({one.exam_uuid for one in filed}), len(journal.created("study"))
    if made != wanted:
        wrong.append(f"{made} studies were created, {wanted} must be")
    return wrong + [
        f"the fault {rule['kind']} on {rule['path']} acted {rule['hits']} times, not once"
        for rule in journal.faults
        if rule["hits"] != 1 and (rule["hits"] == 0 or rule.get("times") is not None)
    ]


def _check_people(expected: Sequence[Expected], exams: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One person, one patient or case; another person, another."""
    ids: dict[str, set[str]] = defaultdict(set)
    for one in expected:
        exam = exams.get(one.request_uuid)
        if exam is not None and exam["aurabox"]["patient_id"]:
            ids[one.person].add(exam["aurabox"]["patient_id"])
    wrong = [f"{person} is {len(found)} in Aurabox" for person, found in ids.items() if len(found) > 1]
    shared = Counter(one for found in ids.values() for one in found)
    return wrong + [f"{number} strangers share {one}" for one, number in shared.items() if number > 1]


def _check_images(
    expected: Sequence[Expected], exams: Mapping[str, Mapping[str, Any]], journal: Journal
) -> list[str]:
    """As many images in each study as the exam's captures; what was submitted twice is there once."""
    wanted = {
        exams[one.request_uuid]["aurabox"]["study_id"]: len(set(one.sha256))
        if one.images is None
        else one.images
        for one in expected
        if one.has_study and one.request_uuid in exams
    }
    there = {study["id"]: study["instances"] for person in journal.people for study in person["studies"]}
    return [
        f"study {study} has {there.get(study)} images in Aurabox, must have {number}"
        for study, number in wanted.items()
        if there.get(study) != number
    ]


def _why(exam: Mapping[str, Any]) -> str:
    error = exam["error"]
    told = f"{error['code']}: {error['message']}" if error else exam["reason"]
    return f"at {exam['step']}" + (f", {told}" if told else "")
