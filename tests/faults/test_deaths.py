"""A death is counted where a process is known to have ended; what ran beside a killer, or slept, is not called poison."""

from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from app.config.settings import Settings
from app.resources import open_resources
from app.states import ExamState
from app.store.base import in_seconds
from sandbox import faults
from tests.support.bridge import open_bridge, settings_for, working
from tests.support.clarius import Sandbox
from tests.support.exams import add_exam, reread
from tests.support.proxy import Proxy
from tests.support.rig import SHORT, Rig
from tests.support.wait import until

FINAL = (ExamState.DELIVERED, ExamState.FAILED, ExamState.REVIEW)


@pytest.mark.row(43)
async def test_a_step_that_only_newer_code_knows_is_left_alone(settings: Settings) -> None:
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as bridge,
    ):
        clinic = await bridge.organization(images="none")
        newer = await add_exam(bridge.resources, organization_id=clinic.id, step="archive")
        customer = await bridge.customer(clinic)
        # whatever comes after it goes on
        for _ in range(3):
            one = await sandbox.submit_exam(customer=customer, captures=())
            await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
        row = await reread(bridge.resources, newer.id)
        assert (row.state, row.deaths, row.lease_epoch) == (ExamState.QUEUED, 0, 0)


@pytest.mark.slow
async def test_what_ran_beside_a_killer_is_delivered(rig: Rig) -> None:
    """One exam kills its worker three times; exams that were just being downloaded beside it are not called poison."""
    await rig.api()
    worker = rig.worker()
    customer = await rig.customer(await rig.organization())
    await worker.kill()
    slow = rig.sandbox.faults.arm(faults.hold(), server="media", times=None)
    healthy = [await rig.sandbox.submit_exam(customer=customer, captures=("jpeg",)) for _ in range(3)]
    deadly = await rig.sandbox.submit_exam(customer=customer, captures=(), number=4711)
    # the deadly one pauses a little before it kills, so that the others are under way
    rig.sandbox.faults.arm(faults.delay(1.0), server="aurabox", method="GET", path="*/patients", times=None)
    for _ in range(3):
        await rig.worker("match:before_create_patient").dies_by_kill()
        slow.release()
    rig.sandbox.faults.clear()
    rig.worker()

    async def rest() -> Any:
        exams = [await rig.exam(one.request_uuid) for one in (deadly, *healthy)]
        assert all(exam.state in FINAL for exam in exams), [exam.state for exam in exams]
        return exams

    exams = await until(rest, timeout=90)
    assert [exam.state for exam in exams[1:]] == [ExamState.DELIVERED] * 3


@pytest.mark.row(43)
@pytest.mark.slow
async def test_three_outages_within_one_long_step_are_no_deaths(settings: Settings) -> None:
    """PostgreSQL is away three times for longer than a lease during one download."""
    url = make_url(settings.database_url)
    folder = unquote(str(url.query.get("host", "")))
    proxy = Proxy(f"{folder}/.s.PGSQL.5432" if folder else (url.host or "127.0.0.1", url.port or 5432))
    await proxy.start()
    try:
        through = url.set(host="127.0.0.1", port=proxy.port, query={}).render_as_string(hide_password=False)
        async with Sandbox() as sandbox:
            direct = settings_for(settings, sandbox, **SHORT)
            cut_off = direct.model_copy(update={"database_url": through})
            async with (
                open_bridge(direct, sandbox, worker=False) as bridge,
                open_resources(cut_off) as proxied,
                working(proxied),
            ):
                customer = await bridge.customer(await bridge.organization(images="none"))
                held = sandbox.faults.arm(faults.hold(), server="media", times=None)
                one = await sandbox.submit_exam(customer=customer, captures=("jpeg",))
                for _ in range(3):
                    await until(lambda: held.waiting >= 1, timeout=60)
                    before = (await bridge.exam(one.request_uuid)).lease_epoch
                    proxy.refuse = True
                    proxy.cut()

                    async def is_over() -> bool:
                        exam = await bridge.exam(one.request_uuid)
                        async with bridge.resources.sessions() as session:
                            late = await session.scalar(select(in_seconds(-1.0)))
                        return exam.lease_until is not None and exam.lease_until < late

                    await until(is_over, timeout=60)
                    proxy.refuse = False

                    async def is_taken_up_again(epoch: int = before) -> bool:
                        exam = await bridge.exam(one.request_uuid)
                        return exam.lease_epoch > epoch and exam.state == ExamState.RUNNING

                    await until(is_taken_up_again, timeout=60)
                held.release()
                sandbox.faults.clear()
                exam = await bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60)
                assert exam.deaths == 0
    finally:
        await proxy.stop()
