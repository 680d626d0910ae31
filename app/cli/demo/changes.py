"""What changes while an exam is under way, and who is not who they seem: scenes in which the wrong patient would be easy.

Each name of an exam says what happens, and where it ends in review what a person would do there.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from app.cli.demo.submitting import PATIENT, Submitting
from app.states import ExamState, Reason, Step
from app.store.exams import Exam
from app.store.subjects import SubjectKind

# Aurabox tells a clinic's account to wait so long: time enough to change something under its exam
MIDWAY_SECONDS = 6
ADA = {"date_of_birth": "1961-03-08", "gender": "F", "first_name": "Ada", "last_name": "Ashgrov"}
DARA = {"date_of_birth": "1975-07-21", "gender": "F", "first_name": "Dara", "last_name": "Dunmore"}
BRUNO = {"date_of_birth": "1990-11-30", "gender": "M", "first_name": "Bruno", "last_name": "Birchwood"}


def waits_for_link(exam: Exam) -> bool:
    """Whether the exam waits for its account to be linked."""
    return exam.state == ExamState.WAITING and exam.reason == Reason.LINK


def is_delivered(exam: Exam) -> bool:
    """Whether the exam is delivered."""
    return exam.state == ExamState.DELIVERED


def is_throttled(exam: Exam) -> bool:
    """Whether the exam waits because Aurabox said so."""
    return exam.state == ExamState.WAITING and exam.reason == Reason.THROTTLED


def in_review(code: str, exam: Exam) -> bool:
    """Whether a person is asked about this."""
    return exam.state == ExamState.REVIEW and exam.error_code == code


def is_downloading(exam: Exam) -> bool:
    """Whether the exam's captures are being read."""
    return exam.step == Step.DOWNLOAD


async def policy_changed(scenario: Submitting) -> None:
    """Filed by name; de-identified before the study is made. Nothing that is sent afterwards names anybody."""
    clinic = await scenario.clinics.open("Quay Clinic")
    number = scenario.next_number()
    await _told_to_wait(scenario, clinic.team, path="/api/v1/patients/*/studies")
    submitted = await scenario.submit(
        "policy changed to de-identified mid-way",
        number=number,
        customer=clinic.customer,
        kind=SubjectKind.CASE,
        team=clinic.team,
        unnamed=(f"-{number}", f"SB-00{number}"),
        leaves=PATIENT,
    )
    scenario.on(submitted, is_throttled, partial(scenario.clinics.hide_names, clinic))


async def link_moved(scenario: Submitting) -> None:
    """The account is given to another clinic while its exam waits: the exam goes along, and the old clinic gets nothing."""
    old = await scenario.clinics.open("Mill Clinic")
    new = await scenario.clinics.open("Hill Clinic", linked=False)
    await _told_to_wait(scenario, old.team, path="/api/v1/patients")
    submitted = await scenario.submit(
        "link moved mid-way, its exams go along", customer=old.customer, team=new.team
    )
    scenario.on(submitted, is_throttled, partial(scenario.clinics.move, old, to=new, under_way="refile"))


async def link_moved_and_held(scenario: Submitting) -> None:
    """The same, and nobody said that exams under way may go along."""
    old = await scenario.clinics.open("Mint Clinic")
    new = await scenario.clinics.open("Pine Clinic", linked=False)
    await _told_to_wait(scenario, old.team, path="/api/v1/patients")
    submitted = await scenario.submit(
        "link moved mid-way, held: file again there, or cancel",
        customer=old.customer,
        state=ExamState.REVIEW,
        code="link_changed",
    )
    scenario.on(submitted, is_throttled, partial(scenario.clinics.move, old, to=new, under_way="hold"))


async def patient_corrected(scenario: Submitting) -> None:
    """A misspelt name is corrected with the next exam; a person says that it is the same patient, who is updated."""
    number = scenario.next_number()
    person = {"identifier": f"SB-00{number}", **ADA}
    who: dict[str, Any] = {"number": number, "person": f"person {number}", "renamed": "Ashgrove"}
    first = await scenario.submit("a patient whose name is misspelt", patient=person, **who)
    second = await _kept_back(
        scenario,
        "name corrected, a person said: update the patient",
        patient={**person, "last_name": "Ashgrove"},
        **who,
    )
    scenario.on(first, is_delivered, partial(scenario.tell, second))
    scenario.on(second, partial(in_review, "patient_changed"), _decides(scenario, second, "update-patient"))


async def patient_archived(scenario: Submitting) -> None:
    """Between two exams somebody archives the patient in Aurabox: the second is not filed where nobody looks."""
    number = scenario.next_number()
    first = await scenario.submit("a patient who is archived afterwards", number=number)
    second = await _kept_back(
        scenario,
        "patient archived: restore it, or say where else",
        number=number,
        state=ExamState.REVIEW,
        code="patient_archived",
    )

    async def archive() -> None:
        await scenario.sandbox.archive(first["exam_uuid"])
        await scenario.tell(second)

    scenario.on(first, is_delivered, archive)


async def capture_gone(scenario: Submitting) -> None:
    """One of three captures is gone for good: the others are there, and the missing one is named."""
    number = scenario.next_number()
    submitted = await _kept_back(
        scenario,
        "a capture gone: deliver without it",
        number=number,
        captures=["jpeg", "png", "jpeg"],
        state=ExamState.REVIEW,
        code="captures_missing",
        filed=True,
        images=2,
    )
    await scenario.sandbox.arm(
        {"kind": "status", "status": 404},
        server="media",
        path=f"/captures/{submitted['captures'][1]['id']}*",
        times=None,
    )
    await scenario.tell(submitted)


async def list_in_another_order(scenario: Submitting) -> None:
    """While its second capture is read, all links die and Clarius lists the captures the other way round."""
    submitted = await _kept_back(
        scenario, "captures listed in another order mid-way", captures=["jpeg", "png", "jpeg"]
    )
    held = await scenario.sandbox.arm(
        {"kind": "hold"}, server="media", path=f"/captures/{submitted['captures'][1]['id']}*"
    )

    async def reorder() -> None:
        await scenario.sandbox.holds(held)
        await scenario.sandbox.reorder(submitted["request_uuid"])
        await scenario.sandbox.release(held)

    scenario.on(submitted, is_downloading, reorder)
    await scenario.tell(submitted)


async def two_people_with_one_identifier(scenario: Submitting) -> None:
    """An identifier that two people came with: nobody is filed under the other, and a person keeps them apart."""
    number = scenario.next_number()
    identifier = f"SB-00{number}"
    first = await scenario.submit(
        "two people with one identifier (1)", patient={"identifier": identifier, **DARA}, number=number
    )
    second = await _kept_back(
        scenario,
        "two people with one identifier (2), a person said: separate",
        patient={"identifier": identifier, **BRUNO},
    )
    scenario.on(first, is_delivered, partial(scenario.tell, second))
    scenario.on(second, partial(in_review, "identity_conflict"), _decides(scenario, second, "separate"))


async def twins_in_devanagari(scenario: Submitting) -> None:
    """रीमा and रोमा differ in one vowel sign: two patients."""
    for first_name in ("रीमा", "रोमा"):
        await scenario.submit(
            f"one of twins, {first_name} शर्मा",
            patient={
                "date_of_birth": "2020-05-05",
                "gender": "F",
                "first_name": first_name,
                "last_name": "शर्मा",
            },
        )


async def _told_to_wait(scenario: Submitting, team: str, *, path: str) -> None:
    await scenario.sandbox.arm(
        {
            "kind": "status",
            "status": 429,
            "headers": {"Retry-After": str(MIDWAY_SECONDS)},
            "body": {"message": "Slow down"},
        },
        server="aurabox",
        method="GET",
        path=path,
        team=team,
    )


async def _kept_back(scenario: Submitting, about: str, **arguments: Any) -> dict[str, Any]:
    return await scenario.submit(about, **{"listed": False, "notify_times": 0} | arguments)


def _decides(scenario: Submitting, submitted: dict[str, Any], choice: str) -> Callable[[], Awaitable[None]]:
    return partial(scenario.clinics.decide, UUID(submitted["request_uuid"]), choice)


CHANGES: tuple[tuple[Callable[[Submitting], Awaitable[None]], int], ...] = (
    (policy_changed, 1),
    (link_moved, 1),
    (link_moved_and_held, 1),
    (patient_corrected, 2),
    (patient_archived, 2),
    (capture_gone, 1),
    (list_in_another_order, 1),
    (two_people_with_one_identifier, 2),
    (twins_in_devanagari, 2),
)
"""Each scene with how many exams it submits."""
