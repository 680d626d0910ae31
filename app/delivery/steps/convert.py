"""Step convert: captures become DICOM files in staging, in other processes; content the study has is passed over."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.dicom_subject import dicom_subject, study_context
from app.delivery.filing import Plan, planned
from app.delivery.identity import day_of, exam_identity
from app.delivery.labels import keyed_digest
from app.delivery.outcome import Done, NeedsPerson, Outcome, another_turn
from app.delivery.staged import is_staged, leftovers, making, staged_dicom, staged_name
from app.delivery.steps.study import deidentify_key, studied_at
from app.delivery.work import Work
from app.imaging.errors import CaptureProblem
from app.imaging.subjects import Converted, ConvertedInstance, StudyContext, Subject
from app.infrastructure.pool import ProcessDied, TookTooLong
from app.named import Named
from app.states import Step
from app.store.base import clock
from app.store.captures import INCOMPLETE, Capture, captures_of
from app.store.exams import Exam
from app.store.instances import (
    LEFT,
    THERE,
    Instance,
    InstanceState,
    contents_of,
    delivered_before,
    empty_upload,
    forget_instances,
    instances_of_study,
    link_capture,
    take_turn,
)
from app.store.organizations import BurnedIn
from app.store.studies import Study
from app.store.subjects import Mode
from app.store.subjects import Subject as SubjectRow
from app.store.uploads import Upload, UploadState, open_uploads

CONVERT_CAPTURE: Named[Converted] = Named("app.imaging.convert", "convert_capture")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Conversion:
    """What converting one exam needs, read once."""

    exam: Exam
    plan: Plan
    study: Study
    subject: SubjectRow
    captures: Sequence[Capture]
    contents: Mapping[str, Sequence[Instance]]
    uploads: Mapping[UUID, Upload]


@dataclass(frozen=True)
class Making:
    """What all captures of one run are converted with."""

    context: StudyContext
    subject: Subject
    policy_version: int
    organization_id: UUID


async def convert(work: Work) -> Outcome:
    """Done when every capture that can become an image is one, in staging and recorded.

    Bytes that are gone from staging (another host had them) send the exam back to download. Another submission of
    the same study goes first if it began first: what it delivers is not sent again.
    """
    what = await _read(work)
    if what is None:
        return another_turn()
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
    count = await _convert_all(work, await _described(work, what), list(zip(todo, paths, strict=True)))
    await _forget_unmade(work)
    return Done(f"{count} images made of {len(todo)} captures")


async def _read(work: Work) -> Conversion | None:
    """None while it is another submission's turn."""
    async with planned(work, locked=True) as (session, exam, plan):
        if not await take_turn(session, exam):
            return None
        study = await session.get_one(Study, exam.study_id)
        return Conversion(
            exam=exam,
            plan=plan,
            study=study,
            subject=await session.get_one(SubjectRow, study.subject_id),
            captures=await captures_of(session, exam.id),
            contents=await contents_of(session, study.id),
            uploads={upload.upload_id: upload for upload in await open_uploads(session, exam_id=exam.id)},
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
    """The captures still to be converted: new content, once each; the others stand for what the study has."""
    ready = {
        sha256: instances
        for sha256, instances in what.contents.items()
        if all([await _needs_no_file(work, what, image) for image in instances])
    }
    seen: set[str] = set()
    todo: list[Capture] = []
    async with work.tx() as (session, exam):
        for capture in what.captures:
            if capture.sha256 is None or not capture.becomes_images:
                continue
            row = await session.get_one(Capture, capture.id)
            if capture.sha256 in ready:
                await _stands_for(session, exam, row, ready[capture.sha256])
            elif capture.sha256 not in seen:
                todo.append(capture)
            seen.add(capture.sha256)
    return todo


async def _needs_no_file(work: Work, what: Conversion, instance: Instance) -> bool:
    """Whether an object is sent, or has nothing to wait for but to be: in an archive that is there, or in staging."""
    if instance.state in THERE:
        return True
    if instance.state == InstanceState.IN_UPLOAD:
        upload = what.uploads.get(instance.upload_id or work.exam_id)
        if upload is not None and upload.state in {UploadState.SENT, UploadState.ASKED}:
            return True
    return instance.state != InstanceState.GONE and await is_staged(work, instance)


async def _stands_for(
    session: AsyncSession, exam: Exam, capture: Capture, instances: Sequence[Instance]
) -> None:
    await link_capture(session, capture.id, instances)
    capture.sop_instance_uid = instances[0].sop_instance_uid
    capture.already_delivered = delivered_before(exam, instances)


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
        digest=keyed_digest(work.resources.pseudonym_key(what.plan.organization)),
    )
    policy, key = what.plan.policy, deidentify_key(work, what.plan)
    context = study_context(
        what.study,
        policy,
        organization_name=what.plan.organization.name,
        studied_at=studied_at(what.exam, policy, what.study),
        deidentify_key=key,
    )
    return Making(context, subject, policy.version, what.plan.organization.id)


async def _convert_all(work: Work, how: Making, todo: Sequence[tuple[Capture, Path]]) -> int:
    """All of them, as many at a time as keeps the pool busy. How many objects; the first error ends the rest."""
    left = iter(todo)
    count = 0

    async def carry() -> None:
        nonlocal count
        for capture, path in left:
            # read after the wait: several of these run side by side
            fresh = await _convert_one(work, how, capture, path)
            count += fresh

    # one more than may be converted at a time: while one is being recorded the processes have work
    tasks = [asyncio.create_task(carry()) for _ in range(min(len(todo), work.resources.pool.share + 1))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, making(work), ignore_errors=True)
    return count


async def _convert_one(work: Work, how: Making, capture: Capture, path: Path) -> int:
    """Convert one capture and record its objects; a bad capture is recorded as one. How many objects are new."""
    out = making(work) / f"{capture.index:04d}"
    try:
        converted = await work.resources.pool.run(
            CONVERT_CAPTURE,
            path,
            out,
            how.context,
            how.subject,
            capture_index=capture.index,
            capture_sha256=capture.sha256,
            turn=how.organization_id,
            seconds=work.resources.settings.conversion_seconds,
        )
    except CaptureProblem as problem:
        await _record_problem(work, capture, problem.code, problem.message)
        return 0
    except TookTooLong:
        limit = work.resources.settings.conversion_seconds
        message = f"Converting this capture took longer than the {limit:g} seconds that a capture may take."
        await _record_problem(work, capture, "capture_too_large", message)
        return 0
    except ProcessDied:
        await _record_problem(
            work, capture, "capture_unreadable", "Reading this capture crashed the converter."
        )
        return 0
    for instance in converted:
        name = staged_dicom(instance.sop_instance_uid)
        place = work.resources.staging.path(work.exam_id, name)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        instance.path.replace(place)
        await work.resources.staging.put(work.exam_id, name)
    return await _record(work, how, capture, converted)


async def _record_problem(work: Work, capture: Capture, code: str, message: str) -> None:
    async with work.tx() as (session, _):
        for row in await _alike(session, capture):
            row.problem_code, row.problem_message = code, message
    log.warning("capture_problem", capture=capture.index, code=code)


async def _alike(session: AsyncSession, capture: Capture) -> Sequence[Capture]:
    """The exam's captures of this content: the same bytes under several links share their fate."""
    same = select(Capture).where(Capture.exam_id == capture.exam_id, Capture.sha256 == capture.sha256)
    return (await session.scalars(same)).all()


async def _record(work: Work, how: Making, capture: Capture, converted: Converted) -> int:
    """Put the objects into the study's outbox, and say of each capture of this content what it became, and what not.

    How many of them are to be sent: an exported bundle is another file each time, though the objects in it are
    the same.
    """
    async with work.tx() as (session, exam):
        by_uid = {row.sop_instance_uid: row for row in await instances_of_study(session, _study_id(exam))}
        rows = []
        for image in converted:
            row = by_uid.get(image.sop_instance_uid)
            if row is None:
                row = Instance(study_id=_study_id(exam), sop_instance_uid=image.sop_instance_uid)
                session.add(row)
            if row.state not in LEFT:
                row.state, row.upload_id = InstanceState.PLANNED, None
                _describe(row, image, exam=exam, policy_version=how.policy_version)
            rows.append(row)
        await session.flush()
        for alike in await _alike(session, capture):
            await _stands_for(session, exam, alike, rows)
            alike.left_out = converted.left_out
            alike.problem_code = INCOMPLETE if converted.left_out else None
            alike.problem_message = converted.why or None
    if converted.left_out:
        log.warning("capture_in_part", capture=capture.index, count=converted.left_out)
    return sum(1 for row in rows if row.state == InstanceState.PLANNED)


def _describe(row: Instance, image: ConvertedInstance, *, exam: Exam, policy_version: int) -> None:
    """The object as it was made just now, by whom and under which policy."""
    row.exam_id, row.policy_version = exam.id, policy_version
    row.sop_class_uid, row.series_uid = image.sop_class_uid, image.series_uid
    row.transfer_syntax, row.frames = image.transfer_syntax, image.frames
    row.bytes, row.sha256 = image.bytes, image.sha256


def _study_id(exam: Exam) -> UUID:
    if exam.study_id is None:
        raise RuntimeError("an exam past the step study has a study")
    return exam.study_id


async def _forget_unmade(work: Work) -> None:
    """Objects planned of content that is not there any more (changed or gone at Clarius) can't be sent.

    An upload that was to bring one of them is emptied: it would not be what was announced.
    """
    async with work.tx() as (session, exam):
        uploads = {
            upload.upload_id: upload
            for upload in await open_uploads(session, exam_id=exam.id)
            if upload.state not in {UploadState.SENT, UploadState.ASKED}
        }
        unmade = []
        for row in await instances_of_study(session, _study_id(exam)):
            waits = row.state == InstanceState.PLANNED or row.upload_id in uploads
            if row.exam_id == exam.id and waits and not await is_staged(work, row):
                unmade.append(row)
        for upload_id in {row.upload_id for row in unmade if row.upload_id is not None}:
            await empty_upload(session, uploads[upload_id])
        await forget_instances(session, unmade)
