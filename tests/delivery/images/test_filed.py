"""Filed and images there are two facts: what is said of an exam claims no image that is not known to be there."""

import pytest

from app.config.settings import Settings
from app.states import ExamState
from tests.delivery.images.scene import image_scene


async def test_without_images_nothing_claims_any(settings: Settings) -> None:
    async with image_scene(settings, images="none") as scene:
        submitted, exam = await scene.delivered("jpeg", "png", "mp4")
        (study,) = scene.studies
        assert study.fields["number_of_images"] == 0
        shown = await scene.shown(submitted)
        why = "images are not sent, by the organisation's policy"
        assert shown["images"] == {"wanted": 0, "accepted": 0, "seen": None, "missing": 0, "why": why}
        assert [one["there"] for one in shown["captures"]] == [False] * 3
        assert (exam.sent_count, exam.seen_count) == (None, None)
        told = [line["detail"] for line in shown["timeline"] if line["step"] == "confirm" and line["detail"]]
        assert told == [f"filed; {why}"]


async def test_the_study_is_told_how_many_images_will_come(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        # the same bytes twice are one image, and a file that is none is none
        submitted = await scene.submit("jpeg", "jpeg#0", "png", "html")
        await scene.reaches(submitted, ExamState.REVIEW)
        (study,) = scene.studies
        assert study.fields["number_of_images"] == 2 == len(scene.received)


async def test_nobody_says_how_many_are_in_a_bundle_that_is_not_open(settings: Settings) -> None:
    async with image_scene(settings, source="clarius-dicom") as scene:
        await scene.delivered("jpeg", "png")
        (study,) = scene.studies
        assert "number_of_images" not in study.fields


@pytest.mark.parametrize(("transport", "seen"), [("uploader", None), ("dicomweb", 2)])
async def test_what_is_missing_is_counted_and_named(
    settings: Settings, transport: str, seen: int | None
) -> None:
    async with image_scene(settings, transport) as scene:
        submitted = await scene.submit("jpeg", "empty", "png")
        await scene.reaches(submitted, ExamState.REVIEW)
        shown = await scene.shown(submitted)
        images = shown["images"]
        assert (images["wanted"], images["accepted"], images["seen"], images["missing"]) == (3, 2, seen, 1)
        assert images["why"].startswith("capture 2: ")
        assert [one["there"] for one in shown["captures"]] == [True, False, True]
