"""Each review and each failure has a way out that was tried, and what was decided before holds beside what is decided after."""

import ast
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from app.clients.aurabox import PatientFields
from app.config.settings import Settings
from app.delivery.actions import RETRY, act_on, decide
from app.delivery.decisions import MENDED, OF_STUDIES, WAYS
from app.delivery.possible import open_ways
from app.errors import Misuse
from app.imaging.uids import study_uid
from app.states import ExamState, Step
from app.store.audit import By
from app.store.exams import Exam
from app.store.filings import Choice
from sandbox import faults
from tests.support.bridge import open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.clinic import ANN, Clinic, open_clinic
from tests.support.rig import SHORT
from tests.support.wait import until

ROOT = Path(__file__).parents[2]
BERTA = {
    "identifier": "P-2",
    "date_of_birth": "1975-06-07",
    "gender": "F",
    "first_name": "Berta",
    "last_name": "Birch",
}
BOB = ANN | {"first_name": "Bob", "last_name": "Birch", "gender": "M"}
HERE = "tests/delivery/test_ways_out.py"
WHO = "tests/delivery/test_who_it_is.py"
FILING = "tests/delivery/test_filing.py"

TRIED: dict[tuple[str, str], str] = {
    ("identity_conflict", "separate"): f"{WHO}::test_who_is_kept_separate_lies_apart",
    ("identity_conflict", "same"): f"{HERE}::test_one_person_after_all",
    ("patient_changed", "update-patient"): f"{WHO}::test_a_corrected_name_is_updated_or_asked_about",
    ("patient_changed", "same"): f"{WHO}::test_a_corrected_name_is_updated_or_asked_about",
    ("patient_changed", "separate"): f"{WHO}::test_a_corrected_name_is_updated_or_asked_about",
    ("patient_changed", "refile"): f"{FILING}::test_exam_data_that_names_somebody_else_when_read_again",
    (
        "patient_incomplete",
        "as-case",
    ): f"{WHO}::test_an_incomplete_patient_that_is_held_becomes_a_case_by_a_word",
    (
        "link_changed",
        "refile",
    ): f"{FILING}::test_a_link_that_moved_takes_nothing_to_the_clinic_it_was_taken_from",
    (
        "policy_changed",
        "refile",
    ): f"{FILING}::test_a_stricter_policy_after_images_left_is_a_persons_to_decide",
    ("patient_archived", "separate"): f"{HERE}::test_a_new_patient_beside_the_archived_one",
    ("several_matches", "separate"): f"{HERE}::test_none_of_several",
    ("several_matches", "same"): f"{WHO}::test_several_matches_are_settled_by_naming_one_or_by_none",
    (
        "study_of_other_subject",
        "refile",
    ): f"{WHO}::test_a_corrected_patient_gets_a_study_of_its_own_by_a_word",
    ("study_of_other_subject", "same"): f"{HERE}::test_the_earlier_study_takes_the_images",
    ("captures_missing", "without-captures"): (
        "tests/delivery/images/test_bad_captures.py::test_good_ones_are_delivered_and_bad_ones_named"
    ),
    ("images_not_listed", "without-captures"): (
        "tests/delivery/images/test_dicomweb_faults.py::test_a_server_that_never_lists_is_a_persons_matter"
    ),
    ("study_uid_differs", "without-captures"): f"{HERE}::test_a_study_that_was_given_another_uid",
    ("several studies", "same"): f"{HERE}::test_one_of_several_studies",
}
"""Each decision that a review can take, and the test that takes it to the delivery."""

MENDING: dict[str, str] = {
    "wrong_answer": f"{FILING}::test_exam_data_of_another_request_is_not_filed",
    "burned_in_unknown": "tests/delivery/images/test_identity.py::test_unknown_pixels_wait_for_somebodys_word",
    "study_not_searchable": f"{HERE}::test_a_study_that_could_not_be_looked_for",
}
FAILED = f"{HERE}::test_what_failed_goes_on_once_it_is_mended"
FAILING: dict[str, str] = {
    "too_many_captures": FAILED,
    "retries_over": FAILED,
    "internal": FAILED,
}
"""Codes of `failed` that stand in the source; the others are those of errors, which end in the same line of it."""

# of a delivered exam, which it stays whatever becomes of its receipt
OF_RECEIPTS = {"receipt_unclear"}


def codes_in_source(callee: str) -> Iterator[tuple[str, str]]:
    """(code, place) of each `NeedsPerson(…, code=…)` or `Rest(ExamState.FAILED, …)` of the steps, constants followed."""
    files = sorted((ROOT / "app/delivery").rglob("*.py"))
    trees = {path: ast.parse(path.read_text("utf-8")) for path in files}
    constants = {
        node.targets[0].id: node.value.value
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != callee:
                continue
            for code in _codes_of(node, constants):
                yield code, f"{path.name}:{node.lineno}"


def _codes_of(call: ast.Call, constants: dict[str, str]) -> Iterator[str]:
    said = next((one.value for one in call.keywords if one.arg == "code"), None)
    if said is None and ast.unparse(call.args[0]) == "ExamState.FAILED":
        said = call.args[1]
    for part in ast.walk(said) if said is not None else ():
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.Name) and part.id in constants:
            yield constants[part.id]


def test_each_review_has_a_way_out() -> None:
    found = dict(codes_in_source("NeedsPerson"))
    assert len(found) > 10, "the reader found too few codes to mean anything"
    ends = WAYS.keys() | MENDED.keys() | OF_RECEIPTS
    assert {code: place for code, place in found.items() if code not in ends} == {}
    assert not WAYS.keys() & MENDED.keys()


def test_each_way_out_was_tried() -> None:
    ways = {(code, str(choice)) for code, choices in WAYS.items() for choice in choices}
    assert ways | {("several studies", str(choice)) for choice in OF_STUDIES} == TRIED.keys()
    assert {choice for _, choice in TRIED} == set(Choice)
    assert MENDING.keys() == MENDED.keys()


def test_each_failure_was_tried_again() -> None:
    assert {code for code, _ in codes_in_source("Rest")} == FAILING.keys()


@pytest.mark.parametrize("place", sorted({*TRIED.values(), *MENDING.values(), *FAILING.values()}))
def test_what_is_said_to_show_it_is_there(place: str) -> None:
    path, _, name = place.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}, place


async def settled(clinic: Clinic, exam: Exam, choice: str, *, subject: str | None = None) -> Exam:
    """Decide, and what comes of it; the exam must have had this way, and been told what it does."""
    async with clinic.bridge.resources.sessions() as session:
        (ways,) = (await open_ways(session, [exam])).values()
    assert choice in {way.choice for way in ways}, ways
    await decide(clinic.bridge.resources, exam.request_uuid, choice, by=By("test"), subject=subject)

    async def ended() -> Exam:
        row = await clinic.bridge.exam(str(exam.request_uuid))
        assert row.state in {ExamState.DELIVERED, ExamState.REVIEW}, f"{row.state} at {row.step}"
        assert row.lease_until is None
        assert row.filing != exam.filing
        return row

    return await until(ended, timeout=60)


async def waiting_at(clinic: Clinic, request_uuid: str, step: Step) -> Exam:
    async def there() -> Exam:
        exam = await clinic.bridge.exam(request_uuid)
        assert (exam.step, exam.state) == (step, ExamState.WAITING)
        assert exam.lease_until is None
        return exam

    return await until(there, timeout=60)


async def test_one_person_after_all(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        await clinic.filed(ANN)
        exam = await clinic.filed(BOB)
        assert exam.error_code == "identity_conflict"
        assert (await settled(clinic, exam, "same")).state == ExamState.DELIVERED
        assert [(one.fields["given_names"], len(one.studies)) for one in clinic.people] == [("Ann", 2)]


async def test_a_second_decision_keeps_the_first(settings: Settings) -> None:
    """Two people of one number who say too little for a patient, where such are held: two questions, asked once each."""
    async with open_clinic(settings, incomplete="hold") as clinic:
        exam = await clinic.filed({"identifier": "P-1", "date_of_birth": "1980-01-02"})
        assert (await settled(clinic, exam, "as-case")).state == ExamState.DELIVERED
        exam = await clinic.filed({"identifier": "P-1", "date_of_birth": "1991-03-04"})
        assert exam.error_code == "identity_conflict"
        exam = await settled(clinic, exam, "separate")
        assert exam.error_code == "patient_incomplete"
        exam = await settled(clinic, exam, "as-case")
        assert (exam.state, exam.error_code) == (ExamState.DELIVERED, None)
        assert [len(person.studies) for person in clinic.people] == [1, 1]


async def test_a_new_patient_beside_the_archived_one(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        await clinic.filed(ANN)
        (old,) = clinic.people
        old.archived = True
        exam = await clinic.filed(ANN)
        assert exam.error_code == "patient_archived"
        assert (await settled(clinic, exam, "separate")).state == ExamState.DELIVERED
        assert [(one.archived, len(one.studies)) for one in clinic.people] == [(True, 1), (False, 1)]


async def test_none_of_several(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        client = clinic.bridge.resources.aurabox(clinic.organization)
        fields = PatientFields(
            given_names="Ann", family_name="Ash", date_of_birth=date(1980, 1, 2), sex="female"
        )
        for _ in range(2):
            await client.create_patient(fields)
        exam = await clinic.filed(ANN)
        assert exam.error_code == "several_matches"
        assert (await settled(clinic, exam, "separate")).state == ExamState.DELIVERED
        assert [len(person.studies) for person in clinic.people] == [0, 0, 1]


async def test_the_earlier_study_takes_the_images(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        first = await clinic.filed(ANN)
        exam = await clinic.filed(BERTA, exam_uuid=str(first.exam_uuid))
        assert exam.error_code == "study_of_other_subject"
        exam = await settled(clinic, exam, "same")
        assert (exam.state, exam.study_id) == (ExamState.DELIVERED, first.study_id)
        assert len([one for one in clinic.people if one.studies]) == 1


async def test_one_of_several_studies(settings: Settings) -> None:
    """Somebody made a second study with our UID: the person who decides names one, and the exam goes there."""
    async with open_clinic(settings) as clinic:
        await clinic.filed(ANN)
        client = clinic.bridge.resources.aurabox(clinic.organization)
        (person,) = clinic.people
        exam_uuid = uuid4()
        name = settings.aurabox_study_fields["study_instance_uid"]
        fields = {str(name): study_uid(exam_uuid, deidentify_key=None)}
        there = [
            (await client.create_study(person.id, fields | {"description": str(n)})).id for n in range(2)
        ]
        exam = await clinic.filed(ANN, exam_uuid=str(exam_uuid))
        assert (exam.error_code, exam.step) == ("several_matches", Step.STUDY)
        with pytest.raises(Misuse, match="does not wait"):
            await decide(clinic.bridge.resources, exam.request_uuid, "separate", by=By("test"))
        with pytest.raises(Misuse, match=there[0]):
            await decide(clinic.bridge.resources, exam.request_uuid, "same", by=By("test"))
        assert (await settled(clinic, exam, "same", subject=there[1])).state == ExamState.DELIVERED
        assert len(person.studies) == 3, "and none was made"


async def test_a_study_that_was_given_another_uid(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        held = clinic.bridge.sandbox.faults.arm(
            faults.hold(), server="aurabox", method="GET", path="*/studies/*", times=1
        )
        submitted = await clinic.submit(ANN)
        await until(lambda: held.waiting == 1, timeout=60)
        (study,) = (study for person in clinic.people for study in person.studies.values())
        study.fields[str(settings.aurabox_study_fields["study_instance_uid"])] = "2.25.1"
        held.release()
        exam = await clinic.rests(submitted)
        assert exam.error_code == "study_uid_differs"
        assert (await settled(clinic, exam, "without-captures")).state == ExamState.DELIVERED


async def test_a_study_that_could_not_be_looked_for(settings: Settings) -> None:
    """Studies carried none of our keys, and the answer to a create was lost: named, they are looked for."""
    names = settings.aurabox_study_fields
    without = names | {"study_instance_uid": None, "accession_number": None}
    async with Sandbox() as sandbox:
        nameless = settings_for(settings, sandbox, **SHORT, aurabox_study_fields=without)
        async with open_bridge(nameless, sandbox) as bridge:
            customer = await bridge.customer(await bridge.organization(images="none"))
            sandbox.faults.arm(faults.cut_before(), server="aurabox", method="POST", path="*/studies")
            submitted = await sandbox.submit_exam(customer=customer, patient=ANN, captures=())
            exam = await bridge.reaches(submitted.request_uuid, ExamState.REVIEW, timeout=60)
            assert exam.error_code == "study_not_searchable"
        async with open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as bridge:
            await act_on(bridge.resources, exam.request_uuid, RETRY, by=By("test"))
            await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
        assert len(sandbox.journal.effects_of("aurabox.study.create")) == 1


@pytest.mark.parametrize("cause", ["too_many_captures", "retries_over", "internal", "an error's own"])
async def test_what_failed_goes_on_once_it_is_mended(settings: Settings, cause: str) -> None:
    async with open_clinic(settings, incomplete="hold") as clinic:
        sandbox, resources = clinic.bridge.sandbox, clinic.bridge.resources
        more: dict[str, Any] = {}
        if cause == "too_many_captures":
            more["data"] = {"patient": ANN, "captures": [{"url": None}] * 2001}
        if cause == "an error's own":
            sandbox.faults.arm(
                faults.answer(422, {"message": "no"}), server="aurabox", method="POST", path="*/patients"
            )
        if cause == "internal":
            submitted = await clinic.submit({"identifier": "P-7"})
            await clinic.bridge.reaches(submitted.request_uuid, ExamState.REVIEW)
            broken = {"exam_data_sealed": resources.seal_text("[]")}
            await change(clinic, submitted.request_uuid, **broken)
            await decide(resources, UUID(submitted.request_uuid), "as-case", by=By("test"))
        elif cause == "retries_over":
            sandbox.faults.arm(faults.answer(503), server="aurabox", path="*/patients*", times=None)
            submitted = await clinic.submit(ANN)
            await waiting_at(clinic, submitted.request_uuid, Step.MATCH)
            await change(clinic, submitted.request_uuid, tried_seconds=1e9)
        else:
            submitted = await clinic.submit(ANN, **more)
        exam = await clinic.bridge.reaches(submitted.request_uuid, ExamState.FAILED, timeout=60)
        if cause in {"too_many_captures", "internal"}:
            assert exam.error_code == cause
        sandbox.faults.clear()
        if cause == "too_many_captures":
            sandbox.clarius.exams[submitted.request_uuid].data = {"patient": ANN, "captures": []}
        if cause == "internal":
            await change(clinic, submitted.request_uuid, exam_data_sealed=None)
        await act_on(resources, exam.request_uuid, RETRY, by=By("test"))
        await clinic.bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)


async def change(clinic: Clinic, request_uuid: str, **columns: Any) -> None:
    async with clinic.bridge.resources.sessions.begin() as session:
        await session.execute(update(Exam).where(Exam.request_uuid == UUID(request_uuid)).values(**columns))
