"""Each check of whose everything is, of where it may go and of what is claimed finds a breach that is planted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import func, update

from app.config.settings import Settings
from app.states import ExamState, Reason
from app.store.base import in_seconds
from app.store.captures import Capture
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import Organization, Policy
from app.store.subjects import Mode, Subject
from app.store.upstreams import refuse
from tests.support.at_rest import AtRest
from tests.support.checker import violations
from tests.support.clinic import Clinic, open_clinic
from tests.support.exams import add_exam
from tests.support.linked import add_link

ANN = {
    "identifier": "P-1001",
    "date_of_birth": "1980-01-02",
    "gender": "F",
    "first_name": "Annabel",
    "last_name": "Ashgrove",
}
EVE = {**ANN, "identifier": "P-2002", "first_name": "Evelyn", "last_name": "Elmstead"}


@dataclass
class Delivered:
    """Two exams of one patient and one of another, all delivered and sound."""

    clinic: Clinic
    system: AtRest
    exams: list[Exam]

    async def change(self, *statements: object) -> None:
        async with self.system.resources.sessions.begin() as session:
            for statement in statements:
                await session.execute(statement)

    async def found(self) -> str:
        lines = await violations(self.system)
        return "\n".join(lines)


@pytest.fixture
async def delivered(settings: Settings) -> AsyncIterator[Delivered]:
    async with open_clinic(settings) as clinic:
        exams = [await clinic.filed(patient) for patient in (ANN, ANN, EVE)]
        system = AtRest(resources=clinic.bridge.resources, sandbox=clinic.bridge.sandbox)
        assert [exam.state for exam in exams] == [ExamState.DELIVERED] * 3
        assert await violations(system) == []
        yield Delivered(clinic, system, exams)


async def a_study_under_somebody_else(told: Delivered) -> None:
    one, other = told.clinic.people
    moved = one.studies.popitem()
    other.studies[moved[0]] = moved[1]


async def an_exam_of_somebody_else(told: Delivered) -> None:
    at_clarius = told.system.sandbox.clarius.exams[str(told.exams[1].request_uuid)]
    at_clarius.shape = replace(at_clarius.shape, patient=lambda _: EVE)


async def a_record_that_names_another(told: Delivered) -> None:
    told.clinic.people[0].fields["family_name"] = "Birchwood"


async def people_of_whom_nothing_is_known(told: Delivered) -> None:
    for exam in told.exams[:2]:
        at_clarius = told.system.sandbox.clarius.exams[str(exam.request_uuid)]
        at_clarius.shape = replace(at_clarius.shape, patient=lambda _: {"gender": "F"})


async def a_subject_of_another_study(told: Delivered) -> None:
    await told.change(
        update(Exam).where(Exam.id == told.exams[0].id).values(subject_id=told.exams[2].subject_id)
    )


async def a_link_that_had_ended(told: Delivered) -> None:
    await told.change(update(Link).values(ended_at=in_seconds(-60)))


async def a_link_to_somebody_else(told: Delivered) -> None:
    bridge = told.clinic.bridge
    other = await bridge.organization("Other Clinic", team=bridge.sandbox.team("Team Two"), images="none")
    await told.change(update(Link).values(organization_id=other.id))


async def a_pseudonymous_subject_that_is_named(told: Delivered) -> None:
    await told.change(update(Subject).values(mode=Mode.PSEUDONYMOUS))


async def a_policy_that_hid_names(told: Delivered) -> None:
    await told.change(update(Policy).values(identity="deidentified"))


async def a_review_without_decisions(told: Delivered) -> None:
    await told.change(
        update(Exam)
        .where(Exam.id == told.exams[0].id)
        .values(state=ExamState.REVIEW, error_code="unheard_of")
    )


async def a_decision_without_data(told: Delivered) -> None:
    values = {"state": ExamState.REVIEW, "error_code": "identity_conflict", "exam_data_sealed": None}
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(**values))


async def a_failure_without_a_reason(told: Delivered) -> None:
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(state=ExamState.FAILED))


async def a_wait_without_an_end(told: Delivered) -> None:
    values = {"state": ExamState.WAITING, "reason": Reason.PAUSED, "due_at": None}
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(**values))


async def a_wait_for_a_link_that_is_there(told: Delivered) -> None:
    values = {"state": ExamState.WAITING, "reason": Reason.LINK}
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(**values))


async def a_pause_that_nobody_ends(told: Delivered) -> None:
    async with told.system.resources.sessions.begin() as session:
        await refuse(session, f"aurabox:{told.clinic.organization.id}", why="401", probe_seconds=3600)


async def a_pause_of_nobody(told: Delivered) -> None:
    await a_pause_that_nobody_ends(told)
    await told.change(update(Organization).values(removed_at=func.now()))


async def a_count_of_nothing(told: Delivered) -> None:
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(seen_count=2, sent_count=2))


async def a_receipt_that_nobody_has(told: Delivered) -> None:
    await told.change(update(Exam).where(Exam.id == told.exams[0].id).values(report_state="sent"))


async def a_study_that_claims_images(told: Delivered) -> None:
    name = told.system.resources.settings.aurabox_study_fields["number_of_images"]
    assert name is not None
    next(iter(told.clinic.people[0].studies.values())).fields[name] = 3


async def a_verification_that_never_was(told: Delivered) -> None:
    await add_exam(
        told.system.resources,
        state=ExamState.CANCELLED,
        due_in=None,
        verified_at=told.exams[0].verified_at,
    )


async def a_confirmation_that_never_was(told: Delivered) -> None:
    await add_link(told.system.resources, "a-customer-unheard-of", told.clinic.organization)


async def a_delivery_into_nothing(told: Delivered) -> None:
    for person in told.clinic.people:
        person.studies.clear()


PLANTED: dict[str, list[Callable[[Delivered], Awaitable[None]]]] = {
    "I2": [a_delivery_into_nothing],
    "I10": [
        a_study_under_somebody_else,
        an_exam_of_somebody_else,
        a_record_that_names_another,
        people_of_whom_nothing_is_known,
        a_subject_of_another_study,
    ],
    "I11": [
        a_link_that_had_ended,
        a_link_to_somebody_else,
        a_pseudonymous_subject_that_is_named,
        a_policy_that_hid_names,
    ],
    "I12": [
        a_review_without_decisions,
        a_decision_without_data,
        a_failure_without_a_reason,
        a_wait_without_an_end,
        a_wait_for_a_link_that_is_there,
        a_pause_that_nobody_ends,
        a_pause_of_nobody,
    ],
    "I13": [
        a_count_of_nothing,
        a_receipt_that_nobody_has,
        a_study_that_claims_images,
        a_verification_that_never_was,
        a_confirmation_that_never_was,
    ],
}


@pytest.mark.parametrize(
    ("invariant", "plant"),
    [(invariant, plant) for invariant, each in PLANTED.items() for plant in each],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_a_planted_breach_is_found(
    delivered: Delivered, invariant: str, plant: Callable[[Delivered], Awaitable[None]]
) -> None:
    await plant(delivered)
    assert f"{invariant}: " in await delivered.found()


async def test_bytes_that_are_not_those_that_were_served_are_found(settings: Settings) -> None:
    async with open_clinic(settings) as clinic:
        bridge = clinic.bridge
        submitted = await bridge.sandbox.submit_exam(customer=clinic.customer, captures=("jpeg", "png"))
        exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
        system = AtRest(resources=bridge.resources, sandbox=bridge.sandbox)
        assert await violations(system) == []
        async with bridge.resources.sessions.begin() as session:
            await session.execute(update(Capture).where(Capture.exam_id == exam.id).values(sha256="0" * 64))
        assert len([line for line in await violations(system) if line.startswith("I7: ")]) == 2
