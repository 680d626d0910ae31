"""Confirming a link with Clarius (C3) under a lease, and what it releases."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from app.inbox.receive import Notification, receive
from app.linking.links import start_link, unlink
from app.linking.runner import lease_link, run_link
from app.resources import Resources
from app.states import ExamState, LinkState, Reason
from app.store.audit import AuditEvent, By
from app.store.base import clock, in_seconds
from app.store.exam_events import timeline
from app.store.exams import Exam, find_exam, settle_verified
from app.store.linked_exams import queue_stragglers
from app.store.links import Link
from app.store.organizations import Organization
from app.store.upstreams import upstream
from sandbox.faults import answer, cut_after, cut_before, hold, too_many
from tests.support.clarius import Sandbox
from tests.support.wait import until

C3 = "*/customer-confirmations/"


async def pending(resources: Resources, organization: Organization, token: str) -> Link:
    return await start_link(
        resources, token=token, organization_id=organization.id, user_id=None, by=By("test")
    )


async def read(resources: Resources, link: Link) -> Link:
    async with resources.sessions() as session:
        return await session.get_one(Link, link.id)


async def make_due(resources: Resources) -> None:
    async with resources.sessions.begin() as session:
        await session.execute(update(Link).values(due_at=in_seconds(-1), lease_until=None))


async def notify(resources: Resources, token: str) -> UUID:
    request_uuid = uuid4()
    notice = Notification(
        request_uuid=request_uuid,
        exam_uuid=uuid4(),
        customer_id=token,
        download_url="https://clarius.example/data/",
        submitted_at=datetime.now(UTC),
    )
    await receive(resources, notice)
    return request_uuid


async def exam(resources: Resources, request_uuid: UUID) -> Exam:
    async with resources.sessions() as session:
        found = await find_exam(session, request_uuid)
    assert found is not None
    return found


def calls(sandbox: Sandbox) -> int:
    return len([one for one in sandbox.journal.requests if one.path.endswith("/customer-confirmations/")])


async def test_confirming_releases_every_exam_that_waited_for_this_customer_and_no_other(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token, stranger = sandbox.add_customer(), sandbox.add_customer()
    ours = [await notify(resources, token) for _ in range(3)]
    other = await notify(resources, stranger)
    # one of ours was verified already, under a link that ended since
    async with resources.sessions.begin() as session:
        verified = await find_exam(session, ours[0], lock=True)
        assert verified is not None
        await settle_verified(
            session,
            verified,
            at=verified.received_at,
            customer_hash=await resources.hash_customer(token),
            exam_uuid=verified.exam_uuid,
            download_url="https://clarius.example/data/",
            submitted_at=None,
        )
    link = await pending(resources, organization, token)
    assert await run_link(resources, link.id) is True
    confirmed = await read(resources, link)
    assert confirmed.state == LinkState.CONFIRMED
    assert confirmed.confirmed_at is not None
    assert (confirmed.due_at, confirmed.lease_until, confirmed.error) == (None, None, None)
    assert sandbox.clarius.customers[token] is True
    for request_uuid in ours:
        released = await exam(resources, request_uuid)
        assert (released.state, released.reason) == (ExamState.QUEUED, None)
        assert released.due_at is not None
        async with resources.sessions() as session:
            assert [event.event for event in await timeline(session, released.id)][-1] == "linked"
    assert (await exam(resources, ours[0])).organization_id == organization.id
    # a claim is Clarius's to confirm before it is anybody's
    assert (await exam(resources, ours[1])).organization_id is None
    left = await exam(resources, other)
    assert (left.state, left.reason, left.due_at) == (ExamState.WAITING, Reason.LINK, None)


async def test_confirming_twice_is_confirming_once(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    link = await pending(resources, organization, sandbox.add_customer())
    assert await run_link(resources, None) is True
    assert await run_link(resources, link.id) is False
    assert await run_link(resources, None) is False
    assert await run_link(resources, uuid4()) is False
    assert calls(sandbox) == 1


async def test_a_customer_that_clarius_does_not_know_is_refused(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = "not-known-to-clarius-0123456789"
    request_uuid = await notify(resources, token)
    link = await pending(resources, organization, token)
    await run_link(resources, link.id)
    refused = await read(resources, link)
    assert refused.state == LinkState.REFUSED
    assert refused.error is not None
    assert token not in refused.error
    assert (await exam(resources, request_uuid)).state == ExamState.WAITING
    async with resources.sessions() as session:
        events = await session.scalars(select(AuditEvent).where(AuditEvent.action == "link.confirm"))
        assert [event.result for event in events] == ["refused"]
    # refused is not in force: the clinician may start again
    again = await pending(resources, organization, token)
    assert again.id != link.id


@pytest.mark.parametrize(
    ("fault", "path", "attempts"),
    [
        (answer(500), C3, 1),
        (answer(503), C3, 1),
        (cut_before(), C3, 1),
        (cut_after(), C3, 1),
        (answer(400, {"token": ["odd"]}), C3, 1),
        (too_many(7), C3, 0),
        (too_many("nonsense"), C3, 0),
        (answer(401), "*", 0),
        (answer(403), "*", 0),
        (answer(403), C3, 1),
    ],
    ids=["500", "503", "cut before", "cut after", "400", "429", "429 odd", "401", "403", "403 here alone"],
)
async def test_anything_else_leaves_it_pending_and_it_is_tried_again(
    resources: Resources,
    organization: Organization,
    sandbox: Sandbox,
    fault: object,
    path: str,
    attempts: int,
) -> None:
    sandbox.faults.arm(fault, server="clarius", path=path, times=None)  # type: ignore[arg-type]
    link = await pending(resources, organization, sandbox.add_customer())
    await run_link(resources, link.id)
    first = await read(resources, link)
    assert (first.state, first.attempts, first.lease_until) == (LinkState.PENDING, attempts, None)
    assert first.error is not None
    assert first.due_at is not None
    assert first.due_at > link.created_at
    sandbox.faults.clear()
    async with resources.sessions.begin() as session:
        known = await upstream(session, "clarius")
        if known is not None:
            known.throttled_until = None
            known.probe_at = known.probe_at and await clock(session)
    await make_due(resources)
    await run_link(resources, link.id)
    assert (await read(resources, link)).state == LinkState.CONFIRMED


async def test_a_429_holds_the_whole_account_and_a_401_pauses_it_until_the_probe(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    sandbox.faults.arm(too_many(600), server="clarius", path=C3)
    first = await pending(resources, organization, sandbox.add_customer())
    second = await pending(resources, organization, sandbox.add_customer())
    await run_link(resources, first.id)
    await run_link(resources, second.id)
    assert calls(sandbox) == 1
    waiting = await read(resources, second)
    assert (waiting.state, waiting.attempts) == (LinkState.PENDING, 0)
    async with resources.sessions.begin() as session:
        known = await upstream(session, "clarius")
        assert known is not None
        assert waiting.due_at is not None
        assert waiting.due_at >= known.throttled_until
        known.throttled_until = None
    refusing = sandbox.faults.arm(answer(401), server="clarius", path="*", times=None)
    for link in (first, second):
        await make_due(resources)
        await run_link(resources, link.id)
    assert calls(sandbox) == 2
    async with resources.sessions() as session:
        pauses = await session.scalars(select(AuditEvent).where(AuditEvent.action == "account.pause"))
        assert len(pauses.all()) == 1
    assert refusing.hits > 0
    sandbox.faults.clear()
    # the probe is due and the key works again: everything goes on
    async with resources.sessions.begin() as session:
        known = await upstream(session, "clarius")
        assert known is not None
        known.probe_at = await clock(session)
    for link in (first, second):
        await make_due(resources)
        await run_link(resources, link.id)
        assert (await read(resources, link)).state == LinkState.CONFIRMED


async def test_two_workers_ask_clarius_once(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    held = sandbox.faults.arm(hold(), server="clarius", path=C3)
    link = await pending(resources, organization, sandbox.add_customer())
    first = asyncio.create_task(run_link(resources, link.id))
    await until(lambda: held.waiting)
    assert await run_link(resources, link.id) is False
    assert await run_link(resources, None) is False
    held.release()
    assert await first is True
    assert calls(sandbox) == 1
    assert (await read(resources, link)).state == LinkState.CONFIRMED


async def test_a_link_that_is_ended_while_clarius_answers_stays_ended(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    request_uuid = await notify(resources, token)
    held = sandbox.faults.arm(hold(), server="clarius", path=C3)
    link = await pending(resources, organization, token)
    confirming = asyncio.create_task(run_link(resources, link.id))
    await until(lambda: held.waiting)
    await unlink(resources, link.id, by=By("test"))
    held.release()
    await confirming
    assert (await read(resources, link)).state == LinkState.DISCONNECTED
    assert (await exam(resources, request_uuid)).state == ExamState.WAITING


async def test_a_worker_that_slept_past_its_lease_writes_nothing(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = "known-by-nobody-at-first-0123456789"
    held = sandbox.faults.arm(hold(after_effect=True), server="clarius", path=C3)
    link = await pending(resources, organization, token)
    zombie = asyncio.create_task(run_link(resources, link.id))
    await until(lambda: held.waiting)
    # meanwhile the customer appears, the lease expires, and another worker takes over and confirms
    sandbox.add_customer(token)
    async with resources.sessions.begin() as session:
        await session.execute(update(Link).values(lease_until=in_seconds(-1)))
    assert await run_link(resources, link.id) is True
    assert (await read(resources, link)).state == LinkState.CONFIRMED
    held.release()
    await zombie
    assert (await read(resources, link)).state == LinkState.CONFIRMED


async def test_a_lease_is_not_taken_twice_and_raises_the_epoch(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    link = await pending(resources, organization, sandbox.add_customer())
    taken = await lease_link(resources, link.id)
    assert taken is not None
    assert taken.lease_epoch == link.lease_epoch + 1
    assert taken.lease_owner == resources.worker_id
    assert await lease_link(resources, link.id) is None


async def test_an_exam_put_to_wait_while_its_link_was_confirmed_is_found_by_the_sweep(
    resources: Resources, organization: Organization, sandbox: Sandbox
) -> None:
    token = sandbox.add_customer()
    link = await pending(resources, organization, token)
    await run_link(resources, link.id)
    # the webhook read "no link" a moment before the confirmation and wrote a moment after it
    async with resources.sessions.begin() as session:
        await session.execute(update(Link).values(state=LinkState.PENDING))
    request_uuid = await notify(resources, token)
    async with resources.sessions.begin() as session:
        await session.execute(update(Link).values(state=LinkState.CONFIRMED))
    assert (await exam(resources, request_uuid)).state == ExamState.WAITING
    assert await queue_stragglers(resources.sessions, limit=10) == 1
    assert (await exam(resources, request_uuid)).state == ExamState.QUEUED
    assert await queue_stragglers(resources.sessions, limit=10) == 0
