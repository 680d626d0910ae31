"""The pages about Aurabox: what an admin looks at and changes there is in the audit trail, also what failed."""

import pytest
from sqlalchemy import select

from app.store.audit import AuditEvent
from sandbox import faults

PERSON = {"given_names": "Ada", "family_name": "Winter", "date_of_birth": "1980-01-01", "sex": "female"}


async def trail(office, result: str) -> list[tuple[str, str | None]]:
    """Action and subject of what was done at Aurabox with this result, the oldest first."""
    async with office.bridge.resources.sessions() as session:
        events = await session.scalars(
            select(AuditEvent)
            .where(AuditEvent.action.like("aurabox.%"), AuditEvent.result == result)
            .order_by(AuditEvent.id)
        )
        return [(event.action, event.subject) for event in events]


async def add_patient_and_study(office) -> tuple[str, str, str]:
    """By the pages: the list's path, the patient's and the study's."""
    base = f"/admin/aurabox/{office.organization.id}/patients"
    people = office.bridge.sandbox.team().people
    await office.admin.send(await office.admin.get(base), base, **PERSON)
    at = f"{base}/{next(iter(people))}"
    await office.admin.send(await office.admin.get(at), f"{at}/studies", fields="description = Knee")
    return base, at, f"{at}/studies/{next(iter(next(iter(people.values())).studies))}"


async def test_looks_and_changes_are_in_the_audit_trail_with_the_new_id_of_what_was_made(office):
    _, at, study_at = await add_patient_and_study(office)
    await office.admin.get(study_at)
    patient, study = at.rpartition("/")[2], study_at.rpartition("/")[2]
    events = await trail(office, "done")
    assert list(dict.fromkeys(events)) == [
        ("aurabox.patient.list", str(office.organization.id)),
        ("aurabox.patient.create", patient),
        ("aurabox.patient.view", patient),
        ("aurabox.study.create", study),
        ("aurabox.study.view", study),
    ]


@pytest.mark.parametrize("kind", ["patient", "case"])
async def test_a_look_that_failed_is_in_the_audit_trail(office, kind):
    office.bridge.sandbox.faults.arm(
        faults.answer(422, {"message": "no"}), server="aurabox", method="GET", path="*", times=None
    )
    base = f"/admin/aurabox/{office.organization.id}/{kind}s"
    for path in (base, f"{base}/x-1", f"{base}/x-1/studies/y-1"):
        assert (await office.admin.get(path)).status == 409
    assert await trail(office, "failed") == [
        (f"aurabox.{kind}.list", str(office.organization.id)),
        (f"aurabox.{kind}.view", "x-1"),
        ("aurabox.study.view", "y-1"),
    ]


async def test_a_change_that_failed_is_in_the_audit_trail(office):
    base, at, study_at = await add_patient_and_study(office)
    people, person, study = [await office.admin.get(path) for path in (base, at, study_at)]
    for method in ("POST", "PUT", "DELETE"):
        office.bridge.sandbox.faults.arm(
            faults.answer(422, {"message": "no"}), server="aurabox", method=method, path="*", times=None
        )
    await office.admin.send(people, base, **PERSON)
    await office.admin.send(person, at, **PERSON)
    await office.admin.send(person, f"{at}/delete")
    await office.admin.send(person, f"{at}/studies", fields="description = Knee")
    await office.admin.send(study, study_at, fields="description = Hip", act="save")
    await office.admin.send(study, study_at, act="delete")
    patient_id, study_id = at.rpartition("/")[2], study_at.rpartition("/")[2]
    assert await trail(office, "failed") == [
        ("aurabox.patient.create", None),
        ("aurabox.patient.update", patient_id),
        ("aurabox.patient.delete", patient_id),
        ("aurabox.study.create", patient_id),
        ("aurabox.study.update", study_id),
        ("aurabox.study.delete", study_id),
    ]
