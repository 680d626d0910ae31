"""The poll API finds what no webhook told us, and settles what is known only as a claim (row 25 of docs/faults.md)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text

from app import errors
from app.config.settings import Settings
from app.inbox.receive import Notification, receive
from app.inbox.reconcile import reconcile, reconcile_when_due, take_in
from app.resources import Resources, open_resources
from app.states import ExamState, Reason, Step
from app.store.claims import open_claims
from app.store.exams import Exam, find_exam, move
from app.store.runs import last_run
from sandbox import faults
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.linked import add_clinic, add_link
from tests.support.wait import until

POLL = "*/exams/accessible/"


@pytest.fixture
async def polling(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    async with open_resources(settings_for(settings, sandbox, clarius_poll_interval=3600)) as opened:
        yield opened


async def missed(sandbox: Sandbox, customer: str, count: int = 1) -> list[str]:
    """Exams whose webhooks nobody took; oldest first."""
    return [
        (await sandbox.submit_exam(customer=customer, captures=(), notify_times=0)).request_uuid
        for _ in range(count)
    ]


async def exams(resources: Resources) -> list[Exam]:
    async with resources.sessions() as session:
        return list(await session.scalars(select(Exam).order_by(Exam.submitted_at)))


def pages_read(sandbox: Sandbox) -> int:
    return len(sandbox.journal.requests_to("clarius", "GET", POLL))


async def test_what_no_webhook_told_us_is_taken_in(polling: Resources, sandbox: Sandbox) -> None:
    linked, unlinked = sandbox.add_customer(), sandbox.add_customer()
    await add_link(polling, linked, await add_clinic(polling))
    first, second = [(await missed(sandbox, customer))[0] for customer in (linked, unlinked)]
    assert await reconcile(polling) == {"looked_at": 2, "new": 2}
    taken = {str(exam.request_uuid): exam for exam in await exams(polling)}
    assert (taken[first].state, taken[first].source) == (ExamState.QUEUED, "poll")
    assert taken[first].verified_at is not None
    assert (taken[second].state, taken[second].reason) == (ExamState.WAITING, Reason.LINK)
    assert await reconcile(polling) == {"looked_at": 2, "new": 0}


async def test_reading_ends_at_a_page_that_is_known_and_old(polling: Resources, sandbox: Sandbox) -> None:
    customer = sandbox.add_customer()
    await missed(sandbox, customer, 250)
    # as they were submitted days ago
    for number, exam in enumerate(sandbox.clarius.exams.values()):
        exam.submitted_at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000000Z"
    await reconcile(polling)
    assert pages_read(sandbox) == 3
    await missed(sandbox, customer, 3)
    assert (await reconcile(polling))["new"] == 3
    # the first page held news, the second was known whole
    assert pages_read(sandbox) == 5
    assert len(await exams(polling)) == 253


async def test_what_a_broken_off_reading_did_not_reach_is_found_by_the_next(
    polling: Resources, sandbox: Sandbox
) -> None:
    await missed(sandbox, sandbox.add_customer(), 150)
    sandbox.faults.arm(faults.answer(500), server="clarius", path=POLL, nth=2, times=None)
    with pytest.raises(errors.TryLater):
        await reconcile(polling)
    assert len(await exams(polling)) == 100
    sandbox.faults.clear()
    await reconcile(polling)
    assert len(await exams(polling)) == 150


@pytest.mark.row(25)
@pytest.mark.parametrize("where", ["loop", "foreign host"])
async def test_pages_that_lead_astray_are_cut_off_and_the_page_before_them_counts(
    polling: Resources, sandbox: Sandbox, where: str
) -> None:
    await missed(sandbox, sandbox.add_customer(), 3)
    api = f"{sandbox.clarius_url}/api/public/v0/exams/accessible/"
    astray = f"{api}?limit=100&offset=0" if where == "loop" else f"{sandbox.media_url}/exams/accessible/"
    sandbox.faults.arm(faults.replace(next=astray), server="clarius", path=POLL, times=None)
    with pytest.raises(errors.UpstreamError):
        await reconcile(polling)
    assert len(await exams(polling)) == 3
    assert pages_read(sandbox) <= 4
    assert sandbox.journal.requests_to("media") == []
    assert sandbox.journal.misplaced_secrets() == []
    async with polling.sessions() as session:
        run = await last_run(session, "reconcile")
    assert run is not None
    assert run.error is not None
    sandbox.faults.clear()
    await reconcile(polling)


async def test_the_poll_overrules_a_claim_that_was_refuted(polling: Resources, sandbox: Sandbox) -> None:
    customer = sandbox.add_customer()
    await add_link(polling, customer, await add_clinic(polling))
    request = (await missed(sandbox, customer))[0]
    told = sandbox.submitted(request).notification
    await receive(polling, Notification.model_validate({**told, "customer_id": "a-forger-of-notices"}))
    async with polling.sessions.begin() as session:
        exam = (await session.scalars(select(Exam))).one()
        await move(session, exam, ExamState.QUEUED)
        exam.state = "running"
        await move(session, exam, ExamState.UNVERIFIED)
    assert (await reconcile(polling))["new"] == 1
    exam = (await exams(polling))[0]
    assert (exam.state, exam.step) == (ExamState.QUEUED, Step.VERIFY)
    assert exam.customer_hash == await polling.hash_customer(customer)
    assert "/exams/download-requests/" in (exam.download_url or "")
    async with polling.sessions() as session:
        assert list(await open_claims(session, exam.id)) == []


async def test_an_exam_that_a_person_released_goes_on_where_it_is(
    polling: Resources, sandbox: Sandbox
) -> None:
    customer = sandbox.add_customer()
    clinic = await add_clinic(polling)
    await add_link(polling, customer, clinic)
    request = (await missed(sandbox, customer))[0]
    told = Notification.model_validate(sandbox.submitted(request).notification)
    await receive(polling, told)
    async with polling.sessions.begin() as session:
        exam = await find_exam(session, told.request_uuid, lock=True)
        exam.released_at = exam.received_at
        exam.state, exam.step, exam.organization_id = "delivered", Step.CONFIRM, clinic.id
        exam.due_at = None
    await reconcile(polling)
    exam = (await exams(polling))[0]
    assert (exam.state, exam.step, exam.due_at) == (ExamState.DELIVERED, Step.CONFIRM, None)
    assert exam.verified_at is not None
    assert (await reconcile(polling))["new"] == 0


async def test_a_listed_exam_that_cannot_be_used_stops_nothing(polling: Resources, sandbox: Sandbox) -> None:
    good, odd = await missed(sandbox, sandbox.add_customer(), 2)
    sandbox.clarius.exams[odd].customer_id = "x" * 300
    assert await reconcile(polling) == {"looked_at": 2, "new": 1}
    assert [str(exam.request_uuid) for exam in await exams(polling)] == [good]


async def test_only_one_of_many_polls_in_an_interval(polling: Resources, sandbox: Sandbox) -> None:
    assert await reconcile_when_due(polling) is not None
    assert await reconcile_when_due(polling) is None
    assert pages_read(sandbox) == 1


async def test_a_poll_that_comes_after_the_workers_own_look_changes_nothing(
    polling: Resources, sandbox: Sandbox
) -> None:
    customer = sandbox.add_customer()
    await add_link(polling, customer, await add_clinic(polling))
    request = (await missed(sandbox, customer))[0]
    told = Notification.model_validate(sandbox.submitted(request).notification)
    await receive(polling, told)
    clarius = await polling.clarius()
    page = await anext(clarius.accessible_exam_pages())
    # a worker holds the row, about to deliver it, while the poll's page is taken in
    async with polling.sessions.begin() as session:
        exam = await find_exam(session, told.request_uuid, lock=True)
        taking = asyncio.create_task(take_in(polling, page))
        await until(lambda: waits_for_a_lock(polling))
        exam.verified_at = exam.received_at
        exam.state, exam.step, exam.due_at = "delivered", Step.CONFIRM, None
    assert await taking == 0
    exam = (await exams(polling))[0]
    assert (exam.state, exam.step, exam.due_at) == (ExamState.DELIVERED, Step.CONFIRM, None)


async def waits_for_a_lock(resources: Resources) -> bool:
    async with resources.sessions() as session:
        waiting = await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    return bool(waiting)
