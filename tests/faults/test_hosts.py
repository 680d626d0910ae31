"""What our own hosts do to us: rows 4, 6, 21 and 23 of docs/faults.md, invariants at the end of each."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text

from app.config.settings import Settings
from app.resources import Resources, open_resources
from app.states import ExamState
from sandbox import faults
from tests.support.bridge import Bridge, get, open_bridge, settings_for, working
from tests.support.clarius import Sandbox
from tests.support.proxy import Proxy, before_postgres
from tests.support.rig import SHORT, Rig
from tests.support.wait import until

pytestmark = pytest.mark.slow

MEGABYTE = 1_000_000
CAPTURES = ("jpeg",) * 20


# row 4


@pytest.mark.row(4)
async def test_killed_between_two_captures_the_others_are_not_read_again(rig: Rig) -> None:
    await rig.api()
    worker = rig.worker("download:between_captures@7")
    customer = await rig.customer(await rig.organization(images="uploader"))
    submitted = await rig.sandbox.submit_exam(customer=customer, captures=CAPTURES)
    await worker.dies_by_kill()
    assert len(rig.sandbox.journal.requests_to("media", "GET")) == 7
    rig.worker()
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    read = [request.path for request in rig.sandbox.journal.requests_to("media", "GET")]
    assert len(read) == len(set(read)) == len(CAPTURES)
    await rig.ends_well()


@pytest.mark.row(4)
async def test_killed_within_a_capture_it_goes_on_where_the_file_ends(rig: Rig) -> None:
    await rig.api()
    worker = rig.worker()
    customer = await rig.customer(await rig.organization(images="uploader"))
    stalled = rig.sandbox.faults.arm(faults.stall(3 * MEGABYTE), server="media")
    submitted = await rig.sandbox.submit_exam(
        customer=customer, captures=("png",), capture_bytes=20 * MEGABYTE
    )
    staged = rig.resources.staging.root
    await until(
        lambda: any(part.stat().st_size > 2 * MEGABYTE for part in staged.rglob("*.part")), timeout=60
    )
    await worker.kill()
    stalled.release()
    rig.worker()
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED)
    # a request is journaled when its answer ends, and the killed worker's may end last
    [resumed] = [asked for asked in rig.sandbox.journal.requests_to("media", "GET") if asked.range]
    assert int(resumed.range.removeprefix("bytes=").rstrip("-")) > 2 * MEGABYTE
    await rig.ends_well()


# row 6

WAIT = """CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_advisory_xact_lock_shared(6); RETURN NULL; END'"""
WAIT_AT_COMMIT = """CREATE CONSTRAINT TRIGGER commit_waits AFTER INSERT ON exams DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION wait_for_the_test()"""
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
)


@asynccontextmanager
async def behind_a_proxy(settings: Settings) -> AsyncIterator[tuple[Bridge, Proxy, Resources]]:
    """A web application without a worker that reaches PostgreSQL through the proxy; the resources go there directly."""
    async with before_postgres(settings.database_url) as (proxy, through), Sandbox() as sandbox:
        direct = settings_for(settings, sandbox, **SHORT)
        proxied = direct.model_copy(update={"database_url": through})
        async with (
            open_resources(direct) as resources,
            open_bridge(proxied, sandbox, worker=False) as bridge,
        ):
            yield bridge, proxy, resources


@pytest.mark.row(6)
async def test_the_answer_to_a_commit_is_lost_and_the_exam_is_not(settings: Settings) -> None:
    async with behind_a_proxy(settings) as (bridge, proxy, resources):
        direct = replace(bridge, resources=resources)
        customer = bridge.sandbox.add_customer()
        async with resources.sessions.begin() as session:
            for statement in (WAIT, WAIT_AT_COMMIT):
                await session.execute(text(statement))
        async with resources.sessions.begin() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(6)"))
            submitting = asyncio.create_task(bridge.sandbox.submit_exam(once=True, customer=customer))

            async def commits() -> bool:
                async with resources.sessions() as looking:
                    return await looking.scalar(text(WAITING)) == 1

            await until(commits)
            proxy.cut()
        submitted = await submitting
        # asked once more it says that it is kept; too late for that, it promises nothing and has kept it all the same
        assert submitted.answers in {(202,), (503,)}
        await until(lambda: direct.exam(submitted.request_uuid))
        async with working(resources):
            await direct.link(customer, await direct.organization(images="none"))
            await direct.reaches(submitted.request_uuid, ExamState.DELIVERED)
            await direct.ends_well()


@pytest.mark.row(6)
async def test_a_database_that_hangs_is_503_and_it_heals(settings: Settings) -> None:
    async with behind_a_proxy(settings) as (bridge, proxy, resources):
        direct = replace(bridge, resources=resources)
        customer = bridge.sandbox.add_customer()
        proxy.hold()
        refused = await bridge.sandbox.submit_exam(once=True, customer=customer)
        assert refused.answers == (503,)
        assert (await get(bridge, "/readyz")).status_code == 503
        assert (await get(bridge, "/healthz")).status_code == 200
        proxy.release()

        async def heals() -> bool:
            return await bridge.sandbox.notify(refused.request_uuid) == [202]

        await until(heals)
        async with working(resources):
            await direct.link(customer, await direct.organization(images="none"))
            await direct.reaches(refused.request_uuid, ExamState.DELIVERED)
            await direct.ends_well()


# row 21


@pytest.mark.row(21)
async def test_a_full_disk_takes_nothing_on_shows_it_and_heals(settings: Settings) -> None:
    # a file system in memory, which nobody else fills meanwhile
    with TemporaryDirectory(prefix="sonobridge-", dir="/dev/shm") as folder:
        ballast = Path(folder) / "ballast"
        wanted = {
            "data_dir": Path(folder),
            # what is under way must not be lost for a slow machine: nothing would take it again
            "lease_seconds": 20.0,
            "least_free_bytes": shutil.disk_usage(folder).free - 16 * MEGABYTE,
        }
        async with (
            Sandbox() as sandbox,
            open_bridge(settings_for(settings, sandbox, **{**SHORT, **wanted}), sandbox) as bridge,
        ):
            customer = await bridge.customer(await bridge.organization(images="none"))
            held = sandbox.faults.arm(faults.hold(), server="media")
            begun = await sandbox.submit_exam(customer=customer, captures=("jpeg", "png"))
            await until(lambda: held.waiting)
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 32 * MEGABYTE)
            held.release()
            # what is under way has a reserve of its own; nothing new is taken
            await bridge.reaches(begun.request_uuid, ExamState.DELIVERED)
            later = await sandbox.submit_exam(customer=customer)
            assert later.answers == (202,)
            ready = await get(bridge, "/readyz")
            assert (ready.status_code, ready.json()["checks"]["disk"]) == (503, False)
            assert (await bridge.exam(later.request_uuid)).lease_epoch == 0
            ballast.unlink()
            await bridge.reaches(later.request_uuid, ExamState.DELIVERED)
            assert (await get(bridge, "/readyz")).status_code == 200
            await bridge.ends_well()


# row 23


@pytest.mark.row(23)
async def test_an_organisation_that_hangs_holds_up_no_other(settings: Settings) -> None:
    async with Sandbox(teams=("Team One", "Team Two")) as sandbox:
        patient = {**SHORT, "request_seconds": 60.0, "worker_concurrency": 10}
        async with open_bridge(settings_for(settings, sandbox, **patient), sandbox) as bridge:
            slow = await bridge.customer(await bridge.organization("Slow", images="none"))
            team = sandbox.team("Team Two")
            quick = await bridge.customer(await bridge.organization("Quick", team=team, images="none"))
            held = sandbox.faults.arm(faults.hold(), server="aurabox", team="Team One", times=None)
            stuck = [await sandbox.submit_exam(customer=slow, captures=()) for _ in range(15)]
            await until(lambda: held.waiting >= 8)
            for _ in range(5):
                one = await sandbox.submit_exam(customer=quick, captures=())
                await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
            # its limit is eight exams at a time, and all that time it had that many under way
            assert held.waiting == 8
            sandbox.faults.clear()
            held.release()
            for exam in stuck:
                await bridge.reaches(exam.request_uuid, ExamState.DELIVERED, timeout=60)
            await bridge.ends_well()
