"""Two exams that create one thing at the same moment: both end with the one row that stands for it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from sqlalchemy import select, text

from app.clients.aurabox import PatientFields
from app.config.settings import Settings
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.runner import record
from app.delivery.steps.match import match
from app.delivery.steps.study import study
from app.delivery.work import Work
from app.states import Step
from app.store.organizations import Organization
from app.store.studies import Study
from app.store.subjects import Subject, SubjectKind
from app.upstreams.gate import Held
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam, hold, reread
from tests.support.wait import until

AT = {match: Step.MATCH, study: Step.STUDY}

PATIENT = {
    "identifier": "P-77",
    "first_name": "Iris",
    "last_name": "Invented",
    "date_of_birth": "1980-02-03",
    "gender": "F",
}


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with (
        Sandbox() as sandbox,
        open_bridge(
            settings_for(settings, sandbox, lease_seconds=30, request_seconds=5), sandbox, worker=False
        ) as opened,
    ):
        yield opened


@pytest.fixture
async def clinic(bridge: Bridge) -> Organization:
    return await bridge.organization()


async def work_on(bridge: Bridge, clinic: Organization, **columns: Any) -> Work:
    exam = await add_exam(bridge.resources, organization_id=clinic.id, **columns)
    return await hold(bridge.resources, exam)


@asynccontextmanager
async def no_row_enters(bridge: Bridge, table: str) -> AsyncIterator[None]:
    """While the body runs, whoever inserts into the table waits; reading goes on."""
    async with bridge.resources.sessions.begin() as session:
        await session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
        yield


async def are_waiting(bridge: Bridge, count: int) -> bool:
    """Whether so many connections to this database wait for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with bridge.resources.sessions() as session:
        return await session.scalar(waiting) == count


async def at_once(
    bridge: Bridge, table: str, step: Callable[[Work], Awaitable[Outcome]], *works: Work
) -> list[Any]:
    """Run the step for both and record its outcome; both have come as far as they can before the first may record what it made.

    As far as they can: to the insert, or to where the one that came first keeps them out.
    """
    kept_out: set[uuid.UUID] = set()

    async def run(work: Work) -> Outcome:
        async def settled() -> Outcome | None:
            try:
                outcome = await step(work)
            except Held:
                kept_out.add(work.exam_id)
                return None
            await record(work, AT[step], outcome)
            return outcome

        return await until(settled)

    async def came_far(work: Work, number: int) -> bool:
        return work.exam_id in kept_out or await are_waiting(bridge, number)

    async with no_row_enters(bridge, table):
        tasks = []
        for number, work in enumerate(works, start=1):
            tasks.append(asyncio.create_task(run(work)))
            await until(lambda work=work, wanted=number: came_far(work, wanted))
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_exams_of_one_new_patient(bridge: Bridge, clinic: Organization) -> None:
    data = bridge.resources.seal_text(json.dumps({"patient": PATIENT}))
    works = [await work_on(bridge, clinic, step=Step.MATCH, exam_data_sealed=data) for _ in range(2)]
    outcomes = await at_once(bridge, "subjects", match, *works)
    assert [type(outcome) for outcome in outcomes] == [Done, Done], outcomes
    assert len(bridge.sandbox.journal.effects_of("aurabox.patient.create")) == 1
    async with bridge.resources.sessions() as session:
        (subject,) = await session.scalars(select(Subject))
    assert {(await reread(bridge.resources, work.exam_id)).subject_id for work in works} == {subject.id}


async def subjects_of(bridge: Bridge, clinic: Organization, *family_names: str) -> list[Subject]:
    """Subjects as the step match leaves them, each with its patient in Aurabox."""
    subjects = []
    for name in family_names:
        patient = PatientFields(
            given_names="Iris", family_name=name, date_of_birth=date(1980, 2, 3), sex="female"
        )
        made = await bridge.resources.aurabox(clinic).create_patient(patient)
        subjects.append(
            Subject(
                organization_id=clinic.id,
                patient_key=name.encode(),
                kind=SubjectKind.PATIENT,
                remote_id=made.id,
                facts_sealed=bridge.resources.seal_text("{}"),
            )
        )
    async with bridge.resources.sessions.begin() as session:
        session.add_all(subjects)
    return subjects


async def test_two_submissions_of_one_exam(bridge: Bridge, clinic: Organization) -> None:
    (subject,) = await subjects_of(bridge, clinic, "Invented")
    same = {"step": Step.STUDY, "exam_uuid": uuid.uuid4(), "subject_id": subject.id}
    works = [await work_on(bridge, clinic, **same) for _ in range(2)]
    outcomes = await at_once(bridge, "studies", study, *works)
    assert [type(outcome) for outcome in outcomes] == [Done, Done], outcomes
    assert len(bridge.sandbox.journal.effects_of("aurabox.study.create")) == 1
    async with bridge.resources.sessions() as session:
        (recorded,) = await session.scalars(select(Study))
    assert {(await reread(bridge.resources, work.exam_id)).study_id for work in works} == {recorded.id}


async def test_two_submissions_of_one_exam_for_two_people(bridge: Bridge, clinic: Organization) -> None:
    exam_uuid = uuid.uuid4()
    subjects = await subjects_of(bridge, clinic, "Invented", "Imagined")
    works = [
        await work_on(bridge, clinic, step=Step.STUDY, exam_uuid=exam_uuid, subject_id=subject.id)
        for subject in subjects
    ]
    first, second = await at_once(bridge, "studies", study, *works)
    assert isinstance(first, Done)
    assert isinstance(second, NeedsPerson)
    assert second.code == "study_of_other_subject"
    async with bridge.resources.sessions() as session:
        (recorded,) = await session.scalars(select(Study))
    assert recorded.subject_id == subjects[0].id
    assert (await reread(bridge.resources, works[0].exam_id)).study_id == recorded.id
    assert (await reread(bridge.resources, works[1].exam_id)).study_id is None
