"""Sends an exam's images by STOW-RS; what the server did not take is sent again, and only that (docs/vendors.md, "Images by DICOMweb")."""

from collections.abc import Sequence

import structlog

from app.accounts import AccountKind
from app.clients.aurabox import Study as RemoteStudy
from app.clients.dicomweb import Instance as File
from app.clients.dicomweb import batches
from app.delivery.counting import Counted
from app.delivery.filing import Plan
from app.delivery.staged import staged_files
from app.delivery.work import Work
from app.errors import TryLater
from app.observing.metrics import transferred
from app.store.captures import captures_of
from app.store.instances import (
    Instance,
    forget_instances,
    instances_by_capture,
    mark_stored,
    planned_by,
)
from app.store.studies import Study

log = structlog.get_logger(__name__)

# A server that refuses the same image so often refuses it for good; the other images are delivered.
REFUSALS_TO_GIVE_UP = 4


async def send_by_dicomweb(work: Work, plan: Plan) -> int | None:
    """How many images the server has taken; some it may have refused for good (recorded at their captures).

    None when an image is no longer in staging. Raises TryLater (`images_refused`) while it may yet take them.
    """
    async with work.tx() as (session, exam):
        study = await session.get_one(Study, exam.study_id)
        images = await planned_by(session, exam)
    if not images:
        return 0
    files = await staged_files(work, images)
    if files is None:
        return None
    client = work.resources.dicomweb(plan.organization)
    rows = {instance.sop_instance_uid: instance for instance, _ in files}
    refused: dict[str, int | None] = {}
    for batch in batches([File(path, instance.sop_instance_uid) for instance, path in files]):
        async with work.effect("send:store_instances", AccountKind.DICOMWEB.of(plan.organization.id)):
            outcome = await client.store(study.study_instance_uid, batch)
        await _record(work, [rows[uid] for uid in outcome.stored])
        refused |= dict(outcome.failed)
    if refused:
        log.warning("images_refused", failed=len(refused))
        if await work.count("refusals") < REFUSALS_TO_GIVE_UP:
            raise TryLater(
                f"the image server did not take {len(refused)} images",
                upstream="dicomweb",
                code="images_refused",
            )
        await _give_up(work, [rows[uid] for uid in refused])
    return len(images) - len(refused)


async def count_by_dicomweb(
    work: Work, plan: Plan, study: Study, _shown: RemoteStudy, sent: Sequence[Instance]
) -> Counted:
    """By the image server's own list."""
    async with work.effect("confirm:search_instances", AccountKind.DICOMWEB.of(plan.organization.id)):
        listed = await work.resources.dicomweb(plan.organization).instance_uids(study.study_instance_uid)
    missing = [instance for instance in sent if instance.sop_instance_uid not in listed]
    seen = [instance for instance in sent if instance.sop_instance_uid in listed]
    return Counted(seen, missing=len(missing), suspects=missing)


async def _record(work: Work, stored: Sequence[Instance]) -> None:
    async with work.tx() as (session, _):
        await mark_stored(session, stored)
    transferred.labels(direction="out").inc(sum(instance.bytes for instance in stored))


async def _give_up(work: Work, refused: Sequence[Instance]) -> None:
    """The captures say so, and their images leave the outbox: the next submission that has them tries again."""
    uids = {instance.sop_instance_uid for instance in refused}
    async with work.tx() as (session, exam):
        by_capture = await instances_by_capture(session, exam)
        for capture in await captures_of(session, exam.id):
            if any(image.sop_instance_uid in uids for image in by_capture.get(capture.id, ())):
                capture.problem_code = "image_refused"
                capture.problem_message = "The image server refused this image each time it was sent"
        await forget_instances(session, refused)
