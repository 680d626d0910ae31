"""Trouble stays with whom it is about: rows 18, 42, 49 and 50 of docs/faults.md, and accounts of organisations that are gone."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from app.config.sealing import Sealer, new_key
from app.config.settings import Settings
from app.consoles.aurabox import on_team
from app.delivery.actions import RETRY, act_on
from app.errors import Misuse, RenewCredentials
from app.organizations.changes import remove_organization, set_organization
from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.audit import AuditEvent, By
from app.store.exams import Exam
from app.store.links import Link
from app.store.organizations import Organization
from app.store.overview import read_overview
from app.store.upstreams import upstream
from app.upkeep.alerts import conditions
from app.upkeep.doctor import check_organization, examine
from app.upstreams.gate import Held, calling
from sandbox import faults
from tests.delivery.images.scene import image_scene
from tests.support.bridge import Bridge
from tests.support.rig import Rig, open_short_bridge
from tests.support.wait import until

FAR = 600.0
"""A probe that comes only after every test is over: what goes on before it was not waited for."""


def opened(settings: Settings, **more: object) -> AbstractAsyncContextManager[Bridge]:
    return open_short_bridge(settings, **{"credentials_probe_seconds": FAR, **more})


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with opened(settings) as running:
        yield running


async def two_clinics(bridge: Bridge) -> tuple[str, str]:
    """A customer of each of two clinics."""
    bad = await bridge.customer(await bridge.organization("A", images="none"))
    team = bridge.sandbox.team("Team Two")
    good = await bridge.customer(await bridge.organization("B", team=team, images="none"))
    return bad, good


async def pauses(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        paused = select(AuditEvent.subject).where(AuditEvent.action == "account.pause")
        return [subject or "" for subject in await session.scalars(paused)]


async def alerts(resources: Resources) -> list[str]:
    async with resources.sessions() as session:
        return list(conditions(await read_overview(session), resources.settings))


# row 50


@pytest.mark.row(50)
async def test_one_token_that_no_key_opens_holds_its_own_exams_only(bridge: Bridge) -> None:
    bad, good = await two_clinics(bridge)
    sealed_elsewhere = Sealer([new_key()]).seal(bad.encode())
    async with bridge.resources.sessions.begin() as session:
        found = update(Link).where(Link.customer_hint == bad[-4:])
        await session.execute(found.values(token_sealed=sealed_elsewhere))
    one = await bridge.sandbox.submit_exam(customer=bad, captures=())
    exam = await bridge.reaches(one.request_uuid, ExamState.WAITING)
    assert (exam.reason, exam.error_code, exam.attempts) == (Reason.PAUSED, "unreadable_link", 0)
    assert bad[-4:] in (exam.error_message or "")
    for _ in range(3):
        other = await bridge.sandbox.submit_exam(customer=good, captures=())
        await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
    assert await pauses(bridge.resources) == []
    assert "unreadable" in await alerts(bridge.resources)


@pytest.mark.row(50)
async def test_one_exams_data_that_no_key_opens_holds_that_exam_only(bridge: Bridge) -> None:
    clinic, request_uuid = await paused_clinic(bridge)
    async with bridge.resources.sessions.begin() as session:
        await session.execute(update(Exam).values(exam_data_sealed=Sealer([new_key()]).seal(b"{}")))
    bridge.sandbox.faults.clear()
    await look_with_org_test(bridge, clinic)

    async def is_held() -> bool:
        return (await bridge.exam(request_uuid)).error_code == "unreadable_exam"

    await until(is_held)
    customer = await bridge.customer(clinic)
    other = await bridge.sandbox.submit_exam(customer=customer, captures=())
    await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
    # the one of the refused key, before
    assert await pauses(bridge.resources) == [f"aurabox:{clinic.id}"]


async def test_an_organisations_key_that_no_sealing_key_opens_pauses_its_own_account(bridge: Bridge) -> None:
    bad, good = await two_clinics(bridge)
    async with bridge.resources.sessions.begin() as session:
        locked = update(Organization).where(Organization.name == "A")
        await session.execute(locked.values(aurabox_key_sealed=Sealer([new_key()]).seal(b"key")))
        clinic = (await session.scalars(select(Organization).where(Organization.name == "A"))).one()
    one = await bridge.sandbox.submit_exam(customer=bad, captures=())
    assert (await bridge.reaches(one.request_uuid, ExamState.WAITING)).reason == Reason.PAUSED
    other = await bridge.sandbox.submit_exam(customer=good, captures=())
    await bridge.reaches(other.request_uuid, ExamState.DELIVERED)
    assert await pauses(bridge.resources) == [f"aurabox:{clinic.id}"]


# row 42


@pytest.mark.row(42)
async def test_broken_captures_on_clariuss_own_origin_are_their_organisations(
    settings: Settings,
) -> None:
    async with opened(
        settings, worker_concurrency=20, retry_base_seconds=0.5, retry_cap_seconds=2.0
    ) as bridge:
        bad, good = await two_clinics(bridge)
        bridge.sandbox.faults.arm(faults.answer(500), server="clarius", path="/media/captures/*", times=None)
        for _ in range(8):
            await bridge.sandbox.submit_exam(customer=bad, captures=("jpeg",), at_clarius=True)
        async with bridge.resources.sessions() as session:
            clinic = (await session.scalars(select(Organization).where(Organization.name == "A"))).one()

        async def broken_off() -> bool:
            async with bridge.resources.sessions() as session:
                known = await upstream(session, f"media:{clinic.id}")
            return known is not None and known.open_since is not None

        await until(broken_off, timeout=45)
        one = await bridge.sandbox.submit_exam(customer=good, captures=("jpeg",))
        exam = await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
        assert exam.attempts == 0
        async with bridge.resources.sessions() as session:
            known = await upstream(session, "clarius")
        assert known is None or known.open_since is None


@pytest.mark.row(42)
@pytest.mark.parametrize("transport", ["dicomweb", "uploader"])
async def test_one_study_that_is_always_forbidden_fails_alone(settings: Settings, transport: str) -> None:
    async with image_scene(settings, transport, given={"credentials_probe_seconds": FAR}) as scene:
        path = "/dicomweb/*" if transport == "dicomweb" else "*/upload/init"
        refused: list[str] = []

        def of_the_first(facts: Any) -> bool:
            found = re.search(r"2\.25\.\d+", facts.text)
            if found is not None and not refused:
                refused.append(found[0])
            return found is not None and found[0] == refused[0]

        scene.sandbox.faults.arm(
            faults.answer(403, {"message": "forbidden"}),
            server="aurabox",
            method="POST",
            path=path,
            times=None,
            predicate=of_the_first,
        )
        bad = await scene.submit("jpeg", number=1)
        await until(lambda: bool(refused), timeout=60)
        good = [await scene.submit("jpeg", number=number) for number in range(2, 4)]
        for one in good:
            await scene.bridge.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60)
        exam = await scene.bridge.reaches(bad.request_uuid, ExamState.FAILED, timeout=60)
        server = "dicomweb" if transport == "dicomweb" else "aurabox"
        assert (exam.step, exam.error_code) == (Step.SEND, f"{server}_forbidden")
        assert await pauses(scene.bridge.resources) == []


# row 49


async def paused_clinic(bridge: Bridge) -> tuple[Organization, str]:
    """A clinic whose exam waits, because Aurabox refuses its key for now; the exam's request."""
    clinic = await bridge.organization("A", images="none")
    customer = await bridge.customer(clinic)
    rule = bridge.sandbox.faults.arm(faults.answer(401), server="aurabox", times=None)
    one = await bridge.sandbox.submit_exam(customer=customer, captures=())
    exam = await bridge.reaches(one.request_uuid, ExamState.WAITING)
    assert (exam.reason, rule.hits > 0) == (Reason.PAUSED, True)
    return clinic, one.request_uuid


async def look_with_org_test(bridge: Bridge, clinic: Organization) -> None:
    assert all(check.ok for check in await check_organization(bridge.resources, clinic))


async def look_with_doctor(bridge: Bridge, clinic: Organization) -> None:
    await examine(bridge.resources)


async def look_at_patients(bridge: Bridge, clinic: Organization) -> None:
    async def first(client: Any) -> None:
        async for _patient in client.patients(per_page=1):
            break

    await on_team(bridge.resources, "A", first, action="aurabox.patient.list", by=By("test"))


LOOKS = {"org test": look_with_org_test, "doctor": look_with_doctor, "aurabox patients": look_at_patients}


@pytest.mark.row(49)
@pytest.mark.parametrize("look", LOOKS)
async def test_a_persons_look_that_succeeds_lets_everything_go_on(bridge: Bridge, look: str) -> None:
    clinic, request_uuid = await paused_clinic(bridge)
    bridge.sandbox.faults.clear()
    await LOOKS[look](bridge, clinic)
    exam = await bridge.reaches(request_uuid, ExamState.DELIVERED)
    assert exam.attempts == 0


@pytest.mark.row(49)
async def test_a_look_from_a_shell_without_the_key_changes_nothing(bridge: Bridge) -> None:
    """`doctor` where CLARIUS_API_KEY is not set: the workers, who have it, go on."""
    customer = await bridge.customer(await bridge.organization("A", images="none"))
    here = bridge.resources
    shell = replace(here, settings=here.settings.model_copy(update={"clarius_api_key": None}))
    checks = {check.name: check for check in await examine(shell)}
    assert not checks["clarius key"].ok
    assert await pauses(here) == []
    one = await bridge.sandbox.submit_exam(customer=customer, captures=())
    await bridge.reaches(one.request_uuid, ExamState.DELIVERED)
    with pytest.raises(RenewCredentials):
        async with calling(shell, "clarius", by_hand=True):
            await (await shell.clarius()).settings()
    assert await pauses(here) == []


# an organisation that was removed


async def test_nothing_of_a_removed_organisation_is_retried_and_no_account_stays_paused(
    bridge: Bridge,
) -> None:
    clinic, request_uuid = await paused_clinic(bridge)
    bridge.sandbox.faults.clear()
    bridge.sandbox.faults.arm(
        faults.answer(422, {"message": "no"}), server="aurabox", method="POST", times=None
    )
    team = bridge.sandbox.team("Team One")
    await set_organization(bridge.resources, "A", {"aurabox_key": team.key}, by=By("test"))
    exam = await bridge.reaches(request_uuid, ExamState.FAILED)
    bridge.sandbox.faults.clear()
    with pytest.raises(Held):
        async with calling(bridge.resources, f"aurabox:{clinic.id}"):
            raise RenewCredentials("revoked")
    await remove_organization(bridge.resources, "A", by=By("test"))
    with pytest.raises(Misuse, match="removed"):
        await act_on(bridge.resources, exam.request_uuid, RETRY, by=By("test"))
    assert (await bridge.exam(request_uuid)).state == ExamState.FAILED
    async with bridge.resources.sessions() as session:
        assert await upstream(session, f"aurabox:{clinic.id}") is None
    assert not [one for one in await alerts(bridge.resources) if one.startswith("paused:")]


@pytest.mark.slow
async def test_a_worker_killed_while_it_probes_leaves_the_probe_to_the_next(rig: Rig) -> None:
    """Row 19 once more: the neutral call is an effect like any other, and a worker may die on either side of it."""
    await rig.api()
    first = rig.worker()
    customer = await rig.customer(await rig.organization())
    await first.kill()
    refusing = rig.sandbox.faults.arm(faults.answer(401), server="aurabox", times=None)
    one = await rig.sandbox.submit_exam(customer=customer, captures=())
    await rig.worker("probe:before_ask_account").dies_by_kill()
    living = rig.worker()

    async def paused() -> bool:
        return (await rig.exam(one.request_uuid)).reason == Reason.PAUSED

    await until(paused)
    await living.kill()
    assert refusing.hits > 0
    rig.sandbox.faults.clear()
    await rig.worker("probe:after_ask_account").dies_by_kill()
    rig.worker()
    exam = await rig.reaches(one.request_uuid, ExamState.DELIVERED, timeout=60)
    assert exam.error_code is None
    await rig.ends_well()
