"""The create protocol: one create for one natural key, whatever is lost, late or at once (docs/delivery.md, "Creates")."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.clients.aurabox import CaseFields
from app.config.settings import Settings
from app.delivery.create import Creation, Made, create_once
from app.delivery.outcome import NeedsPerson
from app.delivery.work import LeaseLost, Work
from app.states import Reason, Step
from app.store.base import in_seconds
from app.store.creates import Create, CreateState, take_create
from app.store.exam_events import record_event
from app.store.exams import Exam
from app.store.organizations import Organization
from app.upstreams.gate import Held
from sandbox import faults
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam, history, hold, reread
from tests.support.wait import until

LABEL = "Case of the tests"


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    quick = {"lease_seconds": 30, "request_seconds": 1, "settle_seconds": 3}
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox, **quick), sandbox, worker=False) as opened,
    ):
        yield opened


@pytest.fixture
async def clinic(bridge: Bridge) -> Organization:
    return await bridge.organization()


async def work_on(bridge: Bridge, clinic: Organization) -> Work:
    exam = await add_exam(bridge.resources, organization_id=clinic.id, step=Step.MATCH)
    return await hold(bridge.resources, exam)


def case(work: Work, clinic: Organization, **changes: Any) -> Creation:
    """A case to be there once, made as the match step makes it."""

    async def search() -> list[str]:
        async with work.effect("match:search_subject", f"aurabox:{clinic.id}"):
            client = work.resources.aurabox(clinic)
            return [one.id async for one in client.cases(search=LABEL) if one.label == LABEL]

    async def send() -> str:
        limit = work.resources.settings.request_seconds
        async with work.effect("match:create_case", f"aurabox:{clinic.id}", seconds=limit):
            client = work.resources.aurabox(clinic)
            return (await client.create_case(CaseFields.model_validate({"label": LABEL}))).id

    async def keep(session: AsyncSession, made: Made) -> None:
        await record_event(session, work.exam_id, step=Step.MATCH, event="kept", detail=made.remote_id)

    wanted: dict[str, Any] = {
        "organization_id": clinic.id,
        "kind": "case",
        "natural_key": "key",
        "search": search,
        "send": send,
        "keep": keep,
        "look_first": False,
    }
    return Creation(**{**wanted, **changes})


def made(bridge: Bridge) -> int:
    return len(bridge.sandbox.journal.effects_of("aurabox.case.create"))


async def row(bridge: Bridge) -> Create:
    async with bridge.resources.sessions() as session:
        return (await session.scalars(select(Create))).one()


async def sent_ago(bridge: Bridge, seconds: float) -> None:
    """Put the last POST so many seconds into the past, as if they had gone by."""
    async with bridge.resources.sessions.begin() as session:
        await session.execute(update(Create).values(sent_at=in_seconds(-seconds), held_until=in_seconds(-1)))


async def again(work: Work, clinic: Organization, **changes: Any) -> Any:
    """Create once, coming back as the runner does for as long as it is told to settle."""

    async def settled() -> Any:
        try:
            return await create_once(work, case(work, clinic, **changes))
        except Held as held:
            if held.reason == Reason.SETTLING:
                return None
            raise

    return await until(settled, timeout=30)


async def test_twice_is_once(bridge: Bridge, clinic: Organization) -> None:
    work = await work_on(bridge, clinic)
    first = await create_once(work, case(work, clinic))
    assert await create_once(work, case(work, clinic)) == replace(first, ended_before=True)
    assert await history(bridge.resources, work.exam_id) == ["kept"]
    assert not first.adopted
    assert made(bridge) == 1


async def test_many_exams_at_once_make_one(bridge: Bridge, clinic: Organization) -> None:
    works = [await work_on(bridge, clinic) for _ in range(5)]
    results = await asyncio.gather(*(again(work, clinic) for work in works))
    assert len({result.remote_id for result in results}) == 1
    assert made(bridge) == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.cut_after(),
        faults.answer(500, after_effect=True),
        faults.answer(200, "<html>", after_effect=True),
    ],
    ids=["cut", "500", "unreadable"],
)
async def test_a_lost_answer_is_looked_for_and_adopted(
    bridge: Bridge, clinic: Organization, fault: faults.Fault
) -> None:
    bridge.sandbox.faults.arm(fault, server="aurabox", method="POST")
    work = await work_on(bridge, clinic)
    with pytest.raises(errors.LookFirst):
        await create_once(work, case(work, clinic))
    assert (await row(bridge)).state == CreateState.SENDING
    adopted = await again(work, clinic)
    assert adopted.adopted
    assert made(bridge) == 1


async def test_an_answer_lost_without_effect_is_sent_again_only_when_it_is_surely_absent(
    bridge: Bridge, clinic: Organization
) -> None:
    bridge.sandbox.faults.arm(faults.cut_before(), server="aurabox", method="POST")
    work = await work_on(bridge, clinic)
    with pytest.raises(errors.LookFirst):
        await create_once(work, case(work, clinic))
    with pytest.raises(Held) as held:
        await create_once(work, case(work, clinic))
    assert held.value.reason == Reason.SETTLING
    assert made(bridge) == 0
    assert not (await again(work, clinic)).adopted
    assert made(bridge) == 1


async def test_what_shows_only_later_is_waited_for(bridge: Bridge, clinic: Organization) -> None:
    # hidden from every search for longer than the request may take, and shorter than the settling time
    hidden = bridge.sandbox.faults.arm(faults.hide(), server="aurabox", method="POST")
    work = await work_on(bridge, clinic)

    async def accepted_and_lost() -> str:
        await case(work, clinic).send()
        raise errors.LookFirst("the answer was lost")

    with pytest.raises(errors.LookFirst):
        await create_once(work, case(work, clinic, send=accepted_and_lost))
    await sent_ago(bridge, 2)
    with pytest.raises(Held):
        await create_once(work, case(work, clinic))
    hidden.release()
    assert (await again(work, clinic)).adopted
    assert made(bridge) == 1


async def test_what_appears_while_the_last_look_is_under_way_is_not_made_again(
    bridge: Bridge, clinic: Organization
) -> None:
    work = await work_on(bridge, clinic)
    bridge.sandbox.faults.arm(faults.cut_before(), server="aurabox", method="POST")
    with pytest.raises(errors.LookFirst):
        await create_once(work, case(work, clinic))
    # the look begins within the settling time, and ends after it
    await sent_ago(bridge, 2)

    async def slow_look() -> list[str]:
        await until(settling_time_is_over)
        return []

    async def settling_time_is_over() -> bool:
        async with bridge.resources.sessions() as session:
            late = Create.sent_at < in_seconds(-bridge.resources.settings.settle_seconds)
            return (await session.execute(select(late))).scalar_one()

    with pytest.raises(Held):
        await create_once(work, case(work, clinic, search=slow_look))
    assert made(bridge) == 0


async def test_several_go_to_a_person(bridge: Bridge, clinic: Organization) -> None:
    client = bridge.resources.aurabox(clinic)
    for _ in range(2):
        await client.create_case(CaseFields.model_validate({"label": LABEL}))
    work = await work_on(bridge, clinic)
    with pytest.raises(NeedsPerson) as wanted:
        await create_once(work, case(work, clinic, look_first=True))
    assert wanted.value.code == "several_matches"
    assert made(bridge) == 2


async def test_what_is_there_already_is_adopted_when_looked_for_first(
    bridge: Bridge, clinic: Organization
) -> None:
    there = await bridge.resources.aurabox(clinic).create_case(CaseFields.model_validate({"label": LABEL}))
    work = await work_on(bridge, clinic)
    adopted = await create_once(work, case(work, clinic, look_first=True))
    assert (adopted.remote_id, adopted.adopted) == (there.id, True)


REFUSALS: dict[str, Callable[[], faults.Fault]] = {
    "429": lambda: faults.too_many(1),
    "401": lambda: faults.answer(401),
    "422": lambda: faults.answer(422, {"message": "no", "errors": {"label": ["no"]}}),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_is_known_to_have_made_nothing(
    bridge: Bridge, clinic: Organization, refusal: str
) -> None:
    bridge.sandbox.faults.arm(REFUSALS[refusal](), server="aurabox", method="POST")
    work = await work_on(bridge, clinic)
    with pytest.raises(errors.SonobridgeError):
        await create_once(work, case(work, clinic))
    assert (await row(bridge)).state == CreateState.PLANNED


async def test_a_create_that_hangs_is_ended_while_the_intent_still_keeps_others_off(
    bridge: Bridge, clinic: Organization
) -> None:
    held = bridge.sandbox.faults.arm(faults.hold(), server="aurabox", method="POST")
    work = await work_on(bridge, clinic)
    with pytest.raises(errors.LookFirst):
        await asyncio.wait_for(create_once(work, case(work, clinic)), 15)
    assert held.hits == 1
    assert (await row(bridge)).state == CreateState.SENDING


async def test_one_that_slept_while_another_took_the_exam_sends_nothing(
    bridge: Bridge, clinic: Organization
) -> None:
    work = await work_on(bridge, clinic)
    async with bridge.resources.sessions.begin() as session:
        # as a sweep does; what this process's own clocks say is not asked
        await session.execute(update(Exam).values(lease_epoch=Exam.lease_epoch + 1))
    with pytest.raises(LeaseLost):
        await case(work, clinic).send()
    assert made(bridge) == 0


async def test_before_bytes_leave_the_holds_last_for_the_whole_request(
    bridge: Bridge, clinic: Organization
) -> None:
    """Not merely "not over": what is left at the check is enough for this request."""
    work = await work_on(bridge, clinic)
    long = 10 * bridge.resources.settings.lease_seconds
    enough = (Exam.lease_until >= in_seconds(long / 2), Create.held_until >= in_seconds(long / 2))

    async def send() -> str:
        async with work.effect("match:create_case", f"aurabox:{clinic.id}", seconds=long):
            async with bridge.resources.sessions() as session:
                assert [(await session.execute(select(one))).scalar_one() for one in enough] == [True, True]
            return "made"

    assert (await create_once(work, case(work, clinic, send=send))).remote_id == "made"


async def takes_over(bridge: Bridge, clinic: Organization) -> Create | None:
    """Another exam asks for the intent."""
    other = await work_on(bridge, clinic)
    async with other.tx() as (session, _):
        return await take_create(
            session,
            organization_id=clinic.id,
            kind="case",
            natural_key="key",
            holder=other.exam_id,
            seconds=30,
        )


async def test_an_intent_is_renewed_with_the_lease_while_a_search_takes_long(
    bridge: Bridge, clinic: Organization
) -> None:
    search = bridge.sandbox.faults.arm(faults.hold(), server="aurabox", method="GET")
    work = await work_on(bridge, clinic)
    looking = asyncio.create_task(create_once(work, case(work, clinic, look_first=True)))
    await until(lambda: search.waiting == 1)
    async with bridge.resources.sessions.begin() as session:
        # its term is over; the heartbeat comes in time
        await session.execute(update(Create).values(held_until=in_seconds(-1)))
    assert await work.renew()
    assert await takes_over(bridge, clinic) is None
    search.release()
    assert not (await looking).adopted
    assert made(bridge) == 1


async def test_who_lost_the_intent_while_held_up_before_the_post_sends_nothing(
    bridge: Bridge, clinic: Organization
) -> None:
    """Held up at the gate by the database for longer than the intent is held; the lease is renewed meanwhile."""
    work = await work_on(bridge, clinic)
    async with bridge.resources.engine.connect() as blocker:
        await blocker.execute(text("LOCK TABLE upstreams IN ACCESS EXCLUSIVE MODE"))
        sending = asyncio.create_task(create_once(work, case(work, clinic)))

        async def at_the_gate() -> bool:
            waits = text(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'upstreams'::regclass"
            )
            async with bridge.resources.sessions() as session:
                return (await session.execute(waits)).scalar_one() > 0

        await until(at_the_gate)
        async with bridge.resources.sessions.begin() as session:
            await session.execute(update(Create).values(held_until=in_seconds(-1)))
        taken = await takes_over(bridge, clinic)
        await blocker.rollback()
    assert taken is not None
    with pytest.raises(Held) as held:
        await sending
    assert held.value.reason == Reason.SETTLING
    assert made(bridge) == 0
    # a lost intent costs the exam nothing but time
    assert await work.renew()
    assert (await row(bridge)).epoch == taken.epoch


async def test_a_fenced_worker_sends_and_records_nothing(bridge: Bridge, clinic: Organization) -> None:
    work = await work_on(bridge, clinic)

    async def stolen() -> list[str]:
        exam = await reread(bridge.resources, work.exam_id)
        async with bridge.resources.sessions.begin() as session:
            (await session.merge(exam)).lease_epoch += 1
        return []

    with pytest.raises(LeaseLost):
        await create_once(work, case(work, clinic, search=stolen, look_first=True))
    assert made(bridge) == 0
