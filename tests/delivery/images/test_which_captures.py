"""Captures are known by what they are: lists that change, files that are gone, links and answers that are none."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from app.config.settings import Settings
from app.delivery.actions import RETRY, act_on, decide
from app.delivery.capture_list import places
from app.states import ExamState, Step
from app.store.audit import By
from app.store.captures import Capture
from app.store.exams import Exam
from sandbox import faults
from sandbox.clarius.captures import keep_capture
from sandbox.faults import RequestFacts, Rule
from sandbox.media import make_capture
from sandbox.submitting import Submitted
from tests.delivery.images.scene import Scene, image_scene
from tests.support.wait import until

QUICK = {"retry_base_seconds": 0.2, "retry_cap_seconds": 1.0}
GONE = faults.answer(404, "<Error><Code>NoSuchKey</Code></Error>")


def of_the_second(asked: list[str]) -> Callable[[RequestFacts], bool]:
    """Requests for the file that was asked for second, under whatever link; `asked` is filled as they come."""

    def matches(facts: RequestFacts) -> bool:
        if facts.path not in asked:
            asked.append(facts.path)
        return asked.index(facts.path) == 1

    return matches


def lose_the_second(scene: Scene, fault: faults.Fault = GONE, *, times: int | None = None) -> Rule:
    return scene.sandbox.faults.arm(fault, server="media", times=times, predicate=of_the_second([]))


async def started(scene: Scene, *captures: str, nth: int) -> tuple[Submitted, Rule]:
    """An exam of which the Nth file is just being read."""
    held = scene.sandbox.faults.arm(faults.hold(), server="media", nth=nth)
    submitted = await scene.submit(*captures)
    await until(lambda: held.waiting == 1, timeout=60)
    return submitted, held


def ids_of(scene: Scene, submitted: Submitted) -> list[str]:
    return scene.sandbox.clarius.exams[submitted.request_uuid].capture_ids


def links_end(scene: Scene, held: Rule) -> None:
    scene.sandbox.clarius.expire_links()
    held.release()


@pytest.mark.row(36)
async def test_captures_listed_in_another_order_arrive_once_each(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted, held = await started(scene, "jpeg", "png", nth=2)
        before = [one.id for one in await scene.captures(submitted)]
        ids_of(scene, submitted).reverse()
        links_end(scene, held)
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 2
        captures = await scene.captures(submitted)
        assert [one.id for one in captures] == before[::-1]
        assert [one.kind for one in captures] == ["png", "jpeg"]


@pytest.mark.row(36)
async def test_one_more_in_front_of_the_list_is_read_too(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted, held = await started(scene, "jpeg", "png", nth=2)
        more = keep_capture(scene.sandbox, make_capture("jpeg", seed=4711))
        ids_of(scene, submitted).insert(0, more.id)
        links_end(scene, held)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == exam.sent_count == 3
        assert [one.index for one in await scene.captures(submitted)] == [0, 1, 2]


@pytest.mark.row(36)
async def test_one_that_the_list_names_no_more_is_not_sent(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted, held = await started(scene, "jpeg", "png", nth=2)
        del ids_of(scene, submitted)[0]
        links_end(scene, held)
        exam = await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == exam.sent_count == 1
        (left,) = await scene.captures(submitted)
        assert (left.kind, left.index) == ("png", 0)


@pytest.mark.row(36)
async def test_one_whose_image_is_in_the_study_stays_when_the_list_names_it_no_more(
    settings: Settings,
) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        rule = lose_the_second(scene)
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        rule.release()
        scene.sandbox.faults.clear()
        first, second = await scene.captures(submitted)
        del ids_of(scene, submitted)[0]
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 2
        captures = await scene.captures(submitted)
        # after those that are listed; and it was not read again, having no address any more
        assert [one.id for one in captures] == [second.id, first.id]
        assert captures[0].unlisted_at is None
        assert captures[1].unlisted_at is not None


async def test_two_entries_of_one_file_are_one_capture(settings: Settings) -> None:
    async with image_scene(settings) as scene:
        submitted = await scene.submit("jpeg", "png", notify_times=0)
        ids = ids_of(scene, submitted)
        ids.append(ids[0])
        await scene.sandbox.notify(submitted.request_uuid)
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(await scene.captures(submitted)) == len(scene.received) == 2


async def test_rows_from_before_are_known_by_the_address_that_they_hold(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted, held = await started(scene, "jpeg", "png", nth=2)
        before = {one.id for one in await scene.captures(submitted)}
        async with scene.bridge.resources.sessions.begin() as session:
            await session.execute(update(Capture).values(place_hash=None))
        ids_of(scene, submitted).reverse()
        links_end(scene, held)
        await scene.reaches(submitted, ExamState.DELIVERED)
        captures = await scene.captures(submitted)
        assert {one.id for one in captures} == before
        assert None not in {one.place_hash for one in captures}
        assert len(scene.received) == 2


def test_a_place_is_the_path_and_more_only_where_that_does_not_tell_apart() -> None:
    signed = "https://a.example/x/1.jpg?X-Amz-Signature={0}&X-Amz-Expires={0}"
    assert set(places([signed.format(1), signed.format(2)]).values()) == {"/x/1.jpg"}
    azure = "https://b.example/x/1.jpg?se=2026&sp=r&sig={}"
    assert set(places([azure.format("a"), azure.format("b")]).values()) == {"/x/1.jpg"}
    # a number in the query, or another host: rather read twice than taken for one
    numbered = ["https://a.example/file?id=1&sig=a", "https://a.example/file?id=2&sig=b"]
    assert len(set(places(numbered).values())) == 2
    hosts = ["https://a.example/1.jpg?sig=a", "https://b.example/1.jpg?sig=a"]
    assert len(set(places(hosts).values())) == 2
    assert places(["https://[broken"]) == {"https://[broken": "https://[broken"}


@pytest.mark.row(36)
async def test_one_that_is_gone_for_good_is_its_own_problem(settings: Settings) -> None:
    """Storage lost one file (404 on every fresh link): the others are delivered, and this one is named."""
    async with image_scene(settings, given={"retry_budget_hours": 0.003}) as scene:
        lose_the_second(scene)
        submitted = await scene.submit("jpeg", "png", "jpeg#5")
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        assert exam.error_code == "captures_missing"
        assert len(scene.received) == 2
        (lost,) = [one for one in await scene.captures(submitted) if one.problem_code]
        assert (lost.problem_code, lost.index) == ("capture_gone", 1)
        assert "404 (NoSuchKey)" in exam.error_message

        await decide(scene.bridge.resources, exam.request_uuid, "without-captures", by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 2


@pytest.mark.row(36)
async def test_one_that_is_there_a_little_later_is_found(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        rule = lose_the_second(scene, times=5)
        submitted, _ = await scene.delivered("jpeg", "png")
        assert rule.hits == 5
        assert len(scene.received) == 2
        assert [one.missing_since for one in await scene.captures(submitted)] == [None, None]


@pytest.mark.parametrize("status", [403, 400])
async def test_a_refused_file_is_its_own_problem_while_the_storage_serves_others(
    settings: Settings, status: int
) -> None:
    """A storage that may not list its files says 403 of one that is not there."""
    code = "AccessDenied" if status == 403 else "ExpiredToken"
    async with image_scene(settings, given={**QUICK, "clarius_verify_window": 1.0}) as scene:
        lose_the_second(scene, faults.answer(status, f"<Error><Code>{code}</Code></Error>"))
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        assert len(scene.received) == 1
        assert f"{status} ({code})" in exam.error_message
        assert (await scene.captures(submitted))[1].problem_code == "capture_refused"


async def test_a_link_that_outlived_its_signer_is_renewed(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        rule = scene.sandbox.faults.arm(
            faults.answer(400, "<Error><Code>ExpiredToken</Code></Error>"), server="media", times=1
        )
        await scene.delivered("jpeg")
        assert rule.hits == 1
        assert len(scene.received) == 1


async def test_trying_again_reads_the_exam_data_anew_first(settings: Settings) -> None:
    async with image_scene(settings, given={**QUICK, "clarius_verify_window": 0.5}) as scene:
        lose_the_second(scene)
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        scene.sandbox.faults.clear()
        # by now that link is dead, and what it led to lies elsewhere
        scene.sandbox.clarius.expire_links()
        moved = keep_capture(scene.sandbox, make_capture("png", seed=11))
        ids_of(scene, submitted)[1] = moved.id
        refused = len([one for one in scene.sandbox.journal.requests_to("media") if one.status == 403])
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert len(scene.received) == 2
        asked = [one for one in scene.sandbox.journal.requests_to("media") if one.status == 403]
        assert len(asked) == refused


@pytest.mark.row(39)
@pytest.mark.parametrize("at_clarius", [False, True])
async def test_a_page_in_place_of_a_capture_is_tried_again(settings: Settings, at_clarius: bool) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted = await scene.submit("jpeg", "png", notify_times=0)
        scene.sandbox.clarius.exams[submitted.request_uuid].captures_at_clarius = at_clarius
        page = faults.answer(200, "<html>We are just deploying</html>", headers={"content-type": "text/html"})
        where: dict[str, Any] = (
            {"server": "clarius", "path": "*/media/*"} if at_clarius else {"server": "media"}
        )
        rule = scene.sandbox.faults.arm(page, times=3, **where)
        await scene.sandbox.notify(submitted.request_uuid)
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert rule.hits == 3
        assert len(scene.received) == 2


@pytest.mark.row(39)
async def test_a_garbled_answer_is_tried_again(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        garbled = faults.answer(200, "no gzip", headers={"content-encoding": "gzip"})
        rule = scene.sandbox.faults.arm(garbled, server="media", times=3)
        await scene.delivered("jpeg", "png")
        assert rule.hits == 3
        assert len(scene.received) == 2


@pytest.mark.row(38)
async def test_a_404_on_clariuss_own_origin_is_no_end(settings: Settings) -> None:
    async with image_scene(settings, given=QUICK) as scene:
        submitted = await scene.submit("jpeg", notify_times=0)
        scene.sandbox.clarius.exams[submitted.request_uuid].captures_at_clarius = True
        rule = scene.sandbox.faults.arm(
            faults.answer(404, {"detail": "Not found."}), server="clarius", path="*/media/*", times=3
        )
        await scene.sandbox.notify(submitted.request_uuid)
        await scene.reaches(submitted, ExamState.DELIVERED)
        assert rule.hits == 3


async def test_an_exam_deleted_when_most_of_it_was_sent_says_what_is_missing(settings: Settings) -> None:
    async with image_scene(settings, given={**QUICK, "clarius_verify_window": 0.5}) as scene:
        lose_the_second(scene)
        submitted = await scene.submit("jpeg", "png")
        exam = await scene.reaches(submitted, ExamState.REVIEW, timeout=60)
        scene.sandbox.delete_exam(submitted.request_uuid)
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))

        async def again() -> Any:
            found = await scene.bridge.exam(submitted.request_uuid)
            return "deleted at Clarius" in (found.error_message or "") and found.lease_until is None

        await until(again, timeout=60)
        exam = await scene.bridge.exam(submitted.request_uuid)
        assert (exam.state, exam.error_code) == (ExamState.REVIEW, "captures_missing")
        assert len(scene.received) == 1


async def test_a_file_of_before_is_not_taken_for_what_another_host_read_since(settings: Settings) -> None:
    """The first host comes back with its staging folder, after another one had read other bytes."""
    async with image_scene(settings, given=QUICK) as scene:
        scene.sandbox.faults.arm(faults.answer(422), server="aurabox", path="*/upload/init", times=None)
        submitted = await scene.submit("jpeg")
        exam = await scene.reaches(submitted, ExamState.FAILED)
        (capture,) = await scene.captures(submitted)
        scene.sandbox.faults.clear()
        async with scene.bridge.resources.sessions.begin() as session:
            await session.execute(update(Capture).values(bytes=(capture.bytes or 0) + 1, sha256="0" * 64))
            await session.execute(update(Exam).where(Exam.id == exam.id).values(step=Step.DOWNLOAD))
        await act_on(scene.bridge.resources, exam.request_uuid, RETRY, by=By("test"))
        await scene.reaches(submitted, ExamState.DELIVERED)
        (now,) = await scene.captures(submitted)
        assert now.sha256 == capture.sha256
