"""Two requests of one exam meet in one study: only content that is new goes out."""

import pytest

from app.config.settings import Settings
from app.states import ExamState
from sandbox import faults
from tests.delivery.images.scene import TRANSPORTS, image_scene
from tests.support.wait import until


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_nothing_new_sends_nothing(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        first, _ = await scene.delivered("jpeg", "png")
        asked = scene.sandbox.journal.requests_to("lift") + scene.sandbox.journal.requests_to(
            "aurabox", "POST", "/dicomweb/*"
        )
        again, exam = await scene.delivered(again=first.request_uuid)
        assert exam.sent_count == 0
        captures = await scene.captures(again)
        assert [one.already_delivered for one in captures] == [True, True]
        held = {one.sop_instance_uid for one in scene.received}
        assert {one.sop_instance_uid for one in captures} == held
        assert len(held) == 2
        now = scene.sandbox.journal.requests_to("lift") + scene.sandbox.journal.requests_to(
            "aurabox", "POST", "/dicomweb/*"
        )
        assert now == asked
        await scene.staging_is_empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_only_new_captures_are_sent(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        first, _ = await scene.delivered("jpeg")
        again, exam = await scene.delivered("png", "mp4", again=first.request_uuid)
        assert exam.sent_count == 2
        assert [one.already_delivered for one in await scene.captures(again)] == [True, False, False]
        assert len(scene.received) == 3
        assert len({one.study_instance_uid for one in scene.received}) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_two_requests_at_once_send_each_image_once(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport) as scene:
        path = "*/upload/complete" if transport == "uploader" else "/dicomweb/*"
        held = scene.sandbox.faults.arm(faults.hold(), server="aurabox", method="POST", path=path)
        first = await scene.submit("jpeg", "png")
        second = await scene.submit(again=first.request_uuid)
        await until(lambda: held.waiting)

        async def the_other_waits_its_turn() -> bool:
            exams = [await scene.bridge.exam(one.request_uuid) for one in (first, second)]
            return any((one.step, one.reason) == ("convert", "settling") for one in exams)

        await until(the_other_waits_its_turn)
        held.release()
        exams = [await scene.reaches(one, ExamState.DELIVERED) for one in (first, second)]
        sent = sorted(exam.sent_count for exam in exams)
        assert sent == [0, 2]
        assert len(scene.received) == 2
