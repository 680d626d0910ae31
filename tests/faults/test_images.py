"""Uploads through workers that are told to stop or are killed (docs/faults.md, rows 4 and 5): no attempt burned, no byte
sent twice; and no log of a worker names anybody.
"""

import pytest

from app.delivery.actions import CANCEL, act_on
from app.states import ExamState
from app.store.audit import By
from sandbox import faults
from tests.support.rig import Rig
from tests.support.wait import until

CANARY = "Wintergoldhaehnchen"
STOPS = 10
# what the database loop runs is given back at once; a job of Redis has a minute to end, ten times over
WITHOUT_REDIS = {"REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.mark.row(5)
@pytest.mark.slow
async def test_ten_stops_during_an_upload_burn_no_attempt(rig: Rig) -> None:
    await rig.api()
    worker = rig.worker(**WITHOUT_REDIS)
    customer = await rig.customer(await rig.organization(images="uploader"))
    held = rig.sandbox.faults.arm(faults.hold(), server="lift", method="PATCH", times=None)
    submitted = await rig.sandbox.submit_exam(customer=customer, captures=("png",), capture_bytes=12_000_000)
    for number in range(1, STOPS + 1):
        await until(lambda number=number: held.hits == number, timeout=60)
        assert await worker.stop() == 0
        exam = await rig.exam(submitted.request_uuid)
        assert (exam.state, exam.step, exam.attempts, exam.deaths) == (ExamState.QUEUED, "send", 0, 0)
        worker = rig.worker(**WITHOUT_REDIS)
    rig.sandbox.faults.clear()
    await rig.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    assert rig.sandbox.journal.bytes_sent_twice() == []
    assert len(rig.sandbox.journal.effects_of("lift.upload.create")) == 1
    assert len(rig.sandbox.team().instances) == 1
    await rig.ends_well()


@pytest.mark.slow
@pytest.mark.parametrize("point", ["close:before_end_upload", "close:after_end_upload"])
async def test_a_cancelled_upload_is_called_off_though_a_worker_dies_of_it(rig: Rig, point: str) -> None:
    await rig.api()
    worker = rig.worker(point)
    customer = await rig.customer(await rig.organization(images="uploader"))
    held = rig.sandbox.faults.arm(faults.hold(), server="lift", method="PATCH")
    submitted = await rig.sandbox.submit_exam(customer=customer, captures=("jpeg",))
    await until(lambda: held.waiting, timeout=60)
    exam = await rig.exam(submitted.request_uuid)
    await act_on(rig.resources, exam.request_uuid, CANCEL, by=By("test"))
    await worker.dies_by_kill()
    rig.worker()
    await until(lambda: rig.sandbox.journal.effects_of("bounce.upload.cancel"))
    await until(lambda: not rig.resources.staging.held())
    await rig.ends_well()
    assert rig.sandbox.team().instances == {}


async def test_no_log_of_a_worker_names_anybody(rig: Rig) -> None:
    await rig.api()
    worker = rig.worker()
    clinic = await rig.organization(images="uploader", identity="deidentified", burned_in="no")
    customer = await rig.customer(clinic)
    rig.canaries.add(CANARY)
    submitted = await rig.sandbox.submit_exam(
        customer=customer,
        captures=("jpeg", "mp4", "jpeg-truncated", "mp4-truncated", "text"),
        patient={"first_name": CANARY, "last_name": CANARY, "identifier": CANARY},
        canary=CANARY,
    )
    exam = await rig.reaches(submitted.request_uuid, ExamState.REVIEW)
    assert exam.error_code == "captures_missing"
    assert CANARY not in (exam.error_message or "")
    assert len(rig.sandbox.team().instances) == 2
    assert await worker.stop() == 0
    assert worker.log.stat().st_size > 0
    await rig.ends_well()
