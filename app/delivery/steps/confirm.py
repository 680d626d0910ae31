"""Step confirm: read back what can be read back; only then is an exam delivered (A13).

The whole study is looked at, also for a submission that sent nothing: `delivered` means that it shows now. Images are
counted where they can be: by an image server's list, or by the number that a study shows of itself.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.aurabox import Study as RemoteStudy
from app.delivery.counting import Counted
from app.delivery.filing import Plan, planned
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.remote import study_missed, study_seen
from app.delivery.transports.table import transport_of
from app.delivery.work import ALONE, Work
from app.errors import NotThere, TryLater
from app.states import Step
from app.store.captures import Capture, captures_of
from app.store.exam_events import was_recorded
from app.store.exams import Exam
from app.store.image_counts import NONE_WANTED, images_of
from app.store.instances import (
    THERE,
    Instance,
    InstanceState,
    instances_of,
    instances_of_study,
    mark_gone,
    mark_seen,
)
from app.store.organizations import Images
from app.store.studies import Study

# An image server may list what it took a little later; after so many looks it has lost it.
LOOKS_TO_GIVE_UP = 6
NAMED_CAPTURES = 20
NOT_LISTED = "images_not_listed"


async def confirm(work: Work) -> Outcome:
    """Done when Aurabox shows the study with our UID, and nothing is missing (or a person accepted that).

    Images that were there once and are not any more send the exam back to convert, to be sent again.
    """
    async with planned(work) as (session, exam, plan):
        subject, study = plan.made
        captures = await captures_of(session, exam.id)
        transport = transport_of(plan.policy)
        sent = await _sent(session, study) if transport is not None else []
    try:
        async with work.effect("confirm:read_back", AccountKind.AURABOX.of(plan.organization.id)):
            shown = await work.resources.aurabox(plan.organization).study(subject.remote_id, study.remote_id)
    except NotThere:
        return await study_missed(work, study)
    await study_seen(work, plan, study)
    counted = await transport.count(work, plan, study, shown, sent) if transport is not None else None
    problems = [capture for capture in captures if capture.problem_code]
    another = _is_another(work, study, shown)
    accepted = bool(counted or problems or another) and await _is_accepted(work)
    if another and not accepted:
        raise NeedsPerson("the study in Aurabox carries another UID than ours", code="study_uid_differs")
    unseen = 0
    if counted is not None:
        again, unseen = await _note_count(work, counted, accepted=accepted)
        if again:
            return Done(f"{again} images are not there any more and are sent again", to=Step.CONVERT)
    if (problems or unseen) and not accepted:
        raise _incomplete(captures, problems, unseen)
    return Done(await _told(work, plan))


async def _sent(session: AsyncSession, study: Study) -> list[Instance]:
    return [image for image in await instances_of_study(session, study.id) if image.state in THERE]


async def _is_accepted(work: Work) -> bool:
    """Whether a person vouched for it at this step: one released for another reason has nothing missing accepted."""
    async with work.resources.statements() as session:
        return await was_recorded(session, work.exam_id, step=Step.CONFIRM, event="released")


def _is_another(work: Work, study: Study, shown: RemoteStudy) -> bool:
    """Whether what lies there carries another UID than the study on record."""
    name = work.resources.settings.aurabox_study_fields.get("study_instance_uid")
    uid: Any = shown.fields.get(name) if name else None
    return uid is not None and uid != study.study_instance_uid


async def _note_count(work: Work, counted: Counted, *, accepted: bool) -> tuple[int, int]:
    """Record a count: how many images are to be sent again, and how many are missing without that.

    Raises TryLater while more may yet be listed. What was there before, or was sent by another submission, can be
    sent again by one that has its capture; what this one sent and nobody ever saw, a person has to look into.
    """
    async with work.tx() as (session, exam):
        await mark_seen(session, counted.seen)
        exam.seen_count = sum(1 for image in counted.seen if image.exam_id == exam.id)
    if not counted.missing:
        return 0, 0
    if not accepted and await work.count("looks") < LOOKS_TO_GIVE_UP:
        raise TryLater(f"{counted.missing} images are not listed yet", upstream="dicomweb", code=NOT_LISTED)
    async with work.tx() as (session, exam):
        ours = {image.id for image in await instances_of(session, exam)}
        if accepted:
            # what a person has let go once is asked about no more
            await mark_gone(session, [image for image in counted.suspects if image.id not in ours])
            return 0, counted.missing
        again = [image for image in counted.suspects if image.id in ours and _was_elsewhere(image, exam)]
        await mark_gone(session, again)
    return len(again), counted.missing


def _was_elsewhere(instance: Instance, exam: Exam) -> bool:
    return instance.state == InstanceState.SEEN or instance.exam_id != exam.id


def _incomplete(captures: Sequence[Capture], missing: Sequence[Capture], unseen: int) -> NeedsPerson:
    """What a person has to know, in one line; the first captures stand for the rest of a long list."""
    parts = []
    if missing:
        which = "; ".join(
            f"capture {capture.index + 1}: {capture.problem_message}" for capture in missing[:NAMED_CAPTURES]
        )
        whole = "" if any(capture.is_lost for capture in missing) else " whole"
        parts.append(f"{len(missing)} of {len(captures)} captures could not be delivered{whole}: {which}")
    if unseen:
        parts.append(f"the image server took {unseen} images but does not list them")
    return NeedsPerson("; ".join(parts), code="captures_missing" if missing else NOT_LISTED)


async def _told(work: Work, plan: Plan) -> str:
    """What the history may say: that it is filed, and of images no more than is known."""
    if plan.policy.images == Images.NONE:
        return f"filed; {NONE_WANTED}"
    async with work.rows(ALONE, locked=False) as (session, row):
        images = await images_of(session, row.Exam)
    if not images.wanted:
        return f"filed; {images.why or 'there are no images'}"
    if images.seen is not None:
        return f"filed; {images.seen} of {images.wanted} images seen there"
    return f"filed; {images.accepted} of {images.wanted} images accepted"
