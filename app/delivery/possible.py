"""What a person can do with an exam now, and what will come of it, said before it is done; decides and moves nothing.

The admin pages, the admin API and `exam show` say the same words, because they read them here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.actions import CAPTURES_MISSING
from app.delivery.decisions import MENDED, OF_THE_LINK, RELEASES, Way, needs_data, ways_of
from app.states import RESTING, ExamState, may_move
from app.store.exam_view import ExamItem, WayItem, describe_exams
from app.store.exams import Exam
from app.store.filings import Choice
from app.store.links import confirmed_links
from app.store.organizations import Organization
from app.store.subjects import Subject

CANCELS = "It stops for good, and nothing more of it goes to Aurabox. Trying again takes that back."
VOUCHES = (
    "It goes on without Clarius's word that it exists: you vouch for it. Its notification may be forged, by whoever "
    "knows an account's code. It is filed for the organisation of the account that it names."
)
READ_ANEW = "What Clarius said of the patient is no longer kept, so nobody can be filed by it: trying again reads it anew."
LINK_FIRST = (
    "The Clarius account is linked to nobody: once it is linked, the exam goes on or can be filed again."
)


@dataclass(frozen=True)
class OpenWay:
    """A decision that can be taken now. `subjects`: one of these (ids of Aurabox) has to be named with it, if any."""

    choice: Choice
    says: str
    subjects: tuple[str, ...] = ()


async def show_exam(session: AsyncSession, exam: Exam) -> ExamItem:
    """One exam with what can be done about it; holds no patient data."""
    return (await show_exams(session, [exam]))[0]


async def show_exams(session: AsyncSession, exams: Sequence[Exam]) -> list[ExamItem]:
    """Exams in the given order, with a fixed number of queries however many they are."""
    ways = await open_ways(session, exams)
    return [
        shown.model_copy(
            update={
                "ways": [
                    WayItem(decision=way.choice, says=way.says, subjects=list(way.subjects))
                    for way in ways[exam.id]
                ],
                "mend": mend_of(exam, ways[exam.id]),
            }
        )
        for exam, shown in zip(exams, await describe_exams(session, exams), strict=True)
    ]


async def open_ways(session: AsyncSession, exams: Iterable[Exam]) -> Mapping[UUID, Sequence[OpenWay]]:
    """What may be decided of each of these exams now, by the exam's id: ways whose needs are not there are left out."""
    exams = list(exams)
    named = await _who_is_asked_about(session, exams)
    owners = await _linked_to(session, exams)
    return {
        exam.id: [
            open_way
            for choice, way in ways_of(exam).items()
            if (open_way := _open(exam, choice, way, named=named, owner=owners.get(exam.id))) is not None
        ]
        for exam in exams
    }


def mend_of(exam: Exam, ways: Sequence[OpenWay]) -> str | None:
    """How a review ends that no decision ends as it stands; None for one that a decision does."""
    if exam.state != ExamState.REVIEW or ways:
        return None
    if (mend := MENDED.get(exam.error_code or "")) is not None:
        return mend
    if exam.error_code in OF_THE_LINK:
        return LINK_FIRST
    if exam.exam_data_sealed is None:
        return READ_ANEW
    return "Try it again, or cancel it."


def acts_of(exam: Exam) -> Mapping[str, str]:
    """The acts besides decisions (retry, release, cancel) that do something to the exam now, and what each does."""
    acts: dict[str, str] = {}
    if exam.state in RESTING or exam.state == ExamState.WAITING or exam.report_state == "failed":
        acts["retry"] = _retrying(exam)
    if exam.state == ExamState.UNVERIFIED:
        acts["release"] = VOUCHES
    elif (plain := RELEASES.get(exam.error_code or "")) is not None and exam.state == ExamState.REVIEW:
        acts["release"] = ways_of(exam)[plain].says
    if may_move(exam.state, ExamState.CANCELLED):
        acts["cancel"] = CANCELS
    return acts


def _retrying(exam: Exam) -> str:
    if exam.state == ExamState.DELIVERED:
        return "The receipt is sent to Clarius again; nothing in Aurabox changes."
    if exam.state == ExamState.UNVERIFIED:
        return "Clarius is asked anew whether it lists this request."
    if exam.state == ExamState.CANCELLED:
        return "The cancelling is taken back: it goes on from where it was stopped."
    if exam.state == ExamState.REVIEW and exam.error_code == CAPTURES_MISSING:
        return "The captures that are missing are downloaded again, and only what is new is sent."
    return "It is tried again from the step where it stands."


def _open(
    exam: Exam, choice: Choice, way: Way, *, named: Mapping[str, str], owner: Organization | None
) -> OpenWay | None:
    if needs_data(way) and exam.exam_data_sealed is None:
        return None
    says = way.says
    if exam.error_code in OF_THE_LINK and choice is Choice.REFILE:
        if owner is None:
            return None
        says = f"{says} That is {owner.name}."
    if choice is not Choice.SAME:
        return OpenWay(choice, says)
    question = exam.question or {}
    subjects = [*question.get("candidates", [])] or [
        named[subject_id] for subject_id in question.get("conflicts", []) if subject_id in named
    ]
    if not subjects and exam.error_code == "identity_conflict":
        return None
    several = len(subjects) > 1 or "candidates" in question
    return OpenWay(choice, says, tuple(subjects) if several else ())


async def _who_is_asked_about(session: AsyncSession, exams: Sequence[Exam]) -> Mapping[str, str]:
    """Ids of Aurabox of the subjects that reviews ask about, by our ids of them."""
    subject_ids = {
        UUID(subject_id)
        for exam in exams
        if exam.state == ExamState.REVIEW
        for subject_id in (exam.question or {}).get("conflicts", [])
    }
    if not subject_ids:
        return {}
    rows = await session.execute(select(Subject.id, Subject.remote_id).where(Subject.id.in_(subject_ids)))
    return {str(row.id): row.remote_id for row in rows}


async def _linked_to(session: AsyncSession, exams: Sequence[Exam]) -> Mapping[UUID, Organization]:
    """To which organisation the accounts are linked now whose exams wait because that, or its policy, changed."""
    customers = {
        exam.id: exam.customer_hash
        for exam in exams
        if exam.state == ExamState.REVIEW and exam.error_code in OF_THE_LINK and exam.customer_hash
    }
    if not customers:
        return {}
    links = await confirmed_links(session, set(customers.values()))
    ids = {link.organization_id for link in links.values()}
    rows = await session.scalars(select(Organization).where(Organization.id.in_(ids)))
    owners = {owner.id: owner for owner in rows}
    return {
        exam_id: owners[links[customer].organization_id]
        for exam_id, customer in customers.items()
        if customer in links
    }
