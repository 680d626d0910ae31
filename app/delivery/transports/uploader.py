"""Sends an exam's images through Aurabox's uploader: announce, start, one zip by Tus, complete.

Each stage is committed once it was accepted, so a crash goes on where it was; every lifecycle call may be sent
again with its upload id (docs/vendors.md, "Images by upload").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from app.accounts import AccountKind
from app.clients.aurabox import Study as RemoteStudy
from app.clients.aurabox.uploader import StudySummary, UploaderClient
from app.clients.tus import Hooks, Target, send_file
from app.delivery.archive import Staged, discard_archive, stage_archive
from app.delivery.counting import Counted, count_in, images_held
from app.delivery.filing import Plan
from app.delivery.labels import study_description
from app.delivery.steps.study import studied_at
from app.delivery.work import Work
from app.errors import GiveUp, NotThere, SonobridgeError, TryLater
from app.observing.metrics import transferred
from app.store.exams import Exam
from app.store.instances import (
    LEFT,
    Instance,
    end_upload,
    instances_in,
    instances_of_study,
    mark_stored,
    plan_upload,
    planned_by,
)
from app.store.studies import Study
from app.store.subjects import Mode, Subject
from app.store.uploads import Upload, UploadState, open_uploads

log = structlog.get_logger(__name__)

STAGES = list(UploadState)
IMAGES_CHANGED = "images_changed"


@dataclass(frozen=True)
class Sending:
    """One upload, what its archive holds, and with what it is made."""

    work: Work
    plan: Plan
    upload: Upload
    images: Sequence[Instance]
    study: Study
    subject: Subject
    client: UploaderClient
    account: str

    @property
    def assembly_id(self) -> str:
        """One archive for each upload, so the upload's own id names it."""
        return str(self.upload.upload_id)

    def before(self, stage: UploadState) -> bool:
        """Whether the upload has not come as far as this."""
        return STAGES.index(UploadState(self.upload.state)) < STAGES.index(stage)

    async def reached(self, stage: UploadState) -> None:
        """Commit that it has."""
        async with self.work.tx() as (session, _):
            (await session.get_one(Upload, self.upload.upload_id)).state = stage
        self.upload.state = stage


async def send_by_uploader(work: Work, plan: Plan) -> int | None:
    """How many images Aurabox accepted by answering `complete`; None when one is no longer in staging.

    First the upload that was begun, with what its archive holds, then what else is planned. Raises from the error
    tree; the next run goes on from the row.
    """
    accepted = 0
    while (sending := await _next(work, plan)) is not None:
        if not sending.images or sending.upload.study_id != sending.study.id:
            # what it was to bring has changed, or belongs into another study by now
            await _abandon(sending, IMAGES_CHANGED)
        elif await _carry(sending):
            accepted += len(sending.images)
        else:
            return None
    return accepted


async def count_by_uploader(
    work: Work, _plan: Plan, _study: Study, shown: RemoteStudy, sent: Sequence[Instance]
) -> Counted | None:
    """By the number that the study shows of itself, where it shows one; which images are missing it does not tell."""
    held = count_in(work, shown.fields)
    if held is None:
        return None
    if held >= len(sent):
        return Counted(sent, missing=0, suspects=())
    return Counted((), missing=len(sent) - held, suspects=sent)


async def end_begun_uploads(work: Work, plan: Plan) -> None:
    """The organisation has another transport by now: uploads of this exam that were begun come to nothing."""
    async with work.tx() as (session, _):
        begun = await open_uploads(session, exam_id=work.exam_id)
    for _ in begun:
        if (sending := await _next(work, plan)) is not None:
            await _abandon(sending, IMAGES_CHANGED)


async def _next(work: Work, plan: Plan) -> Sending | None:
    """The upload to go on with; else a new one of what is planned, recorded together; None when nothing is."""
    async with work.tx() as (session, exam):
        study = await session.get_one(Study, exam.study_id)
        begun = await open_uploads(session, exam_id=exam.id)
        if begun:
            upload, images = begun[0], await instances_in(session, begun[0])
        else:
            images = await planned_by(session, exam)
            if not images:
                return None
            upload = await plan_upload(session, exam, images)
        subject = await session.get_one(Subject, study.subject_id)
    return Sending(
        work=work,
        plan=plan,
        upload=upload,
        images=images,
        study=study,
        subject=subject,
        client=work.resources.uploader(plan.organization),
        account=AccountKind.UPLOADER.of(plan.organization.id),
    )


async def _carry(sending: Sending) -> bool:
    """Bring one upload to its end; False when an image of it is no longer in staging."""
    work, upload = sending.work, sending.upload
    # the answer to an earlier `complete` was lost: it may have been accepted
    unclear = upload.state == UploadState.ASKED
    try:
        if sending.before(UploadState.SENT):
            archive = await stage_archive(work, sending.study, sending.images, upload)
            if archive is None:
                return False
            await _keep_size(sending, archive)
            await _begin(sending, _summary(await work.read(), sending))
            await _send_archive(sending, archive)
            await sending.reached(UploadState.SENT)
        if not unclear:
            await sending.reached(UploadState.ASKED)
        async with work.effect("send:complete_upload", sending.account):
            await sending.client.complete(upload.upload_id, sending.assembly_id)
    except GiveUp as error:
        if not (unclear and await _arrived(sending)):
            await _given_up(sending, error, unclear=unclear)
    await _stored(sending)
    discard_archive(work, upload)
    return True


async def _given_up(sending: Sending, error: GiveUp, *, unclear: bool) -> NoReturn:
    """The upload is over; whether it is tried with another one depends on what is known of it."""
    if isinstance(error, NotThere):
        # Aurabox has forgotten it
        await _forget(sending)
        code = "upload_forgotten"
    else:
        await _abandon(sending, error.code)
        code = "upload_unclear"
        if not unclear:
            raise error
    # with another id, and the same UIDs: what did arrive is the same object again
    raise TryLater(error.message, upstream="aurabox", status=error.status, code=code) from error


async def _arrived(sending: Sending) -> bool:
    """Whether the study shows as many images as it must have if the upload was accepted; False where none is shown."""
    held = await images_held(
        sending.work, sending.plan, sending.subject, sending.study, name="send:look_for_images"
    )
    async with sending.work.tx() as (session, _):
        images = await instances_of_study(session, sending.study.id)
    return held is not None and held >= sum(1 for image in images if image.state in LEFT)


async def _keep_size(sending: Sending, archive: Staged) -> None:
    """Record what will be sent. Raises TryLater when it is something else than was begun."""
    if sending.upload.sha256 not in (None, archive.sha256):
        await _abandon(sending, IMAGES_CHANGED)
        raise TryLater(
            "the images changed since the upload was begun", upstream="aurabox", code=IMAGES_CHANGED
        )
    async with sending.work.tx() as (session, _):
        row = await session.get_one(Upload, sending.upload.upload_id)
        row.bytes, row.sha256 = archive.bytes, archive.sha256


async def _begin(sending: Sending, summary: StudySummary) -> None:
    upload_id = sending.upload.upload_id
    if sending.before(UploadState.ANNOUNCED):
        async with sending.work.effect("send:announce_upload", sending.account):
            await sending.client.init(upload_id, [summary], patient_id=sending.subject.remote_id)
        await sending.reached(UploadState.ANNOUNCED)
    if sending.before(UploadState.STARTED):
        async with sending.work.effect("send:start_upload", sending.account):
            await sending.client.start(upload_id, sending.assembly_id)
        await sending.reached(UploadState.STARTED)


def _summary(exam: Exam, sending: Sending) -> StudySummary:
    """What `init` is told of the study: counts and UIDs; who it is Aurabox knows by the patient id."""
    plan, images = sending.plan, sending.images
    at = studied_at(exam, plan.policy, sending.study)
    series: dict[str, dict[str, object]] = {}
    for uid in sorted({image.series_uid for image in images}):
        count = sum(image.series_uid == uid for image in images)
        series[uid] = {"series_uid": uid, "modality": "US", "images": count}
    identified = plan.mode is Mode.IDENTIFIED
    return StudySummary(
        study_uid=sending.study.study_instance_uid,
        study_date=f"{at:%Y%m%d}",
        study_time=f"{at:%H%M%S}",
        study_description=study_description(),
        institution_name=plan.organization.name if identified else "",
        series_count=len(series),
        images=len(images),
        series=series,
    )


async def _send_archive(sending: Sending, archive: Staged) -> None:
    work, upload = sending.work, sending.upload

    async def renewed() -> Target:
        lift = await sending.client.lift()
        return Target(lift.endpoint, lift.credentials)

    async def created(url: str) -> None:
        async with work.tx() as (session, _):
            row = await session.get_one(Upload, upload.upload_id)
            row.url_sealed = work.resources.seal_text(url)

    async def progress(offset: int) -> None:
        if held:
            transferred.labels(direction="out").inc(max(offset - held[-1], 0))
        held.append(offset)

    # the first is what the server held when this run came to it
    held: list[int] = []
    async with work.effect("send:upload_archive", sending.account):
        lift = await sending.client.lift()
        await send_file(
            work.resources.http,
            Target(lift.endpoint, lift.credentials),
            archive.path,
            metadata={
                "upload_id": str(upload.upload_id),
                "bucket": lift.bucket,
                "mode": "uploader",
                "filename": f"{upload.upload_id}.zip",
                "filetype": "application/zip",
            },
            stored_url=work.resources.unseal_text(upload.url_sealed) if upload.url_sealed else None,
            account=sending.account,
            hooks=Hooks(created=created, renewed=renewed, progress=progress),
        )


async def _abandon(sending: Sending, why: str) -> None:
    """Tell Aurabox that no more will come; that this could not be told changes nothing for the exam."""
    # first, so that a crash right after the telling does not go on with an upload that is over
    await _forget(sending)
    try:
        async with sending.work.effect("send:fail_upload", sending.account):
            await sending.client.error(sending.upload.upload_id, why)
    except SonobridgeError as error:
        log.warning("upload_failure_not_told", code=error.code)


async def _forget(sending: Sending) -> None:
    async with sending.work.tx() as (session, _):
        row = await session.get(Upload, sending.upload.upload_id)
        if row is not None:
            await end_upload(session, row)
    discard_archive(sending.work, sending.upload)


async def _stored(sending: Sending) -> None:
    """Aurabox has what this upload's archive holds: that, and nothing else, is stored."""
    async with sending.work.tx() as (session, _):
        await mark_stored(session, sending.images)
        row = await session.get_one(Upload, sending.upload.upload_id)
        row.state, row.url_sealed = UploadState.COMPLETE, None
