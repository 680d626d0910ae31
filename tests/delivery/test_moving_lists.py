"""Aurabox's lists move while they are paged: somebody is added, somebody deleted, and ours is neither lost nor doubled."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.config.settings import Settings
from app.states import ExamState
from sandbox import faults
from sandbox.aurabox.state import Person, new_uuid
from sandbox.faults import Rule
from tests.support.bridge import Bridge, open_bridge, settings_for
from tests.support.clarius import Sandbox
from tests.support.rig import SHORT
from tests.support.wait import until

SETTLED = (ExamState.DELIVERED, ExamState.REVIEW, ExamState.FAILED)
JOHN = {
    "identifier": "P-1",
    "first_name": "John",
    "last_name": "Smith",
    "date_of_birth": "1980-01-01",
    "gender": "M",
}


@pytest.fixture
async def bridge(settings: Settings) -> AsyncIterator[Bridge]:
    async with (
        Sandbox() as sandbox,
        open_bridge(settings_for(settings, sandbox, **SHORT), sandbox) as opened,
    ):
        yield opened


def add(sandbox: Sandbox, given: str, born: str) -> str:
    """A Smith in the team's list."""
    now = sandbox.aurabox.now()
    person = Person(
        id=new_uuid(),
        kind="patient",
        created_at=now,
        updated_at=now,
        sequence=sandbox.aurabox.next_sequence(),
        fields={"given_names": given, "family_name": "Smith", "date_of_birth": born, "sex": "male"},
    )
    sandbox.team().people[person.id] = person
    return person.id


def add_others(sandbox: Sandbox, name: str, count: int) -> list[str]:
    return [add(sandbox, f"{name}{number}", "1970-01-01") for number in range(count)]


def hold_second_page(sandbox: Sandbox) -> Rule:
    return sandbox.faults.arm(faults.hold(), server="aurabox", method="GET", path="*/patients", nth=2)


async def submit(bridge: Bridge) -> Any:
    customer = await bridge.customer(await bridge.organization(images="none"))
    return await bridge.sandbox.submit_exam(customer=customer, patient=JOHN, captures=())


@pytest.mark.row(38)
async def test_a_patient_is_not_made_again_because_another_was_deleted_while_we_page(bridge: Bridge) -> None:
    """Ours, the first of the second page in either order, slips to the page that was just read."""
    sandbox = bridge.sandbox
    older = add_others(sandbox, "Older", 100)
    john = add(sandbox, "John", "1980-01-01")
    newer = add_others(sandbox, "Newer", 100)
    held = hold_second_page(sandbox)
    submitted = await submit(bridge)
    await until(lambda: held.waiting == 1)
    for gone in (older[50], newer[50]):
        del sandbox.team().people[gone]
    held.release()
    await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)
    people = sandbox.team().people.values()
    assert [one.id for one in people if one.fields["given_names"] == "John"] == [john]
    assert len(sandbox.team().people[john].studies) == 1


@pytest.mark.row(38)
async def test_a_patient_shown_on_two_pages_is_one_match(bridge: Bridge) -> None:
    """Somebody is added while we page; newest first, ours would be on the first page and on the second."""
    sandbox = bridge.sandbox
    add(sandbox, "Oldest", "1970-01-01")
    john = add(sandbox, "John", "1980-01-01")
    add_others(sandbox, "Newer", 99)
    held = hold_second_page(sandbox)
    submitted = await submit(bridge)
    await until(lambda: held.waiting == 1)
    add(sandbox, "Newcomer", "1970-01-01")
    held.release()
    exam = await bridge.reaches(submitted.request_uuid, *SETTLED)
    assert (exam.state, exam.error_code) == (ExamState.DELIVERED, None)
    assert len(sandbox.team().people[john].studies) == 1
