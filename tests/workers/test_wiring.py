"""arq is wired as docs/adr/0005-arq-behind-one-file.md asks, and a ring costs little however Redis is."""

import asyncio
import json
import uuid

import pytest
from arq.worker import Worker

from app.config.settings import Settings
from app.infrastructure.queue import JOB_NAME, QUEUE_NAME, Queue, deserialize, serialize
from app.resources import Resources, open_resources
from app.states import ExamState
from app.store.runs import begin_run, last_run
from app.store.waking import named_in
from app.store.workers import beat, leave, living_workers
from app.upkeep.recurring import tick
from tests.support.bridge import working
from tests.support.exams import add_exam, hold, reread
from tests.support.proxy import proxied
from tests.support.wait import until
from workers import jobs
from workers.jobs import RUNNERS, run_if_due
from workers.loop import share_of
from workers.settings import FUNCTIONS, worker_options

HOOKS = ("on_job_start", "on_job_end", "after_job_end")


async def test_the_worker_keeps_nothing_hooks_nothing_and_retries_nothing_of_arqs(settings: Settings) -> None:
    options = worker_options(settings)
    worker = Worker(**options, handle_signals=False)
    try:
        assert options["keep_result"] == 0
        assert worker.keep_result_s == 0
        assert [getattr(worker, hook) for hook in HOOKS] == [None, None, None]
        assert (worker.allow_abort_jobs, worker.log_results) == (False, False)
        assert worker.job_serializer is serialize
        assert worker.job_deserializer is deserialize
        assert worker.max_tries > 10_000
        assert worker._job_completion_wait > settings.request_seconds
        assert set(worker.functions) == {JOB_NAME, "tick"}
    finally:
        await options["redis_pool"].aclose(close_connection_pool=True)


def test_the_one_job_is_registered_under_the_name_that_is_rung() -> None:
    assert [function.name for function in FUNCTIONS] == [JOB_NAME]
    assert FUNCTIONS[0].coroutine is jobs.run


async def test_a_ring_is_a_registered_name_two_words_and_json(resources: Resources) -> None:
    row = uuid.uuid4()
    assert await resources.queue.ring("exam", row, 3)
    redis = resources.queue._redis
    keys = [key async for key in redis.scan_iter("arq:job:*")]
    assert keys == [f"arq:job:exam:{row}:3".encode()]
    job = json.loads(await redis.get(keys[0]))
    assert job["f"] in {function.name for function in FUNCTIONS}
    assert (job["a"], job["k"]) == (["exam", str(row)], {})
    assert await redis.zcard(QUEUE_NAME) == 1


def test_every_kind_that_is_rung_has_a_runner() -> None:
    """A job or kind nobody registered would be dropped by arq in silence."""
    assert set(RUNNERS) >= {"exam", "link"}


@pytest.mark.row(31)
async def test_an_unknown_kind_is_left_for_a_newer_version(resources: Resources) -> None:
    assert not await run_if_due(resources, "hologram", uuid.uuid4())


async def test_twice_rung_is_once_queued_and_a_new_epoch_is_a_new_ring(resources: Resources) -> None:
    row = uuid.uuid4()
    for epoch in (1, 1, 2):
        assert await resources.queue.ring("exam", row, epoch)
    assert await resources.queue._redis.zcard(QUEUE_NAME) == 2


@pytest.mark.parametrize("state", ["hung", "gone"])
async def test_a_ring_never_raises_and_never_takes_long(settings: Settings, state: str) -> None:
    async with proxied(settings.redis_url) as (proxy, through):
        queue = Queue(settings.model_copy(update={"redis_url": through}))
        try:
            assert await queue.ring("exam", uuid.uuid4())
            if state == "hung":
                proxy.hold()
            else:
                proxy.refuse = True
                proxy.cut()
            # each is bounded by itself: thirty of them one after the other would else take minutes
            async with asyncio.timeout(60):
                rung = [await queue.ring("exam", uuid.uuid4()) for _ in range(30)]
            assert rung == [False] * 30
            assert not await queue.alive()
            proxy.refuse = False
            proxy.release()
            await until(queue.alive)
            assert await queue.ring("exam", uuid.uuid4())
        finally:
            await queue.aclose()


@pytest.mark.row(7)
async def test_work_goes_on_by_the_database_alone(settings: Settings) -> None:
    """A worker that never reaches Redis: due rows are found all the same."""
    async with proxied(settings.redis_url) as (proxy, through):
        proxy.refuse = True
        async with (
            open_resources(settings.model_copy(update={"redis_url": through})) as resources,
            working(resources),
        ):
            # without any claim it can only end as unverified, which is all that is wanted here
            exam = await add_exam(resources)

            async def done() -> bool:
                return (await reread(resources, exam.id)).state == ExamState.UNVERIFIED

            await until(done)


@pytest.mark.row(31)
async def test_a_row_that_another_version_made_is_left_alone(resources: Resources) -> None:
    exam = await add_exam(resources, state="teleporting")  # type: ignore[arg-type]
    await tick(resources)
    assert not await run_if_due(resources, "exam", exam.id)
    assert (await reread(resources, exam.id)).state == "teleporting"


async def test_a_worker_shows_that_it_lives_and_leaves_in_good_order(resources: Resources) -> None:
    async def living() -> list[str]:
        async with resources.sessions() as session:
            return [worker.id for worker in await living_workers(session)]

    async with working(resources):
        await until(living)
        assert await living() == [resources.worker_id]
    assert await living() == []


async def test_recurring_work_is_done_once_however_many_ask(resources: Resources) -> None:
    async def take() -> bool:
        async with resources.sessions.begin() as session:
            return await begin_run(session, "purge", every=3600)

    assert sorted(await asyncio.gather(*(take() for _ in range(8)))) == [False] * 7 + [True]


async def test_one_kinds_trouble_does_not_stop_the_others(settings: Settings) -> None:
    nowhere = {"clarius_base_url": "http://127.0.0.1:9", "clarius_poll_interval": 0.001}
    async with open_resources(settings.model_copy(update=nowhere)) as resources:
        exam = await add_exam(resources)
        await hold(resources, exam, seconds=0.001)
        await tick(resources)
        async with resources.sessions() as session:
            reconcile, sweep = await last_run(session, "reconcile"), await last_run(session, "sweep")
        assert reconcile is not None
        assert reconcile.error is not None
        assert sweep is not None
        assert sweep.error is None
        assert (await reread(resources, exam.id)).state == ExamState.QUEUED


def test_each_new_exam_is_one_workers_to_try() -> None:
    ids = [uuid.uuid4() for _ in range(200)]
    peers = ["a:1:x", "b:2:y", "c:3:z"]
    shares = [set(share_of(ids, peers, me)) for me in peers]
    assert set.union(*shares) == set(ids)
    assert sum(map(len, shares)) == len(ids)
    assert all(shares)


@pytest.mark.parametrize("peers", [[], ["me"], ["somebody"]])
def test_a_worker_that_knows_of_nobody_else_tries_all(peers: list[str]) -> None:
    ids = [uuid.uuid4() for _ in range(5)]
    assert share_of(ids, peers, "me") == ids


async def test_workers_know_of_each_other(resources: Resources) -> None:
    async with resources.sessions.begin() as session:
        assert await beat(session, "b:2:y", "b") == ["b:2:y"]
        assert await beat(session, "a:1:x", "a") == ["a:1:x", "b:2:y"]
        await leave(session, "b:2:y")
        assert await beat(session, "a:1:x", "a") == ["a:1:x"]


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ("0192d3a4-0000-7000-8000-000000000001 0192d3a4-0000-7000-8000-000000000002", 2),
        ("", 0),
        ("due", 0),
        ("0192d3a4-0000-7000-8000-000000000001 something-newer", 0),
    ],
)
def test_a_notification_names_new_exams_or_says_only_that_something_is_due(payload: str, named: int) -> None:
    assert len(named_in(payload)) == named
