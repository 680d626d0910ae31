"""Puts away what exams that rest have left behind: uploads that Aurabox still waits for, files in staging.

Both are found by looking, not by whoever ended the exam: a person who cancels calls nothing outside, and a worker
that died cleans nothing up. Harmless twice.
"""

from collections.abc import Mapping
from uuid import UUID

import structlog
from sqlalchemy import select

from app.accounts import AccountKind
from app.errors import GiveUp, SonobridgeError
from app.faultpoints import fault_point
from app.resources import Resources
from app.states import TRAITS, UNDER_WAY, ExamState
from app.store.exams import Exam
from app.store.instances import end_upload
from app.store.organizations import Organization
from app.store.runs import recurring
from app.store.uploads import Upload, UploadState, abandoned_uploads
from app.upstreams.gate import calling

log = structlog.get_logger(__name__)

UPLOADS_A_ROUND = 50
TIDY_SECONDS = 60.0


async def close_uploads_when_due(resources: Resources) -> None:
    """Tell Aurabox of uploads that will not be resumed: called off by a person, or failed for good."""
    every = resources.settings.sweep_seconds
    async with recurring(resources.sessions, "close_uploads", every=every) as run:
        if run is not None:
            await _close_uploads(resources)


async def _close_uploads(resources: Resources) -> None:
    async with resources.sessions() as session:
        ended = await abandoned_uploads(session, under_way=UNDER_WAY, limit=UPLOADS_A_ROUND)
    for upload, exam in ended:
        await _close(resources, upload, exam)


async def _close(resources: Resources, upload: Upload, exam: Exam) -> None:
    async with resources.sessions() as session:
        organization = await session.get(Organization, exam.organization_id)
    # of one that was removed nobody has the keys any more; one that was only planned Aurabox knows nothing of
    removed = organization is None or organization.removed_at is not None
    if organization is not None and not removed and upload.state != UploadState.PLANNED:
        try:
            await _tell(resources, upload, exam, organization)
        except GiveUp as error:
            # it is complete, or unknown there: either way nobody waits for it
            log.info("upload_was_over", code=error.code)
        except SonobridgeError as error:
            log.warning("upload_not_closed", code=error.code)
            return
    async with resources.sessions.begin() as session:
        row = await session.get(Upload, upload.upload_id, with_for_update=True)
        if row is not None and row.state != UploadState.COMPLETE:
            await end_upload(session, row)


async def _tell(resources: Resources, upload: Upload, exam: Exam, organization: Organization) -> None:
    client = resources.uploader(organization)
    async with calling(resources, AccountKind.UPLOADER.of(organization.id)):
        fault_point("close:before_end_upload")
        if exam.state == ExamState.CANCELLED:
            await client.cancel(upload.upload_id)
        else:
            await client.error(upload.upload_id, exam.error_code or "not gone on with")
        fault_point("close:after_end_upload")


async def tidy_staging_when_due(resources: Resources) -> None:
    """Delete what lies on this host for exams that need it no more: each host looks after its own folder."""
    every = min(TIDY_SECONDS, 4 * resources.settings.sweep_seconds)
    async with recurring(resources.sessions, f"tidy_staging:{resources.host}", every=every) as run:
        if run is not None:
            await _tidy_staging(resources)


async def _tidy_staging(resources: Resources) -> None:
    held = resources.staging.held()
    if not held:
        return
    async with resources.sessions() as session:
        rows = await session.execute(
            select(Exam.id, Exam.state).where(Exam.id.in_(held), Exam.lease_until.is_(None))
        )
        states: Mapping[UUID, str] = {row.id: row.state for row in rows}
    keeps = resources.settings.capture_retention_hours > 0
    for exam_id, state in states.items():
        if not TRAITS[ExamState(state)].staged or (state == ExamState.DELIVERED and not keeps):
            await resources.staging.discard(exam_id)
        elif state == ExamState.DELIVERED and resources.staging.shared:
            await resources.staging.discard_local(exam_id)
