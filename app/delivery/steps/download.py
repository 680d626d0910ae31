"""Step download: each capture into staging, one after the other, so that a crash repeats one at most.

What a link answers that does not serve is an observation. The exam data is read again for fresh links; what even those do not give is looked for again, for a while, and is then that capture's problem and no other's.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog

from app.accounts import AccountKind
from app.clients.http import parse_url, same_origin
from app.clients.media import Downloaded, discard, download, partial
from app.config.settings import Settings
from app.delivery.capture_list import WITHOUT_URL
from app.delivery.dicom_export import bundle_url
from app.delivery.filing import planned
from app.delivery.outcome import Done, Outcome, Rest, Wait
from app.delivery.staged import images_left, staged_name
from app.delivery.steps.fetch import store_exam_data
from app.delivery.still_listed import exam_data_missing
from app.delivery.work import Work
from app.errors import BadAnswer, CaptureUrlExpired, GiveUp, NotAllowed, NotThere, UpstreamError
from app.faultpoints import fault_point
from app.imaging.sniff import sniff
from app.observing.metrics import transferred
from app.states import Reason
from app.store.base import clock, now
from app.store.captures import Capture, captures_of
from app.store.exams import Exam
from app.upstreams.gate import backoff

# runs in which a capture came as something else (a proxy's page, nothing, garbage) before that is its problem
ODD_RUNS = 3
# links that were read so long ago may have run out since; younger ones are fresh, and not asked for again
FRESH_SECONDS = 30.0
# of the time for retries, how much may go by in looking for one file that is not there
SHARE_OF_BUDGET = 0.1
LOOK_CAP_SECONDS = 300.0

TOO_LARGE = "capture_too_large"
EMPTY = "capture_empty"
WRONG_KIND = "capture_wrong_kind"
GONE = "capture_gone"
REFUSED = "capture_refused"
UNKNOWN = "unknown"
NOT_THERE = frozenset({404, 410})

log = structlog.get_logger(__name__)


async def download_captures(work: Work) -> Outcome:
    """Done when every capture is staged, or has a problem of its own that trying again won't mend."""
    async with planned(work) as (session, exam, _):
        captures = await captures_of(session, exam.id)
    if not captures:
        return Done("0 captures")
    if not work.resources.staging.shared and exam.staging_host != work.resources.host:
        async with work.tx() as (_, row):
            row.staging_host = work.resources.host
    read_at = float("-inf")
    tried: set[UUID] = set()
    renewed: set[UUID] = set()
    failures: dict[UUID, UpstreamError] = {}
    while (capture := next((row for row in captures if row.id not in tried), None)) is not None:
        if tried:
            fault_point("download:between_captures")
        failure = await _try(work, exam, capture)
        old = capture.id not in renewed and time.monotonic() - read_at > FRESH_SECONDS
        if failure is not None and old:
            renewed.add(capture.id)
            if (outcome := await _read_again(work, exam)) is not None:
                return outcome
            # every link is a new one now, not only the one that did not serve
            read_at = time.monotonic()
            captures = await _captures(work)
            continue
        tried.add(capture.id)
        if failure is not None:
            failures[capture.id] = failure
    if failures and (wait := await _judge(work, failures)) is not None:
        return wait
    captures = await _captures(work)
    problems = sum(1 for capture in captures if capture.problem_code)
    return Done(
        f"{len(captures)} captures, {problems} with a problem" if problems else f"{len(captures)} captures"
    )


async def _captures(work: Work) -> Sequence[Capture]:
    async with work.tx() as (session, exam):
        return await captures_of(session, exam.id)


async def _read_again(work: Work, exam: Exam) -> Outcome | None:
    """Fresh links for all captures; an outcome when Clarius has the exam no more, or not just now."""
    try:
        await store_exam_data(work, exam)
    except NotThere:
        outcome = await exam_data_missing(work, exam)
        async with work.tx() as (session, row):
            if not isinstance(outcome, Rest) or not await images_left(session, row):
                return outcome
            # images of it are in Aurabox already: it is delivered without those that were still to come
            for capture in await captures_of(session, row.id):
                if not await _is_staged(work, capture):
                    capture.problem_code, capture.problem_message = GONE, "The exam was deleted at Clarius"
    return None


async def _is_staged(work: Work, capture: Capture) -> bool:
    """Whether there is nothing to read: its file is here, or not wanted any more."""
    if capture.is_lost or capture.unlisted_at is not None:
        return True
    if capture.already_delivered and capture.problem_code is None:
        return True
    if capture.downloaded_at is None or capture.kind == UNKNOWN:
        return False
    path = await work.resources.staging.fetch(work.exam_id, staged_name(capture))
    # a host that comes back may still hold what was read before another one read it anew
    return path is not None and path.stat().st_size == capture.bytes


async def _try(work: Work, exam: Exam, capture: Capture) -> UpstreamError | None:
    """One capture to disk and its size, hash and kind into its row; or why it was not to be had just now."""
    if await _is_staged(work, capture):
        return None
    if capture.url_sealed is None and not capture.bundle:
        return CaptureUrlExpired("no address is kept any more", upstream="clarius", code=WITHOUT_URL)
    url = await _url(work, exam, capture)
    path = work.resources.staging.path(exam.id, staged_name(capture))
    try:
        got = await _read(work, exam, path, url)
    except CaptureUrlExpired as error:
        return error
    except (GiveUp, BadAnswer) as error:
        # what came of it may not be gone on with
        await asyncio.to_thread(discard, path)
        if error.code != TOO_LARGE and not isinstance(error, NotAllowed):
            return error
        await _record_problem(work, capture.id, error.code, _explained(error))
        return None
    return await _keep(work, capture, got, path)


async def _keep(work: Work, capture: Capture, got: Downloaded, path: Path) -> BadAnswer | None:
    """Put the file where convert finds it; an error when it is nothing that convert could read."""
    kind = sniff(path)
    await work.resources.staging.put(work.exam_id, staged_name(capture))
    transferred.labels(direction="in").inc(got.bytes)
    await _record(work, capture, got, kind)
    if kind == UNKNOWN:
        message = "nothing came" if got.bytes == 0 else "what came is no image or clip"
        return BadAnswer(message, upstream="media", code=EMPTY if got.bytes == 0 else WRONG_KIND)
    return None


async def _record(work: Work, capture: Capture, got: Downloaded, kind: str) -> None:
    async with work.tx() as (session, _):
        row = await session.get_one(Capture, capture.id)
        if row.sha256 != got.sha256:
            # other content than an earlier download had is another image
            row.sop_instance_uid = None
        row.bytes, row.sha256, row.etag, row.kind = got.bytes, got.sha256, got.etag, kind
        row.downloaded_at = await session.scalar(now().select())
        row.missing_since = None


async def _url(work: Work, exam: Exam, capture: Capture) -> str:
    """The capture's address as Clarius gave it; that of the bundle of Clarius's own DICOM is asked for."""
    if capture.url_sealed is not None:
        return work.resources.unseal_text(capture.url_sealed)
    async with planned(work) as (_, _, plan):
        pass
    return await bundle_url(work, exam, plan.policy)


async def _read(work: Work, exam: Exam, dest: Path, url: str) -> Downloaded:
    clarius = await work.resources.clarius()
    ours = same_origin(parse_url(url), parse_url(clarius.credentials.base))
    # also on Clarius's own origin: one organisation's broken captures say nothing of the others' exams
    account = AccountKind.MEDIA.of(exam.organization_id)
    async with work.effect("download:read_capture", account):
        return await download(
            work.resources.http,
            url,
            dest,
            cap=work.resources.settings.max_capture_bytes,
            resume=partial(dest),
            credentials=clarius.credentials,
            # but a key that is refused there is Clarius's
            account=AccountKind.CLARIUS if ours else account,
        )


def _explained(error: UpstreamError) -> str:
    if error.code == TOO_LARGE:
        return "This capture is larger than this bridge accepts (SONOBRIDGE_MAX_CAPTURE_BYTES)"
    if error.code in {EMPTY, WRONG_KIND}:
        return "This capture is not an image or clip of a kind that can be delivered"
    message = error.message.removeprefix("media: ")
    if isinstance(error, CaptureUrlExpired) and error.status in NOT_THERE:
        return f"Clarius no longer has this capture: {message}"
    return f"This capture could not be downloaded: {message}"


async def _record_problem(work: Work, capture_id: UUID, code: str, message: str) -> None:
    async with work.tx() as (session, _):
        row = await session.get_one(Capture, capture_id)
        row.problem_code, row.problem_message = code, message
    log.warning("capture_problem", capture=row.index, code=code)


@dataclass(frozen=True)
class _Verdict:
    """Of one capture that fresh links did not give: whose problem it is by now, or how long it may yet appear."""

    error: UpstreamError
    code: str
    seconds_left: float


async def _judge(work: Work, failures: Mapping[UUID, UpstreamError]) -> Wait | None:
    """Wait while a capture may yet be had; None when what is missing has its problem. No attempt of the exam is used.

    Raises the error where it tells nothing of one capture: the storage refuses every link.
    """
    captures = await _captures(work)
    # what was read again meanwhile may name one of them no more
    failures = {capture.id: failures[capture.id] for capture in captures if capture.id in failures}
    serves = any([await _is_staged(work, capture) and not capture.is_lost for capture in captures])
    odd_over = (
        await work.count("odd_captures") >= ODD_RUNS
        if any(not isinstance(error, CaptureUrlExpired) for error in failures.values())
        else False
    )
    settings = work.resources.settings
    waiting: list[_Verdict] = []
    for capture_id, error in failures.items():
        if not isinstance(error, CaptureUrlExpired):
            verdict = _Verdict(error, error.code, 0.0 if odd_over else settings.retry_cap_seconds)
        elif error.status in NOT_THERE or serves or error.code == WITHOUT_URL:
            code = GONE if error.status in NOT_THERE else REFUSED
            verdict = _Verdict(error, code, await _window_left(work, capture_id))
        else:
            raise error
        if verdict.seconds_left > 0:
            waiting.append(verdict)
        else:
            await _record_problem(work, capture_id, verdict.code, _explained(error))
    if not waiting:
        return None
    looks = await work.count("capture_looks")
    cap = max(settings.retry_base_seconds, min(LOOK_CAP_SECONDS, settings.retry_cap_seconds))
    pause = backoff(looks, base=settings.retry_base_seconds, cap=cap)
    longest = max(verdict.seconds_left for verdict in waiting)
    return Wait(
        Reason.RETRY,
        # the last look is at the end of the time, not long after it
        min(pause, max(longest, settings.retry_base_seconds / 2)),
        code=waiting[0].code,
        message=_explained(waiting[0].error),
    )


async def _window_left(work: Work, capture_id: UUID) -> float:
    """For how many more seconds a capture that its fresh link does not give is looked for; the first time it is noted."""
    async with work.tx() as (session, _):
        row = await session.get_one(Capture, capture_id)
        at = await clock(session)
        row.missing_since = row.missing_since or at
        return missing_seconds(work.resources.settings) - _since(row.missing_since, at)


def missing_seconds(settings: Settings) -> float:
    """How long a capture whose fresh links lead nowhere is looked for."""
    return min(settings.clarius_verify_window, SHARE_OF_BUDGET * settings.retry_budget_hours * 3600)


def _since(then: datetime, at: datetime) -> float:
    return (at - then).total_seconds()
