"""The outbox of a study: every DICOM object that was made for it, once, and how far it came (`InstanceState`).

Submissions of one exam meet here: each links its captures to the study's objects, so that the same content from two
of them is one row, and what the study was given is never sent again, whoever asks.
"""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.states import UNDER_WAY, ExamState, Step
from app.store.base import Base, Constant, now
from app.store.captures import INCOMPLETE, Capture
from app.store.exams import Exam
from app.store.studies import Study
from app.store.uploads import Upload, UploadState, open_uploads


class InstanceState(StrEnum):
    """How far an object came."""

    PLANNED = "planned"
    #: in the archive of an upload that is under way
    IN_UPLOAD = "in_upload"
    #: the image transport has taken it
    STORED = "stored"
    #: it was counted where it was sent
    SEEN = "seen"
    #: it was there and is not any more; a submission that has it sends it again
    GONE = "gone"


THERE = (InstanceState.STORED, InstanceState.SEEN)
LEFT = (InstanceState.IN_UPLOAD, *THERE)


class Instance(Base):
    """One object. Its UID is chosen from (study, content), so the same content is the same object again.

    `exam_id`: the submission that made it, in whose staging its file lies, and that sends it. `policy_version`: by
    which version of that submission's policy it was made; None for rows from before there were versions.
    """

    __tablename__ = "study_instances"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    study_id: Mapped[UUID] = mapped_column(ForeignKey("studies.id"))
    sop_instance_uid: Mapped[str]
    state: Mapped[Constant] = mapped_column(default=InstanceState.PLANNED)
    exam_id: Mapped[UUID] = mapped_column(ForeignKey("exams.id"), index=True)
    upload_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("study_uploads.upload_id", ondelete="SET NULL"), index=True
    )
    policy_version: Mapped[int | None]
    sop_class_uid: Mapped[str]
    series_uid: Mapped[str]
    transfer_syntax: Mapped[str]
    frames: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str]
    stored_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid"),)


class CaptureInstance(Base):
    """An object that a capture of some submission became; a bundle becomes many."""

    __tablename__ = "capture_instances"

    capture_id: Mapped[UUID] = mapped_column(ForeignKey("captures.id", ondelete="CASCADE"), primary_key=True)
    instance_id: Mapped[UUID] = mapped_column(
        ForeignKey("study_instances.id", ondelete="CASCADE"), primary_key=True, index=True
    )


ByCapture = Mapping[UUID, Sequence[Instance]]


async def instances_by_capture(session: AsyncSession, exam: Exam) -> ByCapture:
    """What each capture of an exam request became in the exam's study, in the order of the UIDs."""
    rows = await session.execute(
        select(Capture.id, Instance)
        .join(CaptureInstance, CaptureInstance.capture_id == Capture.id)
        .join(Instance, Instance.id == CaptureInstance.instance_id)
        .where(Capture.exam_id == exam.id, Instance.study_id == exam.study_id)
        .order_by(Instance.sop_instance_uid)
    )
    instances: dict[UUID, list[Instance]] = defaultdict(list)
    for capture_id, instance in rows:
        instances[capture_id].append(instance)
    return instances


async def instances_of(session: AsyncSession, exam: Exam) -> Sequence[Instance]:
    """The objects of an exam request, each once, in the order of their UIDs: its own and those it shares."""
    by_capture = await instances_by_capture(session, exam)
    unique = {instance.sop_instance_uid: instance for many in by_capture.values() for instance in many}
    return [unique[uid] for uid in sorted(unique)]


async def instances_of_study(session: AsyncSession, study_id: UUID) -> Sequence[Instance]:
    """All that was made for a study, by whichever submission, in the order of the UIDs."""
    return (
        await session.scalars(
            select(Instance).where(Instance.study_id == study_id).order_by(Instance.sop_instance_uid)
        )
    ).all()


async def planned_by(session: AsyncSession, exam: Exam) -> Sequence[Instance]:
    """What of an exam request is still to be sent, and was made by it."""
    return [
        instance
        for instance in await instances_of(session, exam)
        if instance.state == InstanceState.PLANNED and instance.exam_id == exam.id
    ]


async def contents_of(session: AsyncSession, study_id: UUID) -> Mapping[str, Sequence[Instance]]:
    """What each content (SHA-256 of a capture as served) became, over all submissions of a study."""
    rows = await session.execute(
        select(Capture.sha256, Instance)
        .join(CaptureInstance, CaptureInstance.capture_id == Capture.id)
        .join(Instance, Instance.id == CaptureInstance.instance_id)
        .where(Instance.study_id == study_id, Capture.sha256.is_not(None), Capture.problem_code.is_(None))
        .distinct()
        .order_by(Instance.sop_instance_uid)
    )
    contents: dict[str, list[Instance]] = defaultdict(list)
    for sha256, instance in rows:
        contents[sha256 or ""].append(instance)
    return contents


def delivered_before(exam: Exam, instances: Sequence[Instance]) -> bool:
    """Whether all of these are in the study by another submission than this."""
    return all(instance.state in THERE and instance.exam_id != exam.id for instance in instances)


async def link_capture(session: AsyncSession, capture_id: UUID, instances: Sequence[Instance]) -> None:
    """From now on the capture stands for these objects and no others."""
    ids = [instance.id for instance in instances]
    await session.execute(
        delete(CaptureInstance).where(
            CaptureInstance.capture_id == capture_id, CaptureInstance.instance_id.not_in(ids)
        )
    )
    if ids:
        rows = [{"capture_id": capture_id, "instance_id": instance_id} for instance_id in ids]
        await session.execute(insert(CaptureInstance).values(rows).on_conflict_do_nothing())


async def forget_parts(session: AsyncSession, exam_id: UUID) -> None:
    """Captures of which only a part became images stand for none, so that they are converted again and not passed over.

    The objects themselves stay: those that are in the study are known by their UIDs, and not sent again.
    """
    in_part = select(Capture.id).where(Capture.exam_id == exam_id, Capture.problem_code == INCOMPLETE)
    await session.execute(delete(CaptureInstance).where(CaptureInstance.capture_id.in_(in_part)))


async def forget_instances(session: AsyncSession, instances: Sequence[Instance]) -> None:
    """Take objects out of the outbox; captures that became them are to be converted again, as a whole."""
    ids = [instance.id for instance in instances]
    if not ids:
        return
    captures = select(CaptureInstance.capture_id).where(CaptureInstance.instance_id.in_(ids))
    await session.execute(delete(CaptureInstance).where(CaptureInstance.capture_id.in_(captures)))
    await session.execute(delete(Instance).where(Instance.id.in_(ids)))


async def mark_gone(session: AsyncSession, instances: Sequence[Instance]) -> None:
    """These were there and are not any more: a submission that has their captures makes and sends them again."""
    ids = [instance.id for instance in instances]
    if not ids:
        return
    await session.execute(
        update(Instance)
        .where(Instance.id.in_(ids))
        .values(state=InstanceState.GONE, upload_id=None, stored_at=None, seen_at=None)
    )
    under_way = select(Exam.id).where(Exam.state != ExamState.DELIVERED)
    linked = select(CaptureInstance.capture_id).where(CaptureInstance.instance_id.in_(ids))
    # what an earlier submission had delivered has to be read again
    await session.execute(
        update(Capture)
        .where(Capture.id.in_(linked), Capture.exam_id.in_(under_way))
        .values(already_delivered=False)
    )


async def study_gone(session: AsyncSession, study_id: UUID) -> int:
    """The study is gone in Aurabox, and with it all that was sent: how many images that is.

    Uploads under way are ended by the next to send.
    """
    there = select(Instance).where(Instance.study_id == study_id, Instance.state.in_(LEFT))
    gone = (await session.scalars(there)).all()
    await mark_gone(session, gone)
    return len(gone)


async def count_sent(session: AsyncSession, exam: Exam) -> int:
    """How many images this submission itself handed to the image transport for its study."""
    counted = select(func.count()).where(
        Instance.exam_id == exam.id, Instance.study_id == exam.study_id, Instance.state.in_(LEFT)
    )
    return (await session.execute(counted)).scalar_one()


async def mark_stored(session: AsyncSession, instances: Sequence[Instance]) -> None:
    """The image transport has taken these."""
    await session.execute(
        update(Instance)
        .where(Instance.id.in_([instance.id for instance in instances]))
        .values(state=InstanceState.STORED, stored_at=now(), seen_at=None)
    )


async def mark_seen(session: AsyncSession, instances: Sequence[Instance]) -> None:
    """These were counted where they were sent."""
    await session.execute(
        update(Instance)
        .where(Instance.id.in_([instance.id for instance in instances]))
        .values(state=InstanceState.SEEN, seen_at=now())
    )


async def take_turn(session: AsyncSession, exam: Exam) -> bool:
    """Whether this submission may make and send images of its study now: one at a time, so that none goes out twice.

    Another one has the turn while it is under way at these steps, or while an upload of it is not ended. Locks the
    study's row until the commit.
    """
    study = (await session.scalars(select(Study).where(Study.id == exam.study_id).with_for_update())).one()
    if study.turn_exam_id not in {None, exam.id}:
        busy = await session.scalar(
            select(Exam.id).where(
                Exam.id == study.turn_exam_id,
                Exam.study_id == study.id,
                Exam.step.in_((Step.CONVERT, Step.SEND)),
                Exam.state.in_(UNDER_WAY),
            )
        )
        if busy is not None:
            return False
    if any(upload.exam_id != exam.id for upload in await open_uploads(session, study_id=study.id)):
        return False
    study.turn_exam_id = exam.id
    return True


async def plan_upload(session: AsyncSession, exam: Exam, instances: Sequence[Instance]) -> Upload:
    """A new upload of exactly these objects."""
    upload = Upload(study_id=exam.study_id, exam_id=exam.id, state=UploadState.PLANNED)
    session.add(upload)
    await session.flush()
    await session.execute(
        update(Instance)
        .where(Instance.id.in_([instance.id for instance in instances]))
        .values(state=InstanceState.IN_UPLOAD, upload_id=upload.upload_id)
    )
    return upload


async def empty_upload(session: AsyncSession, upload: Upload) -> None:
    """Nothing is in this upload any more: what was is planned again; whoever ends it tells Aurabox."""
    await session.execute(
        update(Instance)
        .where(Instance.upload_id == upload.upload_id, Instance.state == InstanceState.IN_UPLOAD)
        .values(state=InstanceState.PLANNED, upload_id=None)
    )


async def end_upload(session: AsyncSession, upload: Upload) -> None:
    """Forget an upload that will not be gone on with: what was in it is planned again."""
    await empty_upload(session, upload)
    await session.delete(upload)
    await session.flush()


async def instances_in(session: AsyncSession, upload: Upload) -> Sequence[Instance]:
    """What the archive of this upload holds."""
    return (
        await session.scalars(
            select(Instance).where(Instance.upload_id == upload.upload_id).order_by(Instance.sop_instance_uid)
        )
    ).all()
