"""Step download: each capture into staging, one after the other, so that a crash repeats one at most."""

from collections.abc import Sequence

import structlog

from app.clients.http import parse_url, same_origin
from app.clients.media import Downloaded, download, partial
from app.delivery.clarius_dicom import bundle_url
from app.delivery.fetch import store_exam_data
from app.delivery.filing import plan_of
from app.delivery.outcome import Done, Outcome
from app.delivery.staged import staged_name
from app.delivery.still_listed import exam_data_missing
from app.delivery.work import Work
from app.errors import BadAnswer, GiveUp, LinkExpired, LocalTrouble, NotThere
from app.faultpoints import fault_point
from app.imaging.sniff import sniff
from app.metrics import transferred
from app.store.base import now
from app.store.captures import Capture, captures_of
from app.store.exams import Exam

log = structlog.get_logger(__name__)


async def download_captures(work: Work) -> Outcome:
    """Done when every capture is staged, or has a problem of its own that trying again won't mend.

    An expired link is refreshed once a run by reading the exam data again.
    """
    refreshed = False
    async with work.tx() as (session, exam):
        await plan_of(session, exam)
        captures = await captures_of(session, exam.id)
        if captures and not work.resources.staging.shared:
            exam.staging_host = work.resources.host
    position = 0
    while position < len(captures):
        if position:
            fault_point("download:between_captures")
        try:
            if not await _is_staged(work, captures[position]):
                await _fetch_one(work, exam, captures[position])
        except LinkExpired:
            if refreshed:
                raise
            refreshed = True
            try:
                await store_exam_data(work, exam)
            except NotThere:
                return await exam_data_missing(work, exam)
            # every link is a new one now, not only the one that had expired
            captures = await _captures(work)
        else:
            position += 1
    captures = await _captures(work)
    problems = sum(1 for capture in captures if capture.problem_code)
    return Done(
        f"{len(captures)} captures, {problems} with a problem" if problems else f"{len(captures)} captures"
    )


async def _captures(work: Work) -> Sequence[Capture]:
    async with work.tx() as (session, exam):
        return await captures_of(session, exam.id)


async def _is_staged(work: Work, capture: Capture) -> bool:
    if capture.problem_code or capture.already_delivered:
        return True
    return (
        capture.downloaded_at is not None
        and await work.resources.staging.fetch(work.exam_id, staged_name(capture)) is not None
    )


async def _fetch_one(work: Work, exam: Exam, capture: Capture) -> None:
    """One capture to disk and its size, hash and kind into its row; or why it can't be had."""
    url = await _url(work, exam, capture)
    try:
        got = await _read(work, exam, capture, url)
    except LocalTrouble:
        raise
    except NotThere:
        await _record_problem(work, capture, "capture_gone", "Clarius no longer has this capture")
        return
    except (GiveUp, BadAnswer) as error:
        await _record_problem(work, capture, error.code, _explained(error))
        return
    path = work.resources.staging.path(exam.id, staged_name(capture))
    kind = sniff(path)
    await work.resources.staging.put(exam.id, staged_name(capture))
    transferred.labels(direction="in").inc(got.bytes)
    async with work.tx() as (session, _):
        row = await session.get_one(Capture, capture.id)
        if row.sha256 != got.sha256:
            # other content than an earlier download had is another image
            row.sop_instance_uid = None
        row.bytes, row.sha256, row.etag, row.kind = got.bytes, got.sha256, got.etag, kind
        row.downloaded_at = await session.scalar(now().select())
        if kind == "unknown":
            row.problem_code = "capture_empty" if got.bytes == 0 else "capture_wrong_kind"
            row.problem_message = "This capture is not an image or clip of a kind that can be delivered"


async def _url(work: Work, exam: Exam, capture: Capture) -> str:
    """The capture's address as Clarius gave it; one that has none is the bundle of Clarius's own DICOM."""
    if capture.url_sealed is not None:
        return work.resources.unseal_text(capture.url_sealed)
    async with work.tx() as (session, _):
        plan = await plan_of(session, exam)
    return await bundle_url(work, exam, plan.policy)


async def _read(work: Work, exam: Exam, capture: Capture, url: str) -> Downloaded:
    clarius = await work.resources.clarius()
    ours = same_origin(parse_url(url), parse_url(clarius.credentials.base))
    dest = work.resources.staging.path(exam.id, staged_name(capture))
    # also on Clarius's own origin: one organisation's broken captures say nothing of the others' exams
    account = f"media:{exam.organization_id}"
    async with work.effect("download:read_capture", account):
        return await download(
            work.resources.http,
            url,
            dest,
            cap=work.resources.settings.max_capture_bytes,
            resume=partial(dest),
            credentials=clarius.credentials,
            # but a key that is refused there is Clarius's
            account="clarius" if ours else account,
        )


def _explained(error: GiveUp | BadAnswer) -> str:
    if error.code == "capture_too_large":
        return "This capture is larger than this bridge accepts (SONOBRIDGE_MAX_CAPTURE_BYTES)"
    return f"This capture could not be downloaded: {error.message}"


async def _record_problem(work: Work, capture: Capture, code: str, message: str) -> None:
    async with work.tx() as (session, _):
        row = await session.get_one(Capture, capture.id)
        row.problem_code, row.problem_message = code, message
    log.warning("capture_problem", capture=capture.index, code=code)
