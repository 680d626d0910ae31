"""What the received objects say of the subject: people, animals, and nobody at all when de-identified."""

import pytest

from app.config.settings import Settings
from app.delivery.actions import RETRY, act_on
from app.states import ExamState
from app.store.audit import By
from tests.delivery.images.scene import TRANSPORTS, image_scene, objects_in

CANARY = "Kanarienvogel"


def canaried(text: str = CANARY) -> dict[str, object]:
    return {
        "first_name": f"{text}One",
        "last_name": f"{text}Two",
        "identifier": f"{text}-77",
        "date_of_birth": "1971-02-03",
        "gender": "female",
    }


async def test_a_person_is_named_as_in_aurabox(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.hold_archives()
        submitted = await scene.submit("jpeg", "mp4", patient=canaried("Test"))
        objects = objects_in(await scene.archive(held))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert {str(one.PatientName) for one in objects} == {"TestTwo^TestOne"}
        assert {one.PatientID for one in objects} == {"Test-77"}
        assert {(one.PatientBirthDate, one.PatientSex) for one in objects} == {("19710203", "F")}
        assert {one.InstitutionName for one in objects} == {"Harbour Clinic"}


async def test_an_animal_carries_the_veterinary_attributes(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        held = scene.hold_archives()
        submitted = await scene.submit("jpeg", shape="animal")
        (one,) = objects_in(await scene.archive(held))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert one.PatientSpeciesDescription
        assert one.ResponsiblePerson
        assert one.ResponsiblePersonRole == "OWNER"
        for name in ("PatientBreedDescription", "PatientSexNeutered", "ResponsibleOrganization"):
            assert name in one


async def test_nothing_of_the_person_is_in_any_byte_of_a_deidentified_archive(settings: Settings) -> None:
    async with image_scene(settings, identity="deidentified", burned_in="no") as scene:
        held = scene.hold_archives()
        submitted = await scene.submit(
            "jpeg", "jpeg-progressive", "png", "mp4", patient=canaried(), canary=f"{CANARY}Hidden"
        )
        archive = await scene.archive(held)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 4
        for word in (CANARY, str(exam.exam_uuid), str(exam.request_uuid), "19710203", "Harbour Clinic"):
            assert word.encode() not in archive
            assert word.encode("utf-16-le") not in archive
        (case,) = scene.sandbox.team().people.values()
        for one in objects_in(archive):
            assert str(one.PatientName) == one.PatientID == case.fields["label"]
            assert one.PatientIdentityRemoved == "YES"
            assert "PatientBirthDate" not in one or not one.PatientBirthDate
        (upload,) = scene.sandbox.aurabox.uploads.values()
        assert CANARY not in str(upload.body)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_unknown_pixels_wait_for_somebodys_word(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport, identity="deidentified", burned_in="unknown") as scene:
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.REVIEW)
        assert exam.error_code == "burned_in_unknown"
        assert "--burned-in" in exam.error_message
        assert scene.received == []
        await scene.change(burned_in="no")
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 1


async def test_masked_pixels_are_sent_masked(settings: Settings) -> None:
    async with image_scene(
        settings, identity="deidentified", burned_in="mask", masks=[[0, 0, 160, 20]]
    ) as scene:
        held = scene.hold_archives()
        submitted = await scene.submit("png")
        (one,) = objects_in(await scene.archive(held))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert not any(one.PixelData[: 160 * 20 * 3])
        assert any(one.PixelData[160 * 20 * 3 :])
        assert one.BurnedInAnnotation == "NO"
