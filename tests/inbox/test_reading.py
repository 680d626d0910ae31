"""A reading of Clarius's list gets through a long one, reaches back far enough, and is alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from app import errors
from app.config.settings import Settings
from app.inbox.gaps import find_gaps_when_due
from app.inbox.reading import ReadingUnderWay
from app.inbox.reconcile import reconcile, reconcile_when_due
from app.resources import Resources, open_resources
from app.store.exams import Exam
from app.store.runs import Run, last_run
from sandbox import faults
from sandbox.aurabox.state import new_uuid
from sandbox.clarius.state import ExamRequest
from sandbox.exam_shapes import shape_named
from tests.support.bridge import settings_for
from tests.support.clarius import Sandbox
from tests.support.wait import until

POLL = "*/exams/accessible/"


@pytest.fixture
async def polling(settings: Settings, sandbox: Sandbox) -> AsyncIterator[Resources]:
    wanted = settings_for(settings, sandbox, clarius_poll_interval=3600, lease_seconds=30)
    async with open_resources(wanted) as opened:
        yield opened


def put(sandbox: Sandbox, customer: str, ago: timedelta) -> str:
    """An exam that Clarius lists as submitted so long ago, and of which no webhook came."""
    at = datetime.now(UTC) - ago
    exam = ExamRequest(
        request_uuid=new_uuid(),
        exam_uuid=new_uuid(),
        customer_id=customer,
        submitted_at=at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        number=1,
        shape=shape_named("complete", captures=()),
        capture_ids=[],
    )
    sandbox.clarius.exams[exam.request_uuid] = exam
    return exam.request_uuid


def put_many(sandbox: Sandbox, count: int) -> list[str]:
    customer = sandbox.add_customer()
    return [put(sandbox, customer, timedelta(seconds=10 * number + 5)) for number in range(count)]


async def known(resources: Resources) -> int:
    async with resources.sessions() as session:
        return int(await session.scalar(select(func.count(Exam.id))) or 0)


async def place(resources: Resources) -> dict[str, Any]:
    async with resources.sessions() as session:
        run = await last_run(session, "reconcile")
    return (run.place or {}) if run is not None else {}


async def test_what_was_missed_during_a_long_reading_is_found_by_the_next(
    polling: Resources, sandbox: Sandbox
) -> None:
    """It lies behind a hundred newer ones that are known, and was submitted while the last reading went on."""
    put_many(sandbox, 105)
    assert (await reconcile(polling))["new"] == 105
    async with polling.sessions.begin() as session:
        # that reading took half an hour
        began = datetime.now(UTC) - timedelta(minutes=30)
        whole = {"good_since": began.isoformat(), "left": None}
        await session.execute(update(Run).where(Run.name == "reconcile").values(place=whole))
    put(sandbox, sandbox.add_customer(), timedelta(minutes=20))
    assert (await reconcile(polling))["new"] == 1


async def broken_off(polling: Resources, sandbox: Sandbox, *, after: int) -> None:
    """A reading of which so many calls are answered."""
    sandbox.faults.arm(faults.answer(500), server="clarius", path=POLL, nth=after + 1, times=None)
    with pytest.raises(errors.TryLater):
        await reconcile(polling)
    sandbox.faults.clear()


async def test_a_first_reading_that_is_broken_off_again_and_again_comes_to_its_end(
    polling: Resources, sandbox: Sandbox
) -> None:
    put_many(sandbox, 450)
    await broken_off(polling, sandbox, after=2)
    assert await known(polling) == 200
    newest = put(sandbox, sandbox.add_customer(), timedelta(seconds=1))
    # one call for what is newest, one to find the place, two to go on from there
    await broken_off(polling, sandbox, after=4)
    assert await known(polling) == 300
    await broken_off(polling, sandbox, after=4)
    assert await known(polling) == 400
    assert (await reconcile(polling))["new"] == 51
    assert await known(polling) == 451
    assert newest in sandbox.clarius.exams
    assert (await place(polling))["left"] is None


async def test_exams_deleted_at_clarius_meanwhile_make_no_gap(polling: Resources, sandbox: Sandbox) -> None:
    sent = put_many(sandbox, 450)
    await broken_off(polling, sandbox, after=3)
    assert await known(polling) == 300
    # most of what was read is gone: the others are listed where those were
    for gone in sent[:250]:
        del sandbox.clarius.exams[gone]
    await reconcile(polling)
    assert await known(polling) == 450


async def test_a_reading_is_alone(polling: Resources, sandbox: Sandbox) -> None:
    put_many(sandbox, 3)
    held = sandbox.faults.arm(faults.hold(), server="clarius", path=POLL)
    first = asyncio.create_task(reconcile(polling))
    await until(lambda: held.waiting == 1)
    assert await reconcile_when_due(polling) is None
    with pytest.raises(ReadingUnderWay):
        await reconcile(polling, wait=0.0)
    second = asyncio.create_task(reconcile(polling))
    held.release()
    assert (await first)["new"] == 3
    assert (await second)["new"] == 0, "a person who asked meanwhile gets a reading of their own"
    assert (await reconcile(polling))["new"] == 0


async def test_a_gap_list_that_failed_is_not_put_off_to_the_next_day(
    polling: Resources, sandbox: Sandbox
) -> None:
    sandbox.faults.arm(faults.answer(500), server="clarius", path="*/notifications/records/", times=None)
    with pytest.raises(errors.TryLater):
        await find_gaps_when_due(polling)
    sandbox.faults.clear()
    assert await find_gaps_when_due(polling) is None
    async with polling.sessions.begin() as session:
        # an hour goes by
        await session.execute(
            update(Run).where(Run.name == "gaps").values(started_at=Run.started_at - timedelta(hours=1))
        )
    assert await find_gaps_when_due(polling) == []
