"""Sends an exam's images through Aurabox's uploader: announce, start, one zip by Tus, complete.

Each stage is committed once it was accepted, so a crash goes on where it was; every lifecycle call may be sent
again with its upload id (aurabox.md, path 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from app.clients.aurabox.uploader import StudySummary, UploaderClient
from app.clients.tus import Hooks, Target, send_file
from app.delivery.archive import Staged, discard_archive, stage_archive
from app.delivery.filing import Plan
from app.delivery.study import DESCRIPTION, studied_at
from app.delivery.work import Work
from app.errors import GiveUp, NotThere, SonobridgeError, TryLater
from app.metrics import transferred
from app.store.base import now
from app.store.exams import Exam
from app.store.instances import Instance
from app.store.studies import Study
from app.store.subjects import Mode, Subject
from app.store.uploads import Upload, UploadState, plan_again, upload_of

log = structlog.get_logger(__name__)

STAGES = list(UploadState)
IMAGES_CHANGED = "images_changed"


@dataclass(frozen=True)
class Sending:
    """One upload and with what it is made."""

    work: Work
    upload: Upload
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
            (await session.get_one(Upload, self.work.exam_id)).state = stage
        self.upload.state = stage


async def send_by_uploader(work: Work, plan: Plan, images: Sequence[Instance]) -> bool:
    """True when Aurabox answered `complete`, False when an image is no longer in staging.

    Raises from the error tree; the next run goes on from the row.
    """
    async with work.tx() as (session, exam):
        upload = await upload_of(session, exam.id)
        if upload.state == UploadState.COMPLETE:
            # an earlier one of this exam, without these images
            await plan_again(session, exam.id)
            upload = await upload_of(session, exam.id)
        study = await session.get_one(Study, exam.study_id)
        subject = await session.get_one(Subject, study.subject_id)
    sending = Sending(
        work, upload, work.resources.uploader(plan.organization), f"uploader:{plan.organization.id}"
    )
    try:
        if sending.before(UploadState.SENT):
            archive = await stage_archive(work, study, images, upload)
            if archive is None:
                return False
            await _keep_size(sending, archive)
            summary = _summary(exam, study, plan, images)
            await _begin(sending, summary, patient_id=subject.remote_id)
            await _send_archive(sending, archive)
            await sending.reached(UploadState.SENT)
        async with work.effect("send:complete_upload", sending.account):
            await sending.client.complete(upload.upload_id, sending.assembly_id)
    except NotThere as error:
        # Aurabox has forgotten the upload: the next run plans one with a new id
        await _forget(sending)
        raise TryLater(
            error.message, upstream="aurabox", status=error.status, code="upload_forgotten"
        ) from error
    except GiveUp as error:
        await _abandon(sending, error.code)
        raise
    await _stored(work, images)
    discard_archive(work)
    return True


async def _keep_size(sending: Sending, archive: Staged) -> None:
    """Record what will be sent. Raises TryLater when it is something else than was begun."""
    if sending.upload.sha256 not in (None, archive.sha256):
        await _abandon(sending, IMAGES_CHANGED)
        raise TryLater(
            "the images changed since the upload was begun", upstream="aurabox", code=IMAGES_CHANGED
        )
    async with sending.work.tx() as (session, _):
        row = await session.get_one(Upload, sending.work.exam_id)
        row.bytes, row.sha256 = archive.bytes, archive.sha256


async def _begin(sending: Sending, summary: StudySummary, *, patient_id: str) -> None:
    upload_id = sending.upload.upload_id
    if sending.before(UploadState.ANNOUNCED):
        async with sending.work.effect("send:announce_upload", sending.account):
            await sending.client.init(upload_id, [summary], patient_id=patient_id)
        await sending.reached(UploadState.ANNOUNCED)
    if sending.before(UploadState.STARTED):
        async with sending.work.effect("send:start_upload", sending.account):
            await sending.client.start(upload_id, sending.assembly_id)
        await sending.reached(UploadState.STARTED)


def _summary(exam: Exam, study: Study, plan: Plan, images: Sequence[Instance]) -> StudySummary:
    """What `init` is told of the study: counts and UIDs; who it is Aurabox knows by the patient id."""
    at = studied_at(exam, plan.policy)
    series: dict[str, dict[str, object]] = {}
    for uid in sorted({image.series_uid for image in images}):
        count = sum(image.series_uid == uid for image in images)
        series[uid] = {"series_uid": uid, "modality": "US", "images": count}
    identified = plan.mode is Mode.IDENTIFIED
    return StudySummary(
        study_uid=study.study_instance_uid,
        study_date=f"{at:%Y%m%d}",
        study_time=f"{at:%H%M%S}",
        study_description=DESCRIPTION,
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
            (await session.get_one(Upload, work.exam_id)).url_sealed = work.resources.seal_text(url)

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
        await plan_again(session, sending.work.exam_id)


async def _stored(work: Work, images: Sequence[Instance]) -> None:
    async with work.tx() as (session, _):
        at = await session.scalar(now().select())
        for image in images:
            (await session.get_one(Instance, image.id)).stored_at = at
        row = await session.get_one(Upload, work.exam_id)
        row.state, row.url_sealed = UploadState.COMPLETE, None
