"""What anybody can make more of costs the webhook nothing: no count, a cap all the same, and an end for each row."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text, update

from app.config.settings import Settings
from app.inbox.receive import Notification, Verdict, receive
from app.resources import Resources, open_resources
from app.states import ExamState, Reason
from app.store.arrivals import SESSION, Arrival, Fate, write_arrivals
from app.store.audit import By
from app.store.base import in_seconds
from app.store.claims import Claim
from app.store.exams import Exam, find_exam
from app.store.overview import read_overview
from app.store.runs import begin_run, end_run
from app.store.unsettled import Room
from app.upkeep.alerts import conditions
from app.upkeep.retention import CLAIM_DAYS, purge
from app.upkeep.sweep import sweep
from tests.inbox.test_receive import notice, row
from tests.support.bridge import open_bridge, settings_for, working
from tests.support.clarius import Sandbox
from tests.support.exams import history
from tests.support.linked import add_clinic, add_link
from tests.support.wait import until

JUNK = text(
    """
    INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason, received_at)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'webhook', 'waiting', 'verify', 'link', now()
    FROM generate_series(1, :count)
    """
)
DAY_SECONDS = 24 * 3600
READ = (
    "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'exams'"
)


async def flood(resources: Resources, count: int) -> None:
    async with resources.sessions.begin() as session:
        await session.execute(JUNK, {"count": count})
        # as autovacuum does it in time: plans of an empty table are made anew
        await session.execute(text("ANALYZE exams"))


async def arrive(
    resources: Resources, connection: asyncpg.Connection, customer: str, count: int = 1
) -> float:
    """How many rows of exams the writer's statement reads for each of so many notifications, by PostgreSQL's count."""
    arrivals = [
        Arrival(
            id=uuid4(),
            request_uuid=uuid4(),
            exam_uuid=uuid4(),
            customer_hash=await resources.hash_customer(customer),
            download_url="https://cloud.example/1",
            submitted_at=None,
            trace=None,
        )
        for _ in range(count)
    ]
    async with connection.transaction():
        before = await connection.fetchval(READ)
        fates = await write_arrivals(connection, arrivals, room=Room(), limit=10**6)
        assert set(fates) <= {Fate.QUEUED, Fate.WAITING}
        return float(await connection.fetchval(READ) - before) / count


@asynccontextmanager
async def writing(resources: Resources) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the writer has it."""
    connection = await resources.watch.connect(seconds=30, session=SESSION)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def capped(settings: Settings, limit: int) -> AsyncIterator[Resources]:
    """What another process has open."""
    async with open_resources(settings.model_copy(update={"max_unverified": limit})) as resources:
        yield resources


async def take(resources: Resources, count: int = 1) -> list[Verdict]:
    receipts = await asyncio.gather(*(receive(resources, notice()) for _ in range(count)))
    return [receipt.verdict for receipt in receipts]


@pytest.mark.row(45)
async def test_a_claim_reads_as_much_beside_thousands_as_beside_none(resources: Resources) -> None:
    await add_link(resources, "a-linked-customer", await add_clinic(resources))
    costs = []
    for junk in (0, 3000):
        await flood(resources, junk)
        await sweep(resources)
        async with writing(resources) as connection:
            costs += [
                await arrive(resources, connection, customer)
                for customer in ("a-stranger", "a-linked-customer")
            ]
    # its own row, looked for and referred to, and what little is in an almost empty table
    assert max(costs) < 20, costs


@pytest.mark.row(45)
async def test_a_plan_that_was_made_while_the_table_was_empty_reads_no_more_when_it_is_full(
    resources: Resources,
) -> None:
    async with writing(resources) as connection:
        for _ in range(8):
            await arrive(resources, connection, "a-stranger", 64)
        async with resources.sessions.begin() as session:
            # and nobody has had the time to analyse it
            await session.execute(JUNK, {"count": 3000})
        assert await arrive(resources, connection, "a-stranger", 64) < 20


@pytest.mark.row(45)
async def test_true_ones_at_once_are_all_taken_beside_junk(settings: Settings) -> None:
    async with capped(settings, 3000) as resources:
        await flood(resources, 3000)
        await sweep(resources)
        await add_link(resources, "a-linked-customer", await add_clinic(resources))
        assert await take(resources) == [Verdict.FULL]
        receipts = await asyncio.gather(
            *(receive(resources, notice(customer_id="a-linked-customer")) for _ in range(150))
        )
        assert {receipt.verdict for receipt in receipts} == {Verdict.ACCEPTED}


async def test_a_burst_at_once_takes_no_more_than_there_is_room_for(settings: Settings) -> None:
    async with capped(settings, 5) as resources:
        verdicts = await take(resources, 20)
        assert sorted(verdicts) == [Verdict.ACCEPTED] * 5 + [Verdict.FULL] * 15
        async with resources.sessions() as session:
            assert await session.scalar(text("SELECT count(*) FROM exams")) == 5


async def test_what_another_process_took_counts_from_the_next_sweep_on(settings: Settings) -> None:
    async with capped(settings, 3) as one, capped(settings, 3) as other:
        assert await take(one, 2) == [Verdict.ACCEPTED] * 2
        await sweep(one)
        assert await take(other) == [Verdict.ACCEPTED]
        assert await take(other) == [Verdict.FULL]
        await sweep(one)
        assert await take(one) == [Verdict.FULL]


async def test_a_place_is_free_again_when_no_row_came_of_it(settings: Settings) -> None:
    async with capped(settings, 1) as resources:
        async with resources.sessions() as session:
            await session.execute(text("LOCK TABLE exams IN EXCLUSIVE MODE"))
            # given up after two seconds, with the database's own error
            (failed,) = await asyncio.gather(receive(resources, notice()), return_exceptions=True)
        assert isinstance(failed, Exception)
        assert await take(resources) == [Verdict.ACCEPTED]
        assert await take(resources) == [Verdict.FULL]


async def aged(resources: Resources, claim: Notification, *, days: float) -> None:
    """It was taken so long ago."""
    exam = await row(resources, claim)
    async with resources.sessions.begin() as session:
        at = in_seconds(-days * DAY_SECONDS)
        await session.execute(update(Exam).where(Exam.id == exam.id).values(received_at=at))
        await session.execute(update(Claim).where(Claim.exam_id == exam.id).values(received_at=at))


async def expired(resources: Resources, customer: str = "a-stranger") -> Notification:
    """A claim that nobody linked in time; its row is still there."""
    claim = notice(customer_id=customer)
    await receive(resources, claim)
    await aged(resources, claim, days=CLAIM_DAYS + 1)
    assert (await purge(resources, by=By("test"))).expired_claims == 1
    exam = await row(resources, claim)
    assert (exam.state, exam.reason, exam.error_code) == (ExamState.UNVERIFIED, None, "expired")
    assert await history(resources, exam.id) == ["received", "expired"]
    return claim


async def test_a_claim_that_nobody_links_ends_after_a_fortnight_and_makes_room(settings: Settings) -> None:
    async with capped(settings, 1) as resources:
        await expired(resources)
        assert (await purge(resources, by=By("test"))).expired_claims == 0

        async def room() -> bool:
            await sweep(resources)
            return await take(resources) == [Verdict.ACCEPTED]

        await until(room)
        async with resources.sessions() as session:
            assert "exams_stuck" not in conditions(await read_overview(session), resources.settings)


async def test_what_may_still_be_true_does_not_end(resources: Resources) -> None:
    claims = [notice(customer_id=name) for name in ("young", "doubted", "vouched", "linked")]
    young, doubted, vouched = claims[:3]
    await add_link(resources, "linked", await add_clinic(resources))
    for claim in claims:
        await receive(resources, claim)
        await aged(resources, claim, days=CLAIM_DAYS - 1 if claim is young else CLAIM_DAYS + 1)
    await receive(resources, doubted.model_copy(update={"customer_id": "another-customer"}))
    async with resources.sessions.begin() as session:
        exam = await find_exam(session, vouched.request_uuid, lock=True)
        assert exam is not None
        exam.released_at = exam.received_at
    for dry_run in (True, False):
        assert (await purge(resources, by=By("test"), dry_run=dry_run)).expired_claims == 0
    states = [(await row(resources, claim)).state for claim in claims]
    assert states == [ExamState.WAITING] * 3 + [ExamState.QUEUED]


async def test_another_claim_wakes_what_had_expired(resources: Resources) -> None:
    claim = await expired(resources)
    await receive(resources, claim.model_copy(update={"customer_id": "another-customer"}))
    exam = await row(resources, claim)
    assert (exam.state, exam.reason) == (ExamState.WAITING, Reason.LINK)
    assert (await purge(resources, by=By("test"))).expired_claims == 0


@pytest.mark.parametrize("by", ["link", "poll"])
async def test_a_true_one_that_had_expired_is_delivered_when_its_customer_is_linked(
    settings: Settings, by: str
) -> None:
    async with Sandbox() as sandbox:
        known = settings_for(settings, sandbox, clarius_poll_interval=3000)
        async with open_bridge(known, sandbox, worker=False) as bridge:
            customer = await bridge.customer()
            submitted = await sandbox.submit_exam(customer=customer, captures=())
            claim = notice(request_uuid=submitted.request_uuid)
            await aged(bridge.resources, claim, days=CLAIM_DAYS + 1)
            assert (await purge(bridge.resources, by=By("test"))).expired_claims == 1
            async with bridge.resources.sessions.begin() as session:
                if by == "link":
                    # the list was read just now, so it is not what finds the exam
                    await begin_run(session, "reconcile", every=0)
                    await end_run(session, "reconcile", result={})
                else:
                    await session.execute(update(Claim).values(ended_at=in_seconds(0)))
            async with working(bridge.resources):
                await bridge.link(customer, await bridge.organization(images="none"))
                await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
