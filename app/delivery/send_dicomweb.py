"""Sends an exam's images by STOW-RS; what the server did not take is sent again, and only that (aurabox.md, path 2)."""

from collections.abc import Sequence

import structlog

from app.clients.dicomweb import Instance as File
from app.clients.dicomweb import Stored, batches
from app.delivery.filing import Plan
from app.delivery.staged import staged_files
from app.delivery.work import Work
from app.errors import TryLater
from app.metrics import transferred
from app.store.base import now
from app.store.captures import Capture
from app.store.instances import Instance
from app.store.studies import Study

log = structlog.get_logger(__name__)

# A server that refuses the same image so often refuses it for good; the other images are delivered.
REFUSALS_TO_GIVE_UP = 4


async def send_by_dicomweb(work: Work, plan: Plan, images: Sequence[Instance]) -> bool:
    """True when the server has taken every image, or has refused some for good (recorded at their captures).

    False when an image is no longer in staging. Raises TryLater (`images_refused`) while it may yet take them.
    """
    files = await staged_files(work, images)
    if files is None:
        return False
    account = f"dicomweb:{plan.organization.id}"
    async with work.tx() as (session, exam):
        study = await session.get_one(Study, exam.study_id)
        tried = exam.attempts
    client = work.resources.dicomweb(plan.organization)
    rows = {instance.sop_instance_uid: instance for instance, _ in files}
    refused: dict[str, int | None] = {}
    for batch in batches([File(path, instance.sop_instance_uid) for instance, path in files]):
        async with work.effect("send:store_instances", account):
            outcome = await client.store(study.study_instance_uid, batch)
        await _record(work, rows, outcome)
        refused |= dict(outcome.failed)
    if not refused:
        return True
    log.warning("images_refused", failed=len(refused))
    if tried + 1 < REFUSALS_TO_GIVE_UP:
        raise TryLater(
            f"the image server did not take {len(refused)} images", upstream="dicomweb", code="images_refused"
        )
    await _give_up(work, [rows[uid] for uid in refused])
    return True


async def _record(work: Work, rows: dict[str, Instance], outcome: Stored) -> None:
    async with work.tx() as (session, _):
        at = await session.scalar(now().select())
        for uid in outcome.stored:
            row = await session.get_one(Instance, rows[uid].id)
            row.stored_at = at
            transferred.labels(direction="out").inc(row.bytes)


async def _give_up(work: Work, instances: Sequence[Instance]) -> None:
    async with work.tx() as (session, exam):
        for instance in instances:
            capture = await session.get_one(Capture, instance.capture_id)
            capture.problem_code = "image_refused"
            capture.problem_message = "The image server refused this image each time it was sent"
            await session.delete(await session.get_one(Instance, instance.id))
        exam.sent_count = (exam.sent_count or 0) - len(instances)
