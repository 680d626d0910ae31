"""What the vendors do to us: rows 4, 11 to 16, 18 to 20, 25 and 32 of docs/faults.md, invariants at the end of each."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.clients.aurabox import PatientFields
from app.config.sealing import new_key
from app.config.settings import Settings
from app.organizations.changes import set_organization
from app.states import ExamState, Reason, Step
from app.store.audit import By
from app.store.exam_events import timeline
from app.store.upstreams import upstream
from sandbox import faults
from sandbox.exam_shapes import SHAPES
from tests.delivery.images.scene import image_scene
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import SHORT, open_short_bridge
from tests.support.wait import until

CREATES = "aurabox.*.create"


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with open_short_bridge(settings) as running:
        yield running


def effects(bridge: Bridge, kind: str) -> int:
    return len(bridge.sandbox.journal.effects_of(kind))


# row 11

AFTER = {
    "seconds": lambda: "8",
    "a date": lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True),
    "nothing": lambda: None,
    "nonsense": lambda: "soon",
}


@pytest.mark.row(11)
@pytest.mark.parametrize("after", AFTER)
async def test_a_throttled_account_waits_as_a_whole_and_the_others_go_on(bridge: Bridge, after: str) -> None:
    slow = await bridge.customer(await bridge.organization("Slow", images="none"))
    team = bridge.sandbox.team("Team Two")
    quick = await bridge.customer(await bridge.organization("Quick", team=team, images="none"))
    rule = bridge.sandbox.faults.arm(
        faults.too_many(AFTER[after]()), server="aurabox", team="Team One", times=1
    )
    first = await bridge.sandbox.submit_exam(customer=slow)
    waiting = await bridge.reaches(first.request_uuid, ExamState.WAITING)
    assert waiting.reason == Reason.THROTTLED
    assert waiting.attempts == 0
    second = await bridge.sandbox.submit_exam(customer=slow)
    other = await bridge.sandbox.submit_exam(customer=quick)
    await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
    delivered = [
        await bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60) for one in (first, second)
    ]
    assert [exam.attempts for exam in delivered] == [0, 0]
    assert rule.hits == 1
    await bridge.ends_well()


# rows 12 to 14


@pytest.mark.row(12)
@pytest.mark.parametrize("with_effect", [True, False])
async def test_server_errors_on_creates_are_looked_for_first(bridge: Bridge, with_effect: bool) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    fault = faults.answer(500, after_effect=with_effect)
    bridge.sandbox.faults.arm(fault, server="aurabox", method="POST", times=2)
    submitted = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=90)
    assert effects(bridge, CREATES) == 2
    await bridge.ends_well()


@pytest.mark.row(14)
async def test_several_matches_go_to_review(bridge: Bridge) -> None:
    clinic = await bridge.organization(images="none")
    customer = await bridge.customer(clinic)
    told = SHAPES["complete"].patient(77)
    # two people of one name, birth date and sex, made by hand in Aurabox
    by_hand = PatientFields(
        given_names=f"{told['first_name']} {told['middle_name']}",
        family_name=told["last_name"],
        date_of_birth=date.fromisoformat(told["date_of_birth"]),
        sex=told["gender"],
    )
    client = bridge.resources.aurabox(clinic)
    for _ in range(2):
        await client.create_patient(by_hand)
    submitted = await bridge.sandbox.submit_exam(customer=customer, patient=told)
    exam = await bridge.reaches(submitted.request_uuid, ExamState.REVIEW)
    assert exam.error_code == "several_matches"
    assert effects(bridge, CREATES) == 2


# rows 4, 15 and 16


@pytest.mark.row(15)
@pytest.mark.parametrize(
    "fault",
    [faults.truncate(700), faults.expire(), faults.answer(500), faults.cut_before()],
    ids=["truncated", "expired", "500", "cut"],
)
async def test_a_capture_that_fails_once_is_resumed_or_refreshed(bridge: Bridge, fault: faults.Fault) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    bridge.sandbox.faults.arm(fault, server="media")
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg", "png", "jpeg"))
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    await bridge.ends_well()


@pytest.mark.row(15)
async def test_links_that_all_expired_are_refreshed_with_one_look(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    held = bridge.sandbox.faults.arm(faults.hold(), server="media")
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg", "png", "jpeg"))
    await until(lambda: held.waiting == 1)
    bridge.sandbox.clarius.expire_links()
    held.release()
    exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    assert exam.attempts == 0
    reads = bridge.sandbox.journal.requests_to("clarius", "GET", "*download-requests*")
    assert len(reads) == 2
    async with bridge.resources.sessions() as session:
        told = await timeline(session, exam.id)
    assert [event.event for event in told if event.step == Step.DOWNLOAD] == ["done"]
    await bridge.ends_well()


BAD = {
    "html": "capture_wrong_kind",
    "empty": "capture_empty",
}


@pytest.mark.row(15)
@pytest.mark.parametrize("kind", BAD)
async def test_a_capture_that_is_none_is_shown_and_the_others_are_kept(bridge: Bridge, kind: str) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg", kind))
    exam = await bridge.reaches(submitted.request_uuid, ExamState.REVIEW, timeout=60)
    assert exam.error_code == "captures_missing"
    assert "capture 2" in (exam.error_message or "")


@pytest.mark.row(15)
async def test_a_capture_without_end_is_refused_at_the_cap(settings: Settings) -> None:
    async with open_short_bridge(settings, max_capture_bytes=300_000) as bridge:
        customer = await bridge.customer(await bridge.organization(images="none"))
        submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("endless", "jpeg"))
        exam = await bridge.reaches(submitted.request_uuid, ExamState.REVIEW, timeout=60)
        assert "larger" in (exam.error_message or "")
        folder = bridge.resources.staging.folder(exam.id)
        assert sum(file.stat().st_size for file in folder.iterdir()) < 300_000


REFUSED_SHAPES = {"list", "string", "null", "not-json", "cut-json", "gzip-bomb"}
SLOW_SHAPES = {"many-captures"}


@pytest.mark.row(16)
@pytest.mark.slow
async def test_no_shape_of_exam_data_is_too_odd(settings: Settings) -> None:
    # what is no answer is tried again for as long as the budget lasts: here for some seconds
    async with open_short_bridge(settings, retry_budget_hours=0.001) as bridge:
        await every_shape_comes_to_rest(bridge)


async def every_shape_comes_to_rest(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    submitted = {
        shape: await bridge.sandbox.submit_exam(customer=customer, shape=shape)
        for shape in SHAPES
        if shape not in SLOW_SHAPES
    }
    exams = {exam.request_uuid: exam for exam in await bridge.rests(timeout=110)}
    for shape, one in submitted.items():
        exam = next(exam for key, exam in exams.items() if str(key) == one.request_uuid)
        assert exam.error_code != "internal", shape
        if shape in REFUSED_SHAPES:
            assert (exam.state, exam.error_code) == (ExamState.FAILED, "clarius_bad_answer"), shape
        elif exam.state != ExamState.DELIVERED:
            assert exam.state == ExamState.REVIEW, f"{shape}: {exam.state} {exam.error_code}"


@pytest.mark.row(16)
async def test_exam_data_with_half_a_character_in_it(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    body = '{"patient": {"last_name": "Ash\\ud800grove", "identifier": "\\udfff7"}, "captures": []}'
    fault = faults.answer(200, body, headers={"Content-Type": "application/json"})
    bridge.sandbox.faults.arm(fault, server="clarius", path="*/download-requests/*")
    submitted = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)


# row 39

READS = {
    "poll": ("clarius", "*/exams/accessible/*"),
    "exam data": ("clarius", "*/download-requests/*"),
    "search of people": ("aurabox", "*/patients"),
    "search of studies": ("aurabox", "*/patients/*/studies"),
    "read back": ("aurabox", "*/patients/*/studies/*"),
}
GARBLED = {
    "a page": lambda: faults.answer(200, "<html><body>Just a moment…</body></html>"),
    "garbage": lambda: faults.answer(200, "\u0000\u0001\ufffd"),
    "a firewall's 403": lambda: faults.answer(403, "<html><h1>Request blocked</h1></html>"),
    "half": lambda: faults.answer(
        200, '{"results": [{"uuid": "', headers={"Content-Type": "application/json"}
    ),
}


@pytest.mark.row(39)
@pytest.mark.parametrize("garbled", GARBLED)
@pytest.mark.parametrize("read", READS)
async def test_an_answer_that_is_none_is_tried_again(bridge: Bridge, read: str, garbled: str) -> None:
    server, path = READS[read]
    customer = await bridge.customer(await bridge.organization(images="none"))
    rule = bridge.sandbox.faults.arm(GARBLED[garbled](), server=server, method="GET", path=path, times=2)
    submitted = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    assert rule.hits == 2
    assert effects(bridge, CREATES) == 2
    await bridge.ends_well()


@pytest.mark.row(39)
@pytest.mark.parametrize("read", READS)
async def test_a_firewalls_403_once_is_tried_again(bridge: Bridge, read: str) -> None:
    """A page of something between us and the vendor: the key works, and the exam is what was asked for."""
    server, path = READS[read]
    customer = await bridge.customer(await bridge.organization(images="none"))
    page = faults.answer(403, "<html><body>Request blocked. Incident 17-23</body></html>")
    rule = bridge.sandbox.faults.arm(page, server=server, method="GET", path=path)
    submitted = await bridge.sandbox.submit_exam(customer=customer)
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED, timeout=60)
    assert rule.hits == 1
    assert effects(bridge, CREATES) == 2
    await bridge.ends_well()


BLOCKED = {**GARBLED, "403": lambda: faults.answer(403, "<html>Request blocked</html>")}
IMAGE_READS = {
    "uploader config": ("uploader", "*/uploader/config"),
    "instances": ("dicomweb", "/dicomweb/*"),
}


@pytest.mark.row(39)
@pytest.mark.parametrize("garbled", BLOCKED)
async def test_a_known_patient_whose_record_is_not_to_be_read_once(bridge: Bridge, garbled: str) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    first = await bridge.sandbox.submit_exam(customer=customer, number=7)
    await bridge.reaches(first.request_uuid, ExamState.DELIVERED)
    (person,) = bridge.sandbox.team().people
    rule = bridge.sandbox.faults.arm(
        BLOCKED[garbled](), server="aurabox", method="GET", path=f"/api/v1/patients/{person}"
    )
    second = await bridge.sandbox.submit_exam(customer=customer, number=7)
    await bridge.reaches(second.request_uuid, ExamState.DELIVERED, timeout=60)
    assert rule.hits == 1
    assert effects(bridge, "aurabox.patient.create") == 1
    await bridge.ends_well()


@pytest.mark.row(39)
@pytest.mark.parametrize("garbled", BLOCKED)
@pytest.mark.parametrize("read", IMAGE_READS)
async def test_a_read_around_images_that_is_none_is_tried_again(
    settings: Settings, read: str, garbled: str
) -> None:
    transport, path = IMAGE_READS[read]
    async with image_scene(settings, transport, given={**SHORT, "lease_seconds": 6.0}) as scene:
        rule = scene.sandbox.faults.arm(BLOCKED[garbled](), server="aurabox", method="GET", path=path)
        submitted = await scene.submit("jpeg")
        await scene.reaches(submitted, ExamState.DELIVERED, timeout=60)
        assert rule.hits == 1
        assert len(scene.received) == 1
        await scene.bridge.ends_well()


# row 18


@pytest.mark.row(18)
async def test_an_unknown_customer_is_held_and_asked_about_by_nobody_until_it_is_linked(
    bridge: Bridge,
) -> None:
    customer = bridge.sandbox.add_customer()
    submitted = [await bridge.sandbox.submit_exam(customer=customer) for _ in range(2)]
    for one in submitted:
        assert (await bridge.reaches(one.request_uuid, ExamState.WAITING)).reason == Reason.LINK
    await bridge.rests()
    asked = bridge.sandbox.journal.requests_to("clarius", path="*/exams/accessible/*")
    assert all("customer_id" not in request.query for request in asked)
    assert bridge.sandbox.journal.requests_to("aurabox") == []
    await bridge.link(customer, await bridge.organization(images="none"))
    for one in submitted:
        await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
    await bridge.ends_well()


# rows 19 and 32


@pytest.mark.row(19)
async def test_a_revoked_organisation_pauses_alone_and_resumes_with_a_new_key(bridge: Bridge) -> None:
    sandbox = bridge.sandbox
    clinic = await bridge.organization("Revoked", images="none")
    revoked = await bridge.customer(clinic)
    other = await bridge.customer(
        await bridge.organization("Other", team=sandbox.team("Team Two"), images="none")
    )
    team = sandbox.team("Team One")
    team.key = "aura_a-new-key-of-this-team"
    exams = [await sandbox.submit_exam(customer=revoked) for _ in range(3)]
    for one in exams:

        async def paused(request_uuid: str = one.request_uuid) -> bool:
            exam = await bridge.exam(request_uuid)
            return (exam.state, exam.reason, exam.attempts) == (ExamState.WAITING, Reason.PAUSED, 0)

        await until(paused)
    working = await sandbox.submit_exam(customer=other)
    await bridge.reaches(working.request_uuid, ExamState.DELIVERED)
    await set_organization(bridge.resources, "Revoked", {"aurabox_key": team.key}, by=By("test"))
    for one in exams:
        exam = await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
        assert exam.attempts == 0
    await bridge.ends_well()


@pytest.mark.row(19)
async def test_a_revoked_clarius_key_pauses_everything_at_clarius_and_a_probe_resumes(
    bridge: Bridge,
) -> None:
    sandbox = bridge.sandbox
    customer = await bridge.customer(await bridge.organization(images="none"))
    rule = sandbox.faults.arm(faults.answer(401), server="clarius", times=None)
    submitted = await sandbox.submit_exam(customer=customer)
    paused = await bridge.reaches(submitted.request_uuid, ExamState.WAITING)
    assert (paused.reason, paused.attempts) == (Reason.PAUSED, 0)
    async with bridge.resources.sessions() as session:
        known = await upstream(session, "clarius")
    assert known is not None
    assert known.refused_since is not None
    assert rule.hits > 0
    sandbox.faults.clear()
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    await bridge.ends_well()


@pytest.mark.row(32)
async def test_a_missing_sealing_key_pauses_and_the_old_one_opens(settings: Settings, tmp_path: Path) -> None:
    old = new_key()
    async with Sandbox() as sandbox:
        base = settings_for(settings, sandbox, **{**SHORT, "secret_keys": [old]})
        async with open_bridge(base, sandbox) as bridge:
            customer = await bridge.customer(await bridge.organization(images="none"))
            done = await sandbox.submit_exam(customer=customer)
            await bridge.reaches(done.request_uuid, ExamState.DELIVERED)
        missing = base.model_copy(update={"secret_keys": [SecretStr(new_key().get_secret_value())]})
        async with open_bridge(missing, sandbox) as bridge:
            # what needs the key is refused and not lost, and the service stays up
            refused = await sandbox.submit_exam(once=True, customer=customer)
            assert refused.answers == (503,)
        both = base.model_copy(update={"secret_keys": [new_key(), old]})
        async with open_bridge(both, sandbox) as bridge:
            assert await sandbox.notify(refused.request_uuid) == [202]
            await bridge.reaches(refused.request_uuid, ExamState.DELIVERED)
            await bridge.ends_well()


# rows 20 and 25


@pytest.mark.row(20)
async def test_an_exam_deleted_before_it_is_read_is_gone(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    held = bridge.sandbox.faults.arm(faults.hold(), server="clarius", path="*/exams/accessible/*")
    submitted = await bridge.sandbox.submit_exam(customer=customer)
    await until(lambda: held.waiting == 1)
    # it is listed in the answer that is on its way, and deleted by the time it is read
    reading = bridge.sandbox.faults.arm(faults.hold(), server="clarius", path="*/download-requests/*")
    held.release()
    await until(lambda: reading.waiting == 1)
    bridge.sandbox.delete_exam(submitted.request_uuid)
    reading.release()
    exam = await bridge.reaches(submitted.request_uuid, ExamState.GONE)
    assert exam.error_code == "gone"
    await bridge.ends_well()


@pytest.mark.row(38)
async def test_exam_data_that_lag_behind_the_list_are_no_deletion(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    lagging = bridge.sandbox.faults.arm(
        faults.answer(404, {"detail": "Not found."}),
        server="clarius",
        path="*/download-requests/*",
        times=3,
    )
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=())
    exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    assert lagging.hits == 3
    assert exam.data_missing_since is None
    await bridge.ends_well()


@pytest.mark.row(38)
async def test_exam_data_that_never_come_fail_and_say_so(settings: Settings) -> None:
    async with open_short_bridge(settings, clarius_verify_window=0.5, retry_budget_hours=0.0005) as bridge:
        customer = await bridge.customer(await bridge.organization(images="none"))
        bridge.sandbox.faults.arm(
            faults.answer(404, {"detail": "Not found."}),
            server="clarius",
            path="*/download-requests/*",
            times=None,
        )
        submitted = await bridge.sandbox.submit_exam(customer=customer, captures=())
        exam = await bridge.reaches(submitted.request_uuid, ExamState.FAILED)
        assert exam.error_code == "exam_data_not_there"


@pytest.mark.row(20)
async def test_an_exam_deleted_while_its_links_expire_is_gone(bridge: Bridge) -> None:
    customer = await bridge.customer(await bridge.organization(images="none"))
    held = bridge.sandbox.faults.arm(faults.hold(), server="media")
    submitted = await bridge.sandbox.submit_exam(customer=customer, captures=("jpeg",))
    await until(lambda: held.waiting == 1)
    bridge.sandbox.clarius.expire_links()
    bridge.sandbox.delete_exam(submitted.request_uuid)
    held.release()
    await bridge.reaches(submitted.request_uuid, ExamState.GONE)
    await bridge.ends_well()


@pytest.mark.row(25)
async def test_a_day_without_webhooks_is_made_good_by_polling(settings: Settings) -> None:
    async with open_short_bridge(settings, clarius_poll_interval=0.5) as bridge:
        customer = await bridge.customer(await bridge.organization(images="none"))
        missed = await asyncio.gather(
            *(bridge.sandbox.submit_exam(customer=customer, captures=(), notify_times=0) for _ in range(5))
        )
        for one in missed:
            exam = await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
            assert exam.source == "poll"
        await bridge.ends_well()
