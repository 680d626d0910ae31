"""Step send: the exam's new images by the organisation's transport; what the study was given already is not sent again."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.filing import Plan, planned
from app.delivery.outcome import Done, Outcome, another_turn
from app.delivery.remote import study_stands
from app.delivery.transports.table import end_other_transports, transport_of
from app.delivery.work import Work
from app.errors import GiveUp
from app.states import Step
from app.store.captures import captures_of
from app.store.exams import Exam
from app.store.instances import (
    InstanceState,
    count_sent,
    delivered_before,
    instances_by_capture,
    take_turn,
)
from app.store.studies import Study
from app.store.subjects import Subject


async def send(work: Work) -> Outcome:
    """Done when the transport has accepted every image of the exam, now or before.

    Images that are not made yet, or not any more, send the exam back to convert. Another submission of the study
    goes first if it began first.
    """
    async with planned(work, locked=True) as (session, exam, plan):
        transport = transport_of(plan.policy)
        if transport is None:
            return Done("this organisation takes no images any more")
        if not await take_turn(session, exam):
            return another_turn()
        if await _unmade(session, exam):
            return Done("images are to be made again", to=Step.CONVERT)
    try:
        await end_other_transports(work, plan)
        accepted = await transport.send(work, plan)
    except GiveUp:
        # refused, it may be, for want of what they belong to
        if not await _study_is_there(work, plan):
            return Done("the study is not there any more", to=Step.STUDY)
        raise
    await _note(work)
    if accepted is None:
        return Done("the images are no longer in staging", to=Step.CONVERT)
    return Done(f"{accepted} images were accepted" if accepted else "nothing new to send")


async def _study_is_there(work: Work, plan: Plan) -> bool:
    async with work.tx() as (session, exam):
        study = await session.get_one(Study, exam.study_id)
        subject = await session.get_one(Subject, study.subject_id)
    return await study_stands(work, plan, subject, study)


async def _unmade(session: AsyncSession, exam: Exam) -> bool:
    """Whether a capture waits for objects: none was made of it, or another submission's, or they are gone."""
    by_capture = await instances_by_capture(session, exam)
    for capture in await captures_of(session, exam.id):
        if not capture.becomes_images:
            continue
        instances = by_capture.get(capture.id, ())
        planned = [image for image in instances if image.state == InstanceState.PLANNED]
        if (
            not instances
            or any(image.exam_id != exam.id for image in planned)
            or any(image.state == InstanceState.GONE for image in instances)
        ):
            return True
    return False


async def _note(work: Work) -> None:
    """Record how many images this submission brought, and which of its captures another one had."""
    async with work.tx() as (session, exam):
        exam.sent_count = await count_sent(session, exam)
        by_capture = await instances_by_capture(session, exam)
        for capture in await captures_of(session, exam.id):
            if instances := by_capture.get(capture.id):
                capture.already_delivered = delivered_before(exam, instances)
