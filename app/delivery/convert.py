"""Step convert: captures become DICOM files in staging, in other processes; content the study has is passed over."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.dicom_subject import dicom_subject, study_context
from app.delivery.filing import Plan, plan_of
from app.delivery.identity import day_of, exam_identity
from app.delivery.mapping import keyed_digest
from app.delivery.outcome import Done, NeedsPerson, Outcome, Wait
from app.delivery.staged import leftovers, making, staged_dicom, staged_name
from app.delivery.study import deidentify_key, studied_at
from app.delivery.work import Work
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from app.imaging.subjects import ConvertedInstance, StudyContext, Subject
from app.pool import ProcessDied
from app.states import Reason, Step
from app.store.base import clock
from app.store.captures import Capture, captures_of
from app.store.exams import Exam, begin_sending
from app.store.instances import Instance, delivered_elsewhere, instances_of
from app.store.organizations import BurnedIn
from app.store.studies import Study
from app.store.study_contents import StudyContent, contents_of
from app.store.subjects import Mode
from app.store.subjects import Subject as SubjectRow

log = structlog.get_logger(__name__)

TURN_SECONDS = 2.0


@dataclass(frozen=True)
class Conversion:
    """What converting one exam needs, read once."""

    exam: Exam
    plan: Plan
    study: Study
    subject: SubjectRow
    captures: Sequence[Capture]
    made: Sequence[Instance]
    contents: Mapping[str, StudyContent]


@dataclass(frozen=True)
class Making:
    """What all captures of one run are converted with."""

    context: StudyContext
    subject: Subject
    study: Study


async def convert(work: Work) -> Outcome:
    """Done when every capture that can become an image is one, in staging and recorded.

    Bytes that are gone from staging (another host had them) send the exam back to download. Another request of the
    same study goes first if it began first: what it delivers is not sent again.
    """
    what = await _read(work)
    if what is None:
        return Wait(Reason.SETTLING, TURN_SECONDS, message="another submission of this exam is being sent")
    _refuse_unknown_pixels(what)
    for folder in leftovers(work):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    todo = await _select(work, what)
    paths: list[Path] = []
    for capture in todo:
        path = await work.resources.staging.fetch(work.exam_id, staged_name(capture))
        if path is None:
            return Done("the captures are no longer in staging", to=Step.DOWNLOAD)
        paths.append(path)
    made = await _convert_all(work, await _described(work, what), list(zip(todo, paths, strict=True)))
    await _forget_unmade(work)
    return Done(f"{made} images from {len(todo)} captures")


async def _read(work: Work) -> Conversion | None:
    """None while it is another request's turn."""
    async with work.tx() as (session, exam):
        if not await begin_sending(session, exam):
            return None
        plan = await plan_of(session, exam)
        study = await session.get_one(Study, exam.study_id)
        return Conversion(
            exam=exam,
            plan=plan,
            study=study,
            subject=await session.get_one(SubjectRow, study.subject_id),
            captures=await captures_of(session, exam.id),
            made=await instances_of(session, exam.id),
            contents=await contents_of(session, study.id),
        )


def _refuse_unknown_pixels(what: Conversion) -> None:
    """A de-identified object claims clean pixels; somebody has to have said that they are."""
    if (
        what.plan.mode is Mode.PSEUDONYMOUS
        and what.plan.policy.burned_in == BurnedIn.UNKNOWN
        and any(capture.sha256 for capture in what.captures)
    ):
        raise NeedsPerson(
            "nobody has said whether Clarius burns patient data into this organisation's images; set --burned-in",
            code="burned_in_unknown",
        )


async def _select(work: Work, what: Conversion) -> list[Capture]:
    """The captures still to be converted: new content, once each; what the study has is marked as delivered."""
    ready = await _ready(work, what)
    seen: set[str] = set()
    todo: list[Capture] = []
    async with work.tx() as (session, exam):
        for capture in what.captures:
            if capture.problem_code or capture.sha256 is None:
                continue
            row = await session.get_one(Capture, capture.id)
            held = what.contents.get(capture.sha256)
            if held is not None:
                row.already_delivered = held.exam_id != exam.id
                row.sop_instance_uid = held.sop_instance_uid
            elif capture.sha256 not in seen and capture.sop_instance_uid not in ready:
                todo.append(capture)
            seen.add(capture.sha256)
    return todo


async def _ready(work: Work, what: Conversion) -> set[str | None]:
    """First objects of the captures that need no conversion: all that was made of them is sent, or in staging."""
    unready = set()
    for instance in what.made:
        name = staged_dicom(instance.sop_instance_uid)
        if instance.stored_at is None and await work.resources.staging.fetch(work.exam_id, name) is None:
            unready.add(instance.capture_id)
    return {instance.sop_instance_uid for instance in what.made if instance.capture_id not in unready}


async def _described(work: Work, what: Conversion) -> Making:
    async with work.tx() as (session, _):
        today = day_of(await clock(session), what.plan.policy)
    label = what.subject.label_sealed
    subject = dicom_subject(
        exam_identity(work.resources, what.exam, what.plan.policy, today=today),
        what.plan.policy,
        # as it was sent to Aurabox: made anew it might differ, if the exam data were read on another day
        label=work.resources.unseal_text(label) if label else what.subject.remote_id,
        remote_id=what.subject.remote_id,
        key=what.subject.patient_key.hex(),
        distinct=what.subject.distinct,
        digest=keyed_digest(work.resources.sealer.unseal(what.plan.organization.pseudonym_key_sealed)),
    )
    policy, key = what.plan.policy, deidentify_key(work, what.plan)
    context = study_context(
        what.study,
        policy,
        organization_name=what.plan.organization.name,
        studied_at=studied_at(what.exam, policy),
        deidentify_key=key,
    )
    return Making(context, subject, what.study)


async def _convert_all(work: Work, how: Making, todo: Sequence[tuple[Capture, Path]]) -> int:
    """All of them, as many at a time as keeps the pool busy. How many objects; the first error ends the rest."""
    left = iter(todo)
    made = 0

    async def carry() -> None:
        nonlocal made
        for capture, path in left:
            made += await _convert_one(work, how, capture, path)

    # one more than there are processes: while one is being recorded the processes have work
    tasks = [asyncio.create_task(carry()) for _ in range(min(len(todo), work.resources.pool.processes + 1))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, making(work), ignore_errors=True)
    return made


async def _convert_one(work: Work, how: Making, capture: Capture, path: Path) -> int:
    """Convert one capture and record its objects; a bad capture is recorded as one. How many objects are new."""
    out = making(work) / f"{capture.index:04d}"
    try:
        made: list[ConvertedInstance] = await work.resources.pool.run(
            convert_capture,
            path,
            out,
            how.context,
            how.subject,
            capture_index=capture.index,
            capture_sha256=capture.sha256,
        )
    except CaptureProblem as problem:
        await _record_problem(work, capture, problem.code, problem.message)
        return 0
    except ProcessDied:
        await _record_problem(
            work, capture, "capture_unreadable", "Reading this capture crashed the converter."
        )
        return 0
    for instance in made:
        name = staged_dicom(instance.sop_instance_uid)
        place = work.resources.staging.path(work.exam_id, name)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        instance.path.replace(place)
        await work.resources.staging.put(work.exam_id, name)
    return await _record(work, how.study, capture, made)


async def _record_problem(work: Work, capture: Capture, code: str, message: str) -> None:
    async with work.tx() as (session, _):
        for row in await _alike(session, capture):
            row.problem_code, row.problem_message = code, message
    log.warning("capture_problem", capture=capture.index, code=code)


async def _alike(session: AsyncSession, capture: Capture) -> Sequence[Capture]:
    """The exam's captures of this content: the same bytes under several links share their fate."""
    same = select(Capture).where(Capture.exam_id == capture.exam_id, Capture.sha256 == capture.sha256)
    return (await session.scalars(same)).all()


async def _record(work: Work, study: Study, capture: Capture, made: Sequence[ConvertedInstance]) -> int:
    uids = [one.sop_instance_uid for one in made]
    async with work.tx() as (session, exam):
        known = {row.sop_instance_uid: row for row in await instances_of(session, exam.id)}
        # an exported bundle is another file each time, though the objects in it are the same
        there = await delivered_elsewhere(session, study_id=study.id, exam_id=exam.id, uids=uids)
        for instance in made:
            if instance.sop_instance_uid in there:
                continue
            row = known.get(instance.sop_instance_uid)
            if row is None:
                row = Instance(
                    exam_id=exam.id, capture_id=capture.id, sop_instance_uid=instance.sop_instance_uid
                )
                session.add(row)
            row.sop_class_uid, row.series_uid = instance.sop_class_uid, instance.series_uid
            row.transfer_syntax, row.frames = instance.transfer_syntax, instance.frames
            row.bytes, row.sha256 = instance.bytes, instance.sha256
        for row_of in await _alike(session, capture):
            row_of.sop_instance_uid = uids[0]
            row_of.already_delivered = len(there) == len(made)
    return len(made) - len(there)


async def _forget_unmade(work: Work) -> None:
    """Objects planned of content that is not there any more (changed or gone at Clarius) can't be sent."""
    async with work.tx() as (session, exam):
        for row in await instances_of(session, exam.id):
            name = staged_dicom(row.sop_instance_uid)
            if row.stored_at is None and await work.resources.staging.fetch(exam.id, name) is None:
                await session.delete(row)
