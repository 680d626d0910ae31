"""How many images an exam has and how many of them are where they belong; "filed" is another fact and not said here.

No number claims more than is known: `accepted` are those that the image transport has taken, `seen` those that were
counted afterwards, None where nothing can be counted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import UNDER_WAY
from app.store.captures import INCOMPLETE, Capture
from app.store.exams import Exam
from app.store.filings import Filing
from app.store.instances import THERE, ByCapture, CaptureInstance, Instance, InstanceState
from app.store.organizations import Images, Organization, Policy

NONE_WANTED = "images are not sent, by the organisation's policy"
NAMED_REASONS = 5


@dataclass(frozen=True)
class ImageCounts:
    """`wanted`: what should be there. `missing` of them are not, as far as is known; `reasons` say why.

    `takes_images`: whether the organisation takes images at all. `there`: captures of which all images are.
    """

    wanted: int = 0
    accepted: int = 0
    seen: int | None = None
    missing: int = 0
    reasons: tuple[str, ...] = ()
    takes_images: bool = True
    there: frozenset[UUID] = frozenset()

    @property
    def why(self) -> str | None:
        """The reasons as one line, the first of a long list; also why none are wanted."""
        if not self.takes_images:
            return NONE_WANTED
        shown = [*self.reasons[:NAMED_REASONS]]
        if len(self.reasons) > NAMED_REASONS:
            shown.append(f"and {len(self.reasons) - NAMED_REASONS} more")
        return "; ".join(shown) or None


async def images_of(session: AsyncSession, exam: Exam) -> ImageCounts:
    """Of one exam."""
    return (await images_of_all(session, [exam]))[exam.id]


async def images_of_all(session: AsyncSession, exams: Sequence[Exam]) -> Mapping[UUID, ImageCounts]:
    """Of these exams, with a fixed number of queries however many they are."""
    ids = [exam.id for exam in exams]
    captures: dict[UUID, list[Capture]] = defaultdict(list)
    for capture in await session.scalars(
        select(Capture).where(Capture.exam_id.in_(ids)).order_by(Capture.exam_id, Capture.index)
    ):
        captures[capture.exam_id].append(capture)
    images: dict[UUID, list[Instance]] = defaultdict(list)
    rows = await session.execute(
        select(CaptureInstance.capture_id, Instance)
        .join(Instance, Instance.id == CaptureInstance.instance_id)
        .join(Capture, Capture.id == CaptureInstance.capture_id)
        .join(Exam, Exam.id == Capture.exam_id)
        .where(Exam.id.in_(ids), Instance.study_id == Exam.study_id)
    )
    for capture_id, instance in rows:
        images[capture_id].append(instance)
    transports = await _transports(session, ids)
    return {exam.id: count_images(exam, transports.get(exam.id), captures[exam.id], images) for exam in exams}


async def _transports(session: AsyncSession, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """By which transport each exam's images go: that of its filing, or of its organisation before it has one."""
    rows = await session.execute(
        select(Exam.id, Organization.images, Policy.images)
        .join(Organization, Organization.id == Exam.organization_id)
        .outerjoin(Filing, (Filing.exam_id == Exam.id) & (Filing.number == Exam.filing))
        .outerjoin(
            Policy,
            (Policy.organization_id == Filing.organization_id) & (Policy.version == Filing.policy_version),
        )
        .where(Exam.id.in_(ids))
    )
    return {exam_id: filed or now for exam_id, now, filed in rows}


def count_images(
    exam: Exam, transport: str | None, captures: Sequence[Capture], by_capture: ByCapture
) -> ImageCounts:
    """What is known of an exam's images. A capture that became none yet, or never will, counts as one."""
    if transport is None:
        return ImageCounts()
    if transport == Images.NONE:
        return ImageCounts(takes_images=False)
    objects = {image.id: image for capture in captures for image in by_capture.get(capture.id, ())}
    # the same bytes under two links are one image, whatever becomes of it
    unmade = {capture.sha256 or str(capture.id) for capture in captures if not by_capture.get(capture.id)}
    lost = _lost([capture for capture in captures if capture.problem_code])
    in_part = _lost([capture for capture in captures if capture.problem_code == INCOMPLETE])
    wanted_count = len(objects) + len(unmade) + in_part
    accepted = sum(1 for image in objects.values() if image.state in THERE)
    seen = None
    counts: Sequence[InstanceState] = THERE
    if exam.seen_count is not None:
        counts = (InstanceState.SEEN,)
        seen = sum(1 for image in objects.values() if image.state in counts)
    there = frozenset(
        capture.id
        for capture in captures
        if by_capture.get(capture.id)
        and capture.problem_code != INCOMPLETE
        and all(image.state in counts for image in by_capture[capture.id])
    )
    problems = [capture for capture in captures if capture.problem_code]
    missing = lost if exam.state in UNDER_WAY else wanted_count - (accepted if seen is None else seen)
    reasons = _reasons(problems, others=missing - lost, counted=seen is not None)
    return ImageCounts(wanted_count, accepted, seen, missing, reasons, there=there)


def _lost(captures: Sequence[Capture]) -> int:
    """How many images these cost; the same bytes under two links are the same images."""
    return sum({capture.sha256 or str(capture.id): capture.lost_images for capture in captures}.values())


def _reasons(problems: Sequence[Capture], *, others: int, counted: bool) -> tuple[str, ...]:
    reasons = [f"capture {capture.index + 1}: {capture.problem_message}" for capture in problems]
    if others > 0:
        reasons.append(f"{others} were not counted there" if counted else f"{others} were not accepted")
    return tuple(reasons)
