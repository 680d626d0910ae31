"""Clarius's own DICOM as the source (C17, C19): waited for, rewritten by policy, sent; a refusal is readable."""

from app.config.settings import Settings
from app.states import ExamState
from tests.delivery.images.scene import image_scene, objects_in
from tests.support.wait import until

SOURCE = {"source": "clarius-dicom"}


async def test_it_waits_while_clarius_works_then_delivers_under_our_identity(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE) as scene:
        held = scene.hold_archives()
        submitted = await scene.submit("jpeg", "png", busy_answers=2)
        archive = await scene.archive(held)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        asked = scene.sandbox.journal.requests_to("clarius", "POST", "/api/public/v0/exams/dicom/*")
        assert [one.status for one in asked] == [400, 400, 200]
        objects = objects_in(archive)
        assert exam.sent_count == len(objects) == 2
        (person,) = scene.sandbox.team().people.values()
        for one in objects:
            assert str(one.PatientName).startswith(person.fields["family_name"])
            assert str(one.StudyInstanceUID).startswith("2.25.")
            assert str(one.SOPInstanceUID).startswith("2.25.")


async def test_deidentified_it_keeps_nothing_of_the_person(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE, identity="deidentified", burned_in="no") as scene:
        held = scene.hold_archives()
        submitted = await scene.submit(
            "jpeg", patient={"first_name": "Zzyzx", "last_name": "Qwertz", "identifier": "ID-99881"}
        )
        archive = await scene.archive(held)
        await scene.reaches(submitted, ExamState.DELIVERED)
        for word in (b"Zzyzx", b"Qwertz", b"ID-99881"):
            assert word not in archive


async def test_a_second_submission_sends_no_object_again(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE) as scene:
        first, _ = await scene.delivered("jpeg", "png")
        _, exam = await scene.delivered("jpeg#9", again=first.request_uuid)
        assert exam.sent_count == 1
        assert len(scene.received) == 3
        assert scene.effects("aurabox.instance.create") == 3


async def test_an_exam_that_may_not_be_exported_says_so_and_holds_up_no_other(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE) as scene:
        refused = await scene.submit("jpeg", notify_times=0)
        scene.sandbox.clarius.research_exams[refused.exam_uuid].forbidden = True
        await scene.sandbox.notify(refused.request_uuid)
        exam = await scene.reaches(refused, ExamState.FAILED)
        assert "403" in exam.error_message
        assert "permission" in exam.error_message
        _, other = await scene.delivered("png")
        assert other.sent_count == 1


async def test_an_exam_that_is_not_there_says_so(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE) as scene:
        submitted = await scene.submit("jpeg", notify_times=0)
        del scene.sandbox.clarius.research_exams[submitted.exam_uuid]
        await scene.sandbox.notify(submitted.request_uuid)
        exam = await scene.reaches(submitted, ExamState.FAILED)
        assert "404" in exam.error_message


async def test_a_wrong_password_pauses_and_the_right_one_goes_on(settings: Settings) -> None:
    async with image_scene(settings, **SOURCE, given={"credentials_probe_seconds": 0.3}) as scene:
        users = scene.sandbox.clarius.research_users
        right = users["researcher"]
        users["researcher"] = "another"
        submitted = await scene.submit("jpeg")

        async def paused() -> bool:
            exam = await scene.bridge.exam(submitted.request_uuid)
            return (exam.state, exam.reason) == (ExamState.WAITING, "paused")

        await until(paused)
        users["researcher"] = right
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert exam.sent_count == 1
