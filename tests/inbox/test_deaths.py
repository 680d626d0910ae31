"""When a lease that ran out counts as a death of its worker, and what a worker may run beside a suspect."""

import pytest
from sqlalchemy import update

from app.resources import Resources
from app.states import Step
from app.store.base import in_seconds
from app.store.exam_leases import lease_exam
from app.store.exams import Exam
from app.store.workers import Worker, beat
from app.upkeep.sweep import sweep
from tests.support.exams import add_exam, hold, reread


async def owned_by(resources: Resources, owner: str, *, heard: float, steady: float = 3600) -> None:
    """A worker that was last heard of so many seconds ago."""
    async with resources.sessions.begin() as session:
        session.add(
            Worker(
                id=owner,
                host=owner.partition(":")[0],
                heartbeat_at=in_seconds(-heard),
                steady_since=in_seconds(-steady),
            )
        )


@pytest.mark.parametrize(
    ("heard", "witness", "taken", "deaths"),
    [(3600, True, 1, 1), (3600, False, 0, 0), (0, True, 1, 0), (0, False, 1, 0)],
    ids=["silent, and others heard", "silent, like everybody", "heard of since", "heard of since, alone"],
)
async def test_only_a_worker_that_is_known_to_have_ended_has_died(
    resources: Resources, heard: float, witness: bool, taken: int, deaths: int
) -> None:
    exam = await add_exam(resources, step=Step.FETCH)
    async with resources.sessions.begin() as session:
        claimed = await lease_exam(session, exam.id, owner="elsewhere:7:x", host=resources.host, seconds=60)
        await session.execute(update(Exam).values(lease_until=in_seconds(-1)))
    assert claimed is not None
    await owned_by(resources, "elsewhere:7:x", heard=heard)
    if witness:
        await owned_by(resources, "other:8:y", heard=0)
    assert (await sweep(resources))["taken_back"] == taken
    assert (await reread(resources, exam.id)).deaths == deaths


async def test_a_worker_of_this_host_that_still_runs_has_not_died(resources: Resources) -> None:
    """Frozen for longer than its lease: its process is there, so nothing is counted against the exam."""
    exam = await add_exam(resources, step=Step.FETCH)
    await hold(resources, exam)
    await owned_by(resources, resources.worker_id, heard=3600)
    await owned_by(resources, "other:8:y", heard=0)
    async with resources.sessions.begin() as session:
        await session.execute(update(Exam).values(lease_until=in_seconds(-1)))
    assert (await sweep(resources))["taken_back"] == 1
    assert (await reread(resources, exam.id)).deaths == 0


async def test_a_gap_in_its_own_heartbeat_makes_a_worker_no_witness(resources: Resources) -> None:
    await owned_by(resources, "other:8:y", heard=3600)
    async with resources.sessions.begin() as session:
        await beat(session, "other:8:y", "other", silent=30)
        await session.flush()
    async with resources.sessions() as session:
        row = await session.get_one(Worker, "other:8:y")
        assert row.steady_since == row.heartbeat_at


async def test_a_suspect_runs_alone(resources: Resources) -> None:
    """After a death neither takes a worker the exam beside others, nor others beside it."""
    suspect = await add_exam(resources, step=Step.FETCH, deaths=1)
    plain, other = [await add_exam(resources, step=Step.FETCH) for _ in range(2)]

    async def claims(exam: Exam, owner: str) -> bool:
        async with resources.sessions.begin() as session:
            taken = await lease_exam(session, exam.id, owner=owner, host=resources.host, seconds=60)
        return taken is not None

    assert await claims(plain, "a:1:x")
    assert not await claims(suspect, "a:1:x")
    assert await claims(suspect, "b:2:y")
    assert not await claims(other, "b:2:y")
    assert await claims(other, "a:1:x")
