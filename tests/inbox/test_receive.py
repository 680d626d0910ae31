"""A notification becomes a row: accepted, a duplicate, beside another claim, or refused when too many wait."""

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import func, select

from app.config.settings import Settings
from app.inbox.receive import Notification, Verdict, receive
from app.resources import Resources, open_resources
from app.states import ExamState, Reason
from app.store.claims import CLAIMS_PER_REQUEST, Claim
from app.store.exams import Exam, find_exam, move, settle_verified
from tests.support.linked import add_clinic, add_link


def notice(**changes: Any) -> Notification:
    given = {
        "request_uuid": uuid.uuid4(),
        "exam_uuid": uuid.uuid4(),
        "customer_id": "a-customer-of-clarius",
        "download_url": "https://cloud.example/download-requests/1/data/",
        "submitted_at": "2026-03-01T10:00:00Z",
    }
    return Notification.model_validate({**given, **changes})


async def row(resources: Resources, claim: Notification) -> Exam:
    async with resources.sessions() as session:
        exam = await find_exam(session, claim.request_uuid)
    assert exam is not None
    return exam


async def claims(resources: Resources) -> int:
    async with resources.sessions() as session:
        return (await session.execute(select(func.count()).select_from(Claim))).scalar_one()


async def test_an_unknown_customer_waits_for_a_link_and_nobody_is_rung(resources: Resources) -> None:
    claim = notice()
    receipt = await receive(resources, claim)
    assert (receipt.verdict, receipt.wakes) == (Verdict.ACCEPTED, False)
    exam = await row(resources, claim)
    assert (exam.state, exam.reason, exam.due_at) == (ExamState.WAITING, Reason.LINK, None)


async def test_a_linked_customer_is_queued_and_rung(resources: Resources) -> None:
    claim = notice()
    await add_link(resources, claim.customer_id, await add_clinic(resources))
    receipt = await receive(resources, claim)
    exam = await row(resources, claim)
    assert receipt.wakes
    assert exam.state == ExamState.QUEUED
    # the organisation is known only once Clarius has listed the request
    assert exam.organization_id is None


async def test_the_same_notification_again_is_a_duplicate(resources: Resources) -> None:
    claim = notice()
    verdicts = [(await receive(resources, claim)).verdict for _ in range(3)]
    assert verdicts == [Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert await claims(resources) == 1


async def test_the_same_notification_at_once_is_one_row(resources: Resources) -> None:
    claim = notice()
    receipts = await asyncio.gather(*(receive(resources, claim) for _ in range(20)))
    assert sum(receipt.verdict is Verdict.ACCEPTED for receipt in receipts) == 1
    assert await claims(resources) == 1


async def test_a_request_that_is_just_being_inserted_holds_up_no_other(resources: Resources) -> None:
    """The poll inserts a whole page in one transaction; whoever is notified of one of it waits alone."""
    named, others = notice(), [notice() for _ in range(20)]
    async with resources.sessions() as session:
        session.add(
            Exam(request_uuid=named.request_uuid, exam_uuid=named.exam_uuid, source="poll", state="waiting")
        )
        await session.flush()
        waits = asyncio.create_task(receive(resources, named))
        receipts = await asyncio.gather(*(receive(resources, claim) for claim in others))
        assert {receipt.verdict for receipt in receipts} == {Verdict.ACCEPTED}
        assert not waits.done()
        await session.commit()
    assert (await waits).verdict is Verdict.ACCEPTED
    assert await claims(resources) == 21


async def test_another_customers_claim_is_kept_beside_the_first_up_to_five(resources: Resources) -> None:
    claim = notice()
    await receive(resources, claim)
    for number in range(CLAIMS_PER_REQUEST + 3):
        other = claim.model_copy(update={"customer_id": f"another-customer-{number}"})
        verdict = (await receive(resources, other)).verdict
        expected = Verdict.ACCEPTED if number < CLAIMS_PER_REQUEST - 1 else Verdict.DUPLICATE
        assert verdict == expected
    assert await claims(resources) == CLAIMS_PER_REQUEST


async def test_a_linked_customers_claim_wakes_a_request_that_a_stranger_named_first(
    resources: Resources,
) -> None:
    claim = notice()
    await receive(resources, claim.model_copy(update={"customer_id": "a-stranger-nobody-linked"}))
    await add_link(resources, claim.customer_id, await add_clinic(resources))
    receipt = await receive(resources, claim)
    assert receipt.wakes
    assert (await row(resources, claim)).state == ExamState.QUEUED


async def test_a_new_claim_outranks_an_unverified_verdict(resources: Resources) -> None:
    claim = notice()
    await receive(resources, claim)
    async with resources.sessions.begin() as session:
        exam = await find_exam(session, claim.request_uuid, lock=True)
        await move(session, exam, ExamState.QUEUED)
        exam.state = "running"
        await move(session, exam, ExamState.UNVERIFIED)
    await receive(resources, claim.model_copy(update={"customer_id": "the-right-customer"}))
    exam = await row(resources, claim)
    assert (exam.state, exam.reason) == (ExamState.WAITING, Reason.LINK)


async def test_once_verified_every_further_claim_is_a_duplicate(resources: Resources) -> None:
    claim = notice()
    await receive(resources, claim)
    async with resources.sessions.begin() as session:
        exam = await find_exam(session, claim.request_uuid, lock=True)
        await settle_verified(
            session,
            exam,
            at=exam.received_at,
            customer_hash=b"x",
            exam_uuid=exam.exam_uuid,
            download_url="https://cloud.example/1",
            submitted_at=None,
        )
    other = claim.model_copy(update={"customer_id": "a-late-forger-of-claims"})
    assert (await receive(resources, other)).verdict is Verdict.DUPLICATE
    assert await claims(resources) == 1


async def test_when_too_many_wait_claims_without_a_link_are_refused_and_known_ones_are_not(
    settings: Settings,
) -> None:
    async with open_resources(settings.model_copy(update={"max_unverified": 2})) as resources:
        taken = [notice(), notice()]
        for claim in taken:
            assert (await receive(resources, claim)).verdict is Verdict.ACCEPTED
        refused = notice()
        assert (await receive(resources, refused)).verdict is Verdict.FULL
        async with resources.sessions() as session:
            assert await find_exam(session, refused.request_uuid) is None
        assert (await receive(resources, taken[0])).verdict is Verdict.DUPLICATE
        linked = notice(customer_id="a-customer-with-a-link")
        await add_link(resources, linked.customer_id, await add_clinic(resources))
        assert (await receive(resources, linked)).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("field", ["customer_id", "download_url"])
def test_text_that_the_database_cannot_hold_is_malformed(field: str) -> None:
    with pytest.raises(ValidationError):
        notice(**{field: "nul\x00byte"})


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
async def test_a_time_that_no_calendar_holds_is_left_out(resources: Resources, at: str) -> None:
    claim = notice(submitted_at=at)
    assert (await receive(resources, claim)).verdict is Verdict.ACCEPTED
    assert (await row(resources, claim)).submitted_at is None


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        # braintree_python#27, svix-webhooks#1395, netbox#4005, pydantic#10512
        ("2022-10-22T03:10:47.231755", datetime(2022, 10, 22, 3, 10, 47, 231755, tzinfo=UTC)),
        ("2022-10-22", datetime(2022, 10, 22, tzinfo=UTC)),
        ("2022-10-22T03:10:47+10:00", datetime(2022, 10, 21, 17, 10, 47, tzinfo=UTC)),
        ("Sat, 22 Oct 2022 03:10:47 GMT", None),
        ("2016-12-31T23:59:60Z", None),
        ("yesterday", None),
        ("", None),
        (1666408247, None),
        ([], None),
    ],
)
async def test_how_the_time_is_written_refuses_no_notification(
    resources: Resources, at: object, kept: datetime | None
) -> None:
    claim = notice(submitted_at=at)
    assert (await receive(resources, claim)).verdict is Verdict.ACCEPTED
    assert (await row(resources, claim)).submitted_at == kept


async def test_the_time_of_submission_is_kept(resources: Resources) -> None:
    claim = notice()
    await receive(resources, claim)
    assert (await row(resources, claim)).submitted_at == datetime(2026, 3, 1, 10, tzinfo=UTC)


async def test_a_linked_customers_claim_takes_the_place_of_one_that_nobody_is_linked_by(
    resources: Resources,
) -> None:
    """Five invented customers, then the true one: it is looked at at once, and not when the poll comes by."""
    claim = notice()
    for number in range(CLAIMS_PER_REQUEST):
        await receive(resources, claim.model_copy(update={"customer_id": f"an-invented-customer-{number}"}))
    await add_link(resources, claim.customer_id, await add_clinic(resources))
    receipt = await receive(resources, claim)
    assert (receipt.verdict, receipt.wakes) == (Verdict.ACCEPTED, True)
    assert (await row(resources, claim)).state == ExamState.QUEUED
    assert await claims(resources) == CLAIMS_PER_REQUEST
    async with resources.sessions() as session:
        kept = set(await session.scalars(select(Claim.customer_hash)))
    assert await resources.hash_customer(claim.customer_id) in kept
    assert await resources.hash_customer("an-invented-customer-0") in kept
    assert await resources.hash_customer(f"an-invented-customer-{CLAIMS_PER_REQUEST - 1}") not in kept
    assert (await receive(resources, claim)).verdict is Verdict.DUPLICATE
