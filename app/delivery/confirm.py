"""Step confirm: read back what can be read back; only then is an exam delivered (A13)."""

from collections.abc import Sequence

from app.delivery.filing import plan_of
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.errors import TryLater
from app.states import Step
from app.store.base import now
from app.store.captures import Capture, captures_of
from app.store.exam_events import was_recorded
from app.store.instances import Instance, instances_of
from app.store.organizations import Images, Organization
from app.store.studies import Study
from app.store.study_contents import keep_contents
from app.store.subjects import Subject

# An image server may list what it took a little later; after so many looks it has lost it.
LOOKS_TO_GIVE_UP = 6
NAMED_CAPTURES = 20


async def confirm(work: Work) -> Outcome:
    """Done when Aurabox shows the study with our UID, and no capture is missing (or a person accepted that)."""
    async with work.tx() as (session, exam):
        plan = await plan_of(session, exam)
        organization = plan.organization
        study = await session.get_one(Study, exam.study_id)
        subject = await session.get_one(Subject, study.subject_id)
        captures = await captures_of(session, exam.id)
        # vouched for at this step: an exam released for another reason has nothing missing accepted
        accepted = await was_recorded(session, exam.id, step=Step.CONFIRM, event="released")
    async with work.effect("confirm:read_back", f"aurabox:{organization.id}"):
        seen = await work.resources.aurabox(organization).study(subject.remote_id, study.remote_id)
    name = work.resources.settings.aurabox_study_fields.get("study_instance_uid")
    shown = seen.fields.get(name) if name else None
    if shown is not None and shown != study.study_instance_uid and not accepted:
        raise NeedsPerson("the study in Aurabox carries another UID than ours", code="study_uid_differs")
    unseen: set[str] = set()
    if plan.policy.images == Images.DICOMWEB:
        unseen = await _unseen(work, organization, study, wait=not accepted)
    await _keep(work, study, captures, without=set() if accepted else unseen)
    missing = [capture for capture in captures if capture.problem_code]
    if (missing or unseen) and not accepted:
        raise _incomplete(captures, missing, unseen)
    return Done(f"{len(captures) - len(missing)} of {len(captures)} captures")


def _incomplete(captures: Sequence[Capture], missing: Sequence[Capture], unseen: set[str]) -> NeedsPerson:
    """What a person has to know, in one line; the first captures stand for the rest of a long list."""
    parts = []
    if missing:
        which = "; ".join(
            f"capture {capture.index + 1}: {capture.problem_message}" for capture in missing[:NAMED_CAPTURES]
        )
        parts.append(f"{len(missing)} of {len(captures)} captures could not be delivered: {which}")
    if unseen:
        parts.append(f"the image server took {len(unseen)} images but does not list them")
    return NeedsPerson("; ".join(parts), code="captures_missing" if missing else "images_not_listed")


async def _unseen(work: Work, organization: Organization, study: Study, *, wait: bool) -> set[str]:
    """The images that the server took and does not list; how many it does is recorded.

    Raises TryLater while it may yet list them, if `wait`.
    """
    async with work.effect("confirm:search_instances", f"dicomweb:{organization.id}"):
        listed = await work.resources.dicomweb(organization).instance_uids(study.study_instance_uid)
    async with work.tx() as (session, exam):
        sent = await instances_of(session, exam.id)
        unseen = {row.sop_instance_uid for row in sent} - listed
        exam.seen_count = len(sent) - len(unseen)
        tried = exam.attempts
    if unseen and wait and tried + 1 < LOOKS_TO_GIVE_UP:
        raise TryLater(
            f"{len(unseen)} images are not listed yet", upstream="dicomweb", code="images_not_listed"
        )
    return unseen


async def _keep(work: Work, study: Study, captures: Sequence[Capture], *, without: set[str]) -> None:
    """The study holds these contents from now on: a later submission does not send them again."""
    async with work.tx() as (session, exam):
        at = await session.scalar(now().select())
        made: dict[object, Instance] = {}
        lost = set()
        for row in await instances_of(session, exam.id):
            if row.sop_instance_uid in without:
                lost.add(row.capture_id)
                continue
            row.confirmed_at = at
            made.setdefault(row.capture_id, row)
        await keep_contents(
            session,
            [
                {
                    "study_id": study.id,
                    "sha256": capture.sha256,
                    "sop_instance_uid": made[capture.id].sop_instance_uid,
                    "exam_id": exam.id,
                }
                for capture in captures
                if capture.id in made and capture.id not in lost and not capture.problem_code
            ],
        )
