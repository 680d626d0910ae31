"""Step confirm: read back what can be read back; only then is an exam delivered (A13)."""

from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.store.captures import captures_of
from app.store.organizations import Organization
from app.store.studies import Study
from app.store.subjects import Subject


async def confirm(work: Work) -> Outcome:
    """Done when Aurabox shows the study with our UID, and no capture is missing (or a person accepted that)."""
    async with work.tx() as (session, exam):
        organization = await session.get_one(Organization, exam.organization_id)
        study = await session.get_one(Study, exam.study_id)
        subject = await session.get_one(Subject, study.subject_id)
        captures = await captures_of(session, exam.id)
        accepted = exam.released_at is not None
    async with work.effect("confirm:read_back", f"aurabox:{organization.id}"):
        seen = await work.resources.aurabox(organization).study(subject.remote_id, study.remote_id)
    name = work.resources.settings.aurabox_study_fields.get("study_instance_uid")
    shown = seen.fields.get(name) if name else None
    if shown is not None and shown != study.study_instance_uid:
        raise NeedsPerson("the study in Aurabox carries another UID than ours", code="study_uid_differs")
    missing = [capture for capture in captures if capture.problem_code]
    if missing and not accepted:
        which = "; ".join(
            f"capture {capture.index + 1}: {capture.problem_message}" for capture in missing[:20]
        )
        raise NeedsPerson(
            f"{len(missing)} of {len(captures)} captures could not be delivered: {which}",
            code="captures_missing",
        )
    return Done(f"{len(captures) - len(missing)} of {len(captures)} captures")
