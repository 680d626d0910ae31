"""Claims are checked with Clarius's poll: the window, forgers of every kind, what one look costs (docs/delivery.md, "Claims")."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config.settings import Settings
from app.delivery.actions import RELEASE, act_on
from app.states import ExamState, Reason
from app.store.audit import By
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import SHORT


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with (
        Sandbox(teams=("Team One", "Team Two")) as sandbox,
        open_bridge(
            settings_for(settings, sandbox, **{**SHORT, "clarius_verify_window": 3}), sandbox
        ) as opened,
    ):
        yield opened


@pytest.fixture
async def customer(bridge: Bridge) -> str:
    return await bridge.customer(await bridge.organization(images="none"))


async def forge(bridge: Bridge, **changes: Any) -> str:
    """A notification that Clarius never sent."""
    body = {
        "request_uuid": str(uuid.uuid4()),
        "exam_uuid": str(uuid.uuid4()),
        "customer_id": "nobody-we-ever-heard-of",
        "download_url": f"{bridge.sandbox.clarius_url}/api/public/v0/download-requests/x/data/",
        "submitted_at": "2026-03-01T10:00:00Z",
        **changes,
    }
    assert await bridge.sandbox.notify_raw(body) == [202]
    return str(body["request_uuid"])


def vendors_asked(bridge: Bridge) -> int:
    journal = bridge.sandbox.journal
    return len(journal.requests_to("aurabox")) + len(
        journal.requests_to("clarius", path="*download-requests*")
    )


async def test_an_exam_goes_where_clarius_says_and_not_where_the_claim_does(
    bridge: Bridge, customer: str
) -> None:
    submitted = await bridge.sandbox.submit_exam(customer=customer, notify_times=0)
    astray = {
        **submitted.notification,
        "download_url": "https://attacker.example/data/",
        "exam_uuid": str(uuid.uuid4()),
    }
    assert await bridge.sandbox.notify_raw(astray) == [202]
    exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    assert str(exam.exam_uuid) == submitted.exam_uuid
    assert exam.download_url.startswith(bridge.sandbox.clarius_url)


async def test_what_clarius_does_not_list_in_the_window_is_unverified_and_nothing_was_made(
    bridge: Bridge, customer: str
) -> None:
    forged = await forge(bridge, customer_id=customer)
    exam = await bridge.reaches(forged, ExamState.UNVERIFIED)
    assert exam.error_code == "unverified"
    assert exam.attempts == 0
    assert vendors_asked(bridge) == 0


async def test_what_clarius_lists_late_but_in_the_window_is_delivered(bridge: Bridge, customer: str) -> None:
    submitted = await bridge.sandbox.submit_exam(customer=customer, listed=False)
    waiting = await bridge.reaches(submitted.request_uuid, ExamState.WAITING)
    assert waiting.reason in {Reason.RETRY, Reason.SETTLING}
    bridge.sandbox.list_exam(submitted.request_uuid)
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)


async def test_a_new_notification_after_the_verdict_is_checked_again(bridge: Bridge, customer: str) -> None:
    submitted = await bridge.sandbox.submit_exam(customer=customer, listed=False, notify_times=0)
    stranger = await bridge.customer()
    linked = await bridge.customer(
        await bridge.organization("Other", team=bridge.sandbox.team("Team Two"), images="none")
    )
    await forge(bridge, request_uuid=submitted.request_uuid, customer_id=linked)
    await bridge.reaches(submitted.request_uuid, ExamState.UNVERIFIED)
    await forge(bridge, request_uuid=submitted.request_uuid, customer_id=stranger)
    bridge.sandbox.list_exam(submitted.request_uuid)
    assert await bridge.sandbox.notify(submitted.request_uuid) == [202]
    exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    assert exam.customer_hash == await bridge.resources.hash_customer(customer)
    assert len(bridge.sandbox.team("Team Two").people) == 0
    assert len(bridge.sandbox.team("Team One").people) == 1


@pytest.mark.parametrize("forger", ["unknown", "linked elsewhere", "known and not linked"])
@pytest.mark.parametrize("first", ["forged", "real"])
async def test_a_forger_who_names_a_real_request_delays_and_hides_nothing(
    bridge: Bridge, customer: str, forger: str, first: str
) -> None:
    named = {
        "unknown": "nobody-we-ever-heard-of",
        "known and not linked": bridge.sandbox.add_customer(),
        "linked elsewhere": await bridge.customer(
            await bridge.organization("Other", team=bridge.sandbox.team("Team Two"), images="none")
        ),
    }[forger]
    submitted = await bridge.sandbox.submit_exam(customer=customer, notify_times=0)
    forged = {"request_uuid": submitted.request_uuid, "customer_id": named}
    if first == "forged":
        await forge(bridge, **forged)
        assert await bridge.sandbox.notify(submitted.request_uuid) == [202]
    else:
        assert await bridge.sandbox.notify(submitted.request_uuid) == [202]
        await forge(bridge, **forged)
    exam = await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    assert exam.customer_hash == await bridge.resources.hash_customer(customer)
    assert bridge.sandbox.team("Team Two").people == {}


async def test_a_link_made_while_a_forged_claim_is_looked_at_releases_the_real_one_at_once(
    settings: Settings,
) -> None:
    # looks that come so rarely that only the release can explain a delivery
    rare = {**SHORT, "clarius_verify_window": 3600, "retry_base_seconds": 600, "retry_cap_seconds": 600}
    async with (
        Sandbox(teams=("Team One", "Team Two")) as sandbox,
        open_bridge(settings_for(settings, sandbox, **rare), sandbox) as bridge,
    ):
        clinic = await bridge.organization(images="none")
        elsewhere = await bridge.customer(
            await bridge.organization("Other", team=sandbox.team("Team Two"), images="none")
        )
        customer = sandbox.add_customer()
        submitted = await sandbox.submit_exam(customer=customer, notify_times=0)
        await forge(bridge, request_uuid=submitted.request_uuid, customer_id=elsewhere)
        waiting = await bridge.reaches(submitted.request_uuid, ExamState.WAITING)
        assert waiting.reason == Reason.RETRY
        assert await sandbox.notify(submitted.request_uuid) == [202]
        await bridge.link(customer, clinic)
        await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)


async def test_a_person_who_releases_an_unverified_exam_is_believed(bridge: Bridge, customer: str) -> None:
    submitted = await bridge.sandbox.submit_exam(customer=customer, listed=False)
    exam = await bridge.reaches(submitted.request_uuid, ExamState.UNVERIFIED)
    await act_on(bridge.resources, exam.request_uuid, RELEASE, by=By("test"))
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
