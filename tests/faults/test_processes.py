"""Processes killed, frozen and racing each other: rows 1, 2, 5, 8, 9, 10, 24 of docs/faults.md, invariants at the end of each."""

import asyncio
import json
import signal
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select

from app.config.settings import Settings
from app.states import ExamState
from app.store.claims import Claim
from app.store.exams import Exam
from sandbox import faults
from tests.support.exams import history
from tests.support.processes import Zygote
from tests.support.rig import Rig, open_rig
from tests.support.wait import until

pytestmark = pytest.mark.slow


async def linked(rig: Rig, **options: Any) -> str:
    """A customer of a clinic; needs a worker."""
    return await rig.customer(await rig.organization(**options))


@pytest.mark.row(1)
async def test_the_api_dies_between_commit_and_ring(rig: Rig) -> None:
    api = await rig.api("inbox:between_commit_and_ring")
    rig.worker()
    customer = await linked(rig)
    submitted = await rig.sandbox.submit_exam(customer=customer)
    assert submitted.answers == (None,)
    await api.dies_by_kill()
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    await rig.ends_well()


@pytest.mark.row(2)
async def test_the_api_dies_before_the_commit(settings: Settings, zygote: Zygote, tmp_path) -> None:
    async with open_rig(settings, zygote, tmp_path, clarius_poll_interval=1.0) as rig:
        api = await rig.api("inbox:before_commit")
        rig.worker()
        customer = await linked(rig)
        submitted = await rig.sandbox.submit_exam(customer=customer)
        assert submitted.answers == (None,)
        await api.dies_by_kill()
        exam = await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
        assert exam.source == "poll"
        await rig.ends_well()


@pytest.mark.row(5)
async def test_sigterm_gives_back_or_finishes(rig: Rig) -> None:
    await rig.api()
    worker = rig.worker()
    customer = await linked(rig)
    held = rig.sandbox.faults.arm(faults.hold(), server="media", times=None)
    submitted = await rig.sandbox.submit_exam(customer=customer, captures=("jpeg", "png"))
    for _ in range(3):
        await until(lambda held=held: held.waiting > 0, timeout=60)
        worker.signal(signal.SIGTERM)
        successor = rig.worker()
        # what it waits for does not come, so it must give the exam back when its patience ends
        held.release()
        assert await worker.ended(timeout=90) == 0
        worker = successor
        if (await rig.exam(submitted.request_uuid)).state == ExamState.DELIVERED:
            break
        held = rig.sandbox.faults.arm(faults.hold(), server="media", times=None)
    rig.sandbox.faults.clear()
    exam = await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    assert (exam.attempts, exam.deaths) == (0, 0)
    await rig.ends_well()


@pytest.mark.row(8)
async def test_one_notification_many_times_and_one_exam_under_many_forged_ids(rig: Rig) -> None:
    await rig.api()
    rig.worker()
    customer = await linked(rig)
    submitted = await rig.sandbox.submit_exam(customer=customer, notify_times=0)
    answers = await rig.sandbox.notify(submitted.request_uuid, times=1000, at_once=True)
    # a host under load may refuse some in time; what it takes it keeps, once
    assert 202 in answers
    assert set(answers) <= {202, 503, None}
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=90)
    assert len(rig.sandbox.journal.effects_of("aurabox.study.create")) == 1
    async with rig.resources.sessions() as session:
        assert (await session.execute(select(func.count()).select_from(Exam))).scalar_one() == 1

    looks = len(rig.sandbox.journal.requests_to("clarius", "GET", "*/exams/accessible/*"))
    forged = [
        json.dumps({**submitted.notification, "request_uuid": str(uuid.UUID(int=number + 1))}).encode()
        for number in range(200)
    ]
    answers = await asyncio.gather(*(rig.sandbox.notify_raw(body) for body in forged))
    taken = {status for answer in answers for status in answer}
    assert taken <= {202, 503, None}

    async def all_refuted() -> bool:
        async with rig.resources.sessions() as session:
            left = select(func.count()).select_from(Exam).where(Exam.state != ExamState.UNVERIFIED)
            return (await session.execute(left)).scalar_one() == 1

    await until(all_refuted, timeout=90, what="200 forged requests end as unverified")
    looked = len(rig.sandbox.journal.requests_to("clarius", "GET", "*/exams/accessible/*")) - looks
    # one look serves all that wait: a few a second at most, however many were forged
    assert looked < 200
    assert len(rig.sandbox.journal.effects_of("aurabox.study.create")) == 1
    await rig.ends_well()


ROUNDS = 12


@pytest.mark.row(9)
async def test_two_exams_of_one_new_patient_at_once(rig: Rig) -> None:
    await rig.api()
    workers = [rig.worker(), rig.worker()]
    customer = await linked(rig)
    for number in range(ROUNDS):
        # a round with a lost answer now and then: the other exam must still find the one patient
        if number % 4 == 3:
            rig.sandbox.faults.arm(faults.cut_after(), server="aurabox", method="POST", path="*/patients")
        both = await asyncio.gather(
            *(rig.sandbox.submit_exam(customer=customer, number=5000 + number) for _ in range(2))
        )
        assert [one.answers for one in both] == [(202,), (202,)]
    exams = await rig.rests(timeout=120)
    undelivered = [exam for exam in exams if exam.state != ExamState.DELIVERED]
    assert not undelivered, [
        (exam.state, exam.reason, exam.error_code, exam.error_message, await history(rig.resources, exam.id))
        for exam in undelivered
    ]
    assert len(rig.sandbox.journal.effects_of("aurabox.patient.create")) == ROUNDS
    assert len(rig.sandbox.journal.effects_of("aurabox.study.create")) == 2 * ROUNDS
    await rig.ends_well()
    assert [await worker.stop() for worker in workers] == [0, 0]


@pytest.mark.row(10)
@pytest.mark.parametrize(
    "point", ["create:after_intent", "match:before_create_patient", "create:before_record"]
)
async def test_a_worker_frozen_past_its_lease_does_nothing_when_it_wakes(rig: Rig, point: str) -> None:
    await rig.api()
    zombie = rig.worker(f"stop:{point}")
    customer = await linked(rig)
    submitted = await rig.sandbox.submit_exam(customer=customer)
    await until(lambda: zombie.stopped, timeout=60, what="the worker is frozen")
    rig.worker()
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=90)
    requests = len(rig.sandbox.journal.requests)
    zombie.signal(signal.SIGCONT)
    await until(
        lambda: "lease_lost" in zombie.tail(), timeout=60, what="the zombie notices that its lease is gone"
    )
    assert len(rig.sandbox.journal.requests) == requests
    assert len(rig.sandbox.journal.effects_of("aurabox.*.create")) == 2
    assert (await rig.exam(submitted.request_uuid)).state == ExamState.DELIVERED
    await rig.ends_well()


@pytest.mark.row(13)
async def test_a_create_whose_answer_was_lost_and_that_shows_late_is_adopted(
    settings: Settings, zygote: Zygote, tmp_path
) -> None:
    async with open_rig(settings, zygote, tmp_path, settle_seconds=60.0) as rig:
        await rig.api()
        hidden = rig.sandbox.faults.arm(faults.hide(), server="aurabox", method="POST", path="*/patients")
        doomed = rig.worker("create:before_record")
        customer = await linked(rig)
        submitted = await rig.sandbox.submit_exam(customer=customer)
        await doomed.dies_by_kill()
        rig.worker()

        def looks() -> int:
            return len(rig.sandbox.journal.requests_to("aurabox", "GET", "*/patients"))

        before = looks()
        await until(lambda: looks() >= before + 2, timeout=60, what="it is looked for more than once")
        hidden.release()
        await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
        assert len(rig.sandbox.journal.effects_of("aurabox.patient.create")) == 1
        await rig.ends_well()


@pytest.mark.row(24)
async def test_an_exam_that_kills_its_worker_is_set_aside(rig: Rig) -> None:
    await rig.api()
    customer = await linked_by_a_passing_worker(rig)
    deadly = await rig.sandbox.submit_exam(customer=customer)
    for _ in range(3):
        await rig.worker("fetch:before_read_exam_data").dies_by_kill()
    rig.worker()
    exam = await rig.reaches(deadly.request_uuid, ExamState.FAILED, timeout=60)
    assert exam.error_code == "poison"
    harmless = await rig.sandbox.submit_exam(customer=customer)
    await rig.reaches(harmless.request_uuid, ExamState.DELIVERED, timeout=60)
    assert (await history(rig.resources, exam.id)).count("lease_expired") == 2
    await rig.ends_well()


async def linked_by_a_passing_worker(rig: Rig) -> str:
    worker = rig.worker()
    customer = await linked(rig)
    await worker.kill()
    return customer


async def test_claims_are_counted_once(rig: Rig) -> None:
    await rig.api()
    customer = rig.sandbox.add_customer()
    submitted = await rig.sandbox.submit_exam(customer=customer, notify_times=20, at_once=True)
    assert set(submitted.answers) == {202}
    async with rig.resources.sessions() as session:
        assert (await session.execute(select(func.count()).select_from(Claim))).scalar_one() == 1
