"""Which captures an exam has: those that Clarius's list names, each known by what it is and never by its place there.

A capture is known by the path of its address; two addresses of one path are one capture. The query is no part of it:
it holds the signature, which is new each time the list is read. A list that changes adds and removes captures, and
one that only moved keeps its row, its file and what was made of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.config.sealing import CannotUnseal
from app.delivery.staged import staged_dicom, staged_name
from app.resources import Resources
from app.store.base import now
from app.store.captures import Capture, captures_of
from app.store.exams import Exam
from app.store.instances import (
    THERE,
    CaptureInstance,
    Instance,
    InstanceState,
    empty_upload,
    forget_instances,
    link_capture,
)
from app.store.uploads import UploadState, open_uploads

WITHOUT_URL = "capture_without_url"

# what signs an address, with S3, Google, Azure, Alibaba, CloudFront and their like: it says nothing of the file
SIGNING_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-ms-", "x-cos-", "x-obs-", "q-")
SIGNING = frozenset(
    {
        *("expires", "signature", "policy", "key-pair-id", "token", "security-token", "hdnea", "hdnts"),
        *(
            "sig",
            "se",
            "st",
            "sp",
            "sr",
            "sv",
            "spr",
            "sip",
            "si",
            "ske",
            "skt",
            "sks",
            "skv",
            "skoid",
            "sktid",
        ),
        *("awsaccesskeyid", "googleaccessid", "ossaccesskeyid"),
    }
)


@dataclass(frozen=True)
class Listed:
    """A capture that the list names: by what it is known again, and its address."""

    place_hash: bytes
    url: str = field(repr=False)


def places(urls: Iterable[str]) -> dict[str, str]:
    """Where each of these addresses of one list lies, by address.

    Its path; and only where that does not tell apart what differs (another host, another file number in the query),
    also what does: rather one capture is read twice than two are taken for one.
    """
    by_path: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for url in urls:
        path, what_else = _parts(url)
        by_path[path][what_else].append(url)
    by_url = {}
    for path, kinds in by_path.items():
        for what_else, same in kinds.items():
            by_url.update(dict.fromkeys(same, path if len(kinds) == 1 else f"{path}|{what_else}"))
    return by_url


def _parts(url: str) -> tuple[str, str]:
    """The path, and what else there is that is no signature."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        parameters = sorted(pair for pair in query if not _signs(pair[0]))
    except ValueError:
        return url, ""
    return parts.path, f"{parts.netloc.lower()}|{parameters}"


def _signs(name: str) -> bool:
    return name.lower() in SIGNING or name.lower().startswith(SIGNING_PREFIXES)


async def listed_captures(resources: Resources, exam: Exam, urls: Sequence[str]) -> list[Listed]:
    """The captures that these addresses mean, each once, in the list's order. Raises CannotUnseal."""
    place_of = places(urls)
    first: dict[str, str] = {}
    for url in urls:
        first.setdefault(place_of[url], url)
    # the exam is in the hash, so that two rows can't be joined by it
    return [
        Listed(await resources.hash_text("capture", f"{exam.id}|{place}"), url)
        for place, url in first.items()
    ]


async def keep_captures(
    resources: Resources, session: AsyncSession, exam: Exam, urls: Sequence[str | None]
) -> None:
    """Bring the exam's rows to what the list names now: its addresses, None where it gives none for a capture."""
    rows = list(await captures_of(session, exam.id))
    await _name_older(resources, exam, rows)
    by_place = {row.place_hash: row for row in rows if row.place_hash is not None}
    nameless = iter([row for row in rows if row.problem_code == WITHOUT_URL and row.place_hash is None])
    addresses = [url for url in urls if url]
    listed = {listing.url: listing for listing in await listed_captures(resources, exam, addresses)}
    kept = []
    for url in urls:
        if url is None:
            row = next(nameless, None) or Capture(exam_id=exam.id)
            row.problem_code = WITHOUT_URL
            row.problem_message = "Clarius named this capture but gave no address for it"
            kept.append(row)
        elif (listing := listed.pop(url, None)) is not None:
            row = by_place.get(listing.place_hash) or Capture(exam_id=exam.id, place_hash=listing.place_hash)
            row.url_sealed = resources.seal_text(url)
            kept.append(row)
    await _keep(resources, session, exam, rows, kept)


async def keep_bundle(resources: Resources, session: AsyncSession, exam: Exam, *, has_images: bool) -> None:
    """Clarius's own DICOM comes as one bundle, whatever captures the list names; its address is asked for when it is
    downloaded.
    """
    rows = list(await captures_of(session, exam.id))
    bundles = [row for row in rows if row.bundle] or [Capture(exam_id=exam.id, bundle=True)]
    await _keep(resources, session, exam, rows, bundles[:1] if has_images else [])


async def _keep(
    resources: Resources,
    session: AsyncSession,
    exam: Exam,
    rows: Sequence[Capture],
    kept: Sequence[Capture],
) -> None:
    unlisted = [row for row in rows if row not in kept]
    left = [row for row in unlisted if await _withdraw(resources, session, exam, row)]
    for row in kept:
        row.unlisted_at = None
    # what is shown is in the list's order; what the list names no more comes after it
    for index, row in enumerate([*kept, *left]):
        row.index = index
        session.add(row)
    await session.flush()


async def _name_older(resources: Resources, exam: Exam, rows: Sequence[Capture]) -> None:
    """Rows from before captures were known by their paths: each still has its address, unless that was purged."""
    urls: dict[str, Capture] = {}
    for row in rows:
        if row.place_hash is None and row.url_sealed is not None:
            try:
                urls.setdefault(resources.unseal_text(row.url_sealed), row)
            except CannotUnseal:
                # then it is read again, and known by its content
                continue
    named = {row.place_hash for row in rows}
    for listing in await listed_captures(resources, exam, list(urls)):
        if listing.place_hash not in named:
            urls[listing.url].place_hash = listing.place_hash


async def _withdraw(resources: Resources, session: AsyncSession, exam: Exam, row: Capture) -> bool:
    """The list names this capture no more: whether it stays, because images of it are in the study (or may be).

    What was made of it and not sent is forgotten; with nothing sent the row goes too.
    """
    sent, unsent = await _made_of(session, exam, row)
    uploads = {upload.upload_id: upload for upload in await open_uploads(session, exam_id=exam.id)}
    for upload_id in {image.upload_id for image in unsent if image.upload_id in uploads}:
        # it would not bring what was announced; whoever sends next ends it
        await empty_upload(session, uploads[upload_id])
    ours = [image for image in unsent if image.exam_id == exam.id]
    await link_capture(session, row.id, sent)
    alone = await _only_of(session, row, ours)
    await forget_instances(session, alone)
    for name in (staged_name(row), *(staged_dicom(image.sop_instance_uid) for image in alone)):
        resources.staging.path(exam.id, name).unlink(missing_ok=True)
    if not sent:
        await session.delete(row)
        return False
    if row.unlisted_at is None:
        row.unlisted_at = await session.scalar(now().select())
    # nothing can be done about it any more
    row.problem_code = row.problem_message = row.missing_since = None
    row.left_out = 0
    return True


async def _made_of(
    session: AsyncSession, exam: Exam, row: Capture
) -> tuple[Sequence[Instance], Sequence[Instance]]:
    """What was made of a capture: what is in the study or may be, and what surely is not."""
    linked = select(CaptureInstance.instance_id).where(CaptureInstance.capture_id == row.id)
    if exam.study_id is None:
        return (), ()
    ours = select(Instance).where(Instance.id.in_(linked), Instance.study_id == exam.study_id)
    images = (await session.scalars(ours)).all()
    may_be = {
        upload.upload_id
        for upload in await open_uploads(session, study_id=exam.study_id)
        if upload.state in {UploadState.SENT, UploadState.ASKED}
    }
    sent = [
        image
        for image in images
        if image.state in THERE or (image.state == InstanceState.IN_UPLOAD and image.upload_id in may_be)
    ]
    return sent, [image for image in images if image not in sent]


async def _only_of(session: AsyncSession, row: Capture, images: Sequence[Instance]) -> Sequence[Instance]:
    """Those of them that no other capture became."""
    shared = set(
        await session.scalars(
            select(CaptureInstance.instance_id).where(
                CaptureInstance.instance_id.in_([image.id for image in images]),
                CaptureInstance.capture_id != row.id,
            )
        )
    )
    return [image for image in images if image.id not in shared]
