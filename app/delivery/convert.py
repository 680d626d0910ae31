"""Step convert: captures become DICOM files in staging, in other processes; content the study has is passed over."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.delivery.dicom_subject import dicom_subject, study_context
from app.delivery.download import staged_name
from app.delivery.match import exam_identity
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.study import deidentify_key, studied_at
from app.delivery.work import Work
from app.imaging.check import require_valid
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from app.imaging.subjects import ConvertedInstance, StudyContext, Subject
from app.pool import ProcessDied
from app.states import Step
from app.store.base import clock
from app.store.captures import Capture, captures_of
from app.store.exams import Exam
from app.store.instances import Instance, instances_of
from app.store.organizations import BurnedIn, Organization
from app.store.organizations import Identity as IdentityPolicy
from app.store.studies import Study
from app.store.study_contents import contents_of
from app.store.subjects import Subject as SubjectRow

log = structlog.get_logger(__name__)

DICOM_FOLDER = "dicom"
ARCHIVE_ENDING = ".zip"


def staged_dicom(sop_instance_uid: str) -> str:
    """The file of an object in staging."""
    return f"{DICOM_FOLDER}/{sop_instance_uid}.dcm"


@dataclass(frozen=True)
class Conversion:
    """What converting one exam needs, read once."""

    exam: Exam
    organization: Organization
    study: Study
    subject: SubjectRow
    captures: Sequence[Capture]
    made: Sequence[Instance]
    contents: Mapping[str, str]


async def convert(work: Work) -> Outcome:
    """Done when every capture that can become an image is one, in staging and recorded.

    Bytes that are gone from staging (another host had them) send the exam back to download.
    """
    what = await _read(work)
    _refuse_unknown_pixels(what)
    todo = await _select(work, what)
    paths: list[Path] = []
    for capture in todo:
        path = await work.resources.staging.fetch(work.exam_id, staged_name(capture))
        if path is None:
            return Done("the captures are no longer in staging", to=Step.DOWNLOAD)
        paths.append(path)
    context, subject = await _described(work, what)
    results = await asyncio.gather(
        *(
            _convert_one(work, capture, path, context, subject)
            for capture, path in zip(todo, paths, strict=True)
        )
    )
    return Done(f"{sum(results)} images from {len(todo)} captures")


async def _read(work: Work) -> Conversion:
    async with work.tx() as (session, exam):
        study = await session.get_one(Study, exam.study_id)
        return Conversion(
            exam=exam,
            organization=await session.get_one(Organization, exam.organization_id),
            study=study,
            subject=await session.get_one(SubjectRow, study.subject_id),
            captures=await captures_of(session, exam.id),
            made=await instances_of(session, exam.id),
            contents=await contents_of(session, study.id),
        )


def _refuse_unknown_pixels(what: Conversion) -> None:
    """A de-identified object claims clean pixels; somebody has to have said that they are."""
    if (
        what.organization.identity == IdentityPolicy.DEIDENTIFIED
        and what.organization.burned_in == BurnedIn.UNKNOWN
        and any(capture.sha256 for capture in what.captures)
    ):
        raise NeedsPerson(
            "nobody has said whether Clarius burns patient data into this organisation's images; set --burned-in",
            code="burned_in_unknown",
        )


async def _select(work: Work, what: Conversion) -> list[Capture]:
    """The captures still to be converted: new content, once each; what the study has is marked as delivered."""
    converted = {instance.capture_id for instance in what.made}
    ready = {
        instance.capture_id
        for instance in what.made
        if await work.resources.staging.fetch(work.exam_id, staged_dicom(instance.sop_instance_uid))
        is not None
    }
    seen: set[str] = set()
    todo: list[Capture] = []
    async with work.tx() as (session, _):
        for capture in what.captures:
            if capture.problem_code or capture.sha256 is None:
                continue
            row = await session.get_one(Capture, capture.id)
            if capture.sha256 in what.contents:
                row.already_delivered = capture.id not in converted
                row.sop_instance_uid = what.contents[capture.sha256]
            elif capture.sha256 not in seen and capture.id not in ready:
                todo.append(capture)
            seen.add(capture.sha256)
    return todo


async def _described(work: Work, what: Conversion) -> tuple[StudyContext, Subject]:
    async with work.tx() as (session, _):
        today = (await clock(session)).date()
    label = what.subject.label_sealed
    subject = dicom_subject(
        exam_identity(work.resources, what.exam, today=today),
        what.organization,
        # as it was sent to Aurabox: made anew it might differ, if the exam data were read on another day
        label=work.resources.unseal_text(label) if label else what.subject.remote_id,
        remote_id=what.subject.remote_id,
    )
    key = deidentify_key(work, what.organization)
    at = studied_at(what.exam, what.organization)
    return study_context(what.study, what.organization, studied_at=at, deidentify_key=key), subject


async def _convert_one(
    work: Work, capture: Capture, path: Path, context: StudyContext, subject: Subject
) -> int:
    """Convert and check one capture and record its objects; a bad capture is recorded as one. How many objects."""
    out = work.resources.staging.folder(work.exam_id) / DICOM_FOLDER
    try:
        made = await work.resources.pool.run(
            convert_and_check, path, out, context, subject, capture.index, capture.sha256
        )
    except (CaptureProblem, ProcessDied) as problem:
        code = problem.code if isinstance(problem, CaptureProblem) else "capture_unreadable"
        message = (
            problem.message
            if isinstance(problem, CaptureProblem)
            else "Reading this capture crashed the converter."
        )
        async with work.tx() as (session, _):
            row = await session.get_one(Capture, capture.id)
            row.problem_code, row.problem_message = code, message
        log.warning("capture_problem", capture=capture.index, code=code)
        return 0
    for instance in made:
        await work.resources.staging.put(work.exam_id, staged_dicom(instance.sop_instance_uid))
    await _record(work, capture, made)
    return len(made)


def convert_and_check(
    source: Path, out: Path, context: StudyContext, subject: Subject, index: int, sha256: str
) -> list[ConvertedInstance]:
    """In another process: convert a capture and check every object made of it. Raises CaptureProblem."""
    made = convert_capture(source, out, context, subject, capture_index=index, capture_sha256=sha256)
    for instance in made:
        require_valid(instance.path)
    return made


async def _record(work: Work, capture: Capture, made: Sequence[ConvertedInstance]) -> None:
    async with work.tx() as (session, _):
        known = {row.sop_instance_uid: row for row in await instances_of(session, work.exam_id)}
        for instance in made:
            row = known.get(instance.sop_instance_uid)
            if row is None:
                row = Instance(
                    exam_id=work.exam_id, capture_id=capture.id, sop_instance_uid=instance.sop_instance_uid
                )
                session.add(row)
            row.sop_class_uid, row.series_uid = instance.sop_class_uid, instance.series_uid
            row.transfer_syntax, row.frames = instance.transfer_syntax, instance.frames
            row.bytes, row.sha256 = instance.bytes, instance.sha256
        if made:
            (await session.get_one(Capture, capture.id)).sop_instance_uid = made[0].sop_instance_uid
