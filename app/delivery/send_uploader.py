"""Sends an exam's images through Aurabox's uploader: announce, start, one zip by Tus, complete.

Each stage is committed once it was accepted, so a crash goes on where it was; every lifecycle call may be sent
again with its upload id (aurabox.md, path 1).
"""

from collections.abc import Sequence
from pathlib import Path

from app.clients.aurabox.uploader import StudySummary, UploaderClient
from app.clients.tus import Hooks, Target, send_file
from app.delivery.work import Work
from app.errors import GiveUp, NotThere, TryLater
from app.imaging.archive import Archive, build_archive
from app.metrics import transferred
from app.store.base import now
from app.store.exams import Exam
from app.store.instances import Instance
from app.store.organizations import Identity, Organization
from app.store.studies import Study
from app.store.subjects import Subject
from app.store.uploads import Upload, UploadState, plan_again, upload_of

Files = Sequence[tuple[Instance, Path]]

STAGES = list(UploadState)


async def send_by_uploader(work: Work, organization: Organization, files: Files) -> None:
    """Return when Aurabox answered `complete`. Raises from the error tree; the next run goes on from the row."""
    account = f"uploader:{organization.id}"
    async with work.tx() as (session, exam):
        upload = await upload_of(session, exam.id)
        study = await session.get_one(Study, exam.study_id)
        subject = await session.get_one(Subject, study.subject_id)
    client = work.resources.uploader(organization)
    archive = await _archive(work, upload, study, files)
    try:
        if _before(upload, UploadState.ANNOUNCED):
            summary = _summary(exam, study, organization, files)
            async with work.effect("send:announce_upload", account):
                await client.init(upload.upload_id, [summary], patient_id=subject.remote_id)
            await _reached(work, upload, UploadState.ANNOUNCED)
        if _before(upload, UploadState.STARTED):
            async with work.effect("send:start_upload", account):
                await client.start(upload.upload_id, str(upload.upload_id))
            await _reached(work, upload, UploadState.STARTED)
        if _before(upload, UploadState.SENT):
            await _send_archive(work, upload, client, archive, account)
            await _reached(work, upload, UploadState.SENT)
        if _before(upload, UploadState.COMPLETE):
            async with work.effect("send:complete_upload", account):
                await client.complete(upload.upload_id, str(upload.upload_id))
    except NotThere as error:
        # Aurabox has forgotten the upload: the next run plans one with a new id
        async with work.tx() as (session, _):
            await plan_again(session, work.exam_id)
        raise TryLater(
            error.message, upstream="aurabox", status=error.status, code="upload_forgotten"
        ) from error
    except GiveUp as error:
        await _tell_failure(work, client, upload, account, error)
        raise
    await _stored(work, files)
    archive.path.unlink(missing_ok=True)


def _before(upload: Upload, stage: UploadState) -> bool:
    return STAGES.index(UploadState(upload.state)) < STAGES.index(stage)


async def _reached(work: Work, upload: Upload, stage: UploadState) -> None:
    async with work.tx() as (session, _):
        row = await session.get_one(Upload, work.exam_id)
        row.state = stage
    upload.state = stage


async def _archive(work: Work, upload: Upload, study: Study, files: Files) -> Archive:
    """The zip of this upload. It is the same bytes each time, so one made before a crash is made again alike."""
    target = work.resources.staging.path(work.exam_id, f"{upload.upload_id}.zip")
    paths = [path for _, path in files]
    archive = await work.resources.pool.run(build_archive, target, study.study_instance_uid, paths)
    if upload.sha256 not in (None, archive.sha256):
        # other images than when the upload was begun: the bytes held there are of no use
        async with work.tx() as (session, _):
            await plan_again(session, work.exam_id)
        raise TryLater(
            "the images changed since the upload was begun", upstream="aurabox", code="upload_changed"
        )
    async with work.tx() as (session, _):
        row = await session.get_one(Upload, work.exam_id)
        row.bytes, row.sha256 = archive.bytes, archive.sha256
    return archive


def _summary(exam: Exam, study: Study, organization: Organization, files: Files) -> StudySummary:
    """What `init` is told of the study: counts and UIDs; who it is Aurabox knows by the patient id."""
    at = exam.submitted_at or exam.received_at
    series: dict[str, dict[str, object]] = {}
    for instance, _ in files:
        one = series.setdefault(
            instance.series_uid, {"series_uid": instance.series_uid, "modality": "US", "images": 0}
        )
        one["images"] = int(str(one["images"])) + 1
    identified = organization.identity == Identity.IDENTIFIED
    return StudySummary(
        study_uid=study.study_instance_uid,
        study_date=f"{at:%Y%m%d}",
        study_time=f"{at:%H%M%S}",
        study_description="Ultrasound",
        institution_name=organization.name if identified else "",
        series_count=len(series),
        images=len(files),
        series=series,
    )


async def _send_archive(
    work: Work, upload: Upload, client: UploaderClient, archive: Archive, account: str
) -> None:
    async def target() -> Target:
        lift = await client.lift()
        buckets.append(lift.bucket)
        return Target(lift.endpoint, lift.credentials)

    async def created(url: str) -> None:
        async with work.tx() as (session, _):
            (await session.get_one(Upload, work.exam_id)).url_sealed = work.resources.seal_text(url)

    async def progress(offset: int) -> None:
        sent = offset - reached[0]
        reached[0] = offset
        transferred.labels(direction="out").inc(max(sent, 0))

    buckets: list[str] = []
    reached = [0]
    async with work.effect("send:upload_archive", account):
        first = await target()
        stored = work.resources.unseal_text(upload.url_sealed) if upload.url_sealed else None
        await send_file(
            work.resources.http,
            first,
            archive.path,
            metadata={
                "upload_id": str(upload.upload_id),
                "bucket": buckets[0],
                "mode": "uploader",
                "filename": f"{upload.upload_id}.zip",
                "filetype": "application/zip",
            },
            stored_url=stored,
            account=account,
            hooks=Hooks(created=created, renewed=target, progress=progress),
        )


async def _tell_failure(
    work: Work, client: UploaderClient, upload: Upload, account: str, error: GiveUp
) -> None:
    """Aurabox is told that no more will come; that this could not be told changes nothing for the exam."""
    try:
        async with work.effect("send:fail_upload", account):
            await client.error(upload.upload_id, error.code)
    except GiveUp as second:
        error.add_note(f"and the uploader refused to hear of it: {second.code}")
    async with work.tx() as (session, _):
        await plan_again(session, work.exam_id)


async def _stored(work: Work, files: Files) -> None:
    async with work.tx() as (session, _):
        at = await session.scalar(now().select())
        for instance, _path in files:
            (await session.get_one(Instance, instance.id)).stored_at = at
        row = await session.get_one(Upload, work.exam_id)
        row.state, row.url_sealed = UploadState.COMPLETE, None
