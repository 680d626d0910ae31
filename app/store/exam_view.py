"""An exam as commands, the admin API and its pages show it; holds no patient data."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import ExamState, Reason, Source, Step
from app.store.captures import Capture
from app.store.claims import Claim
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.store.filings import Choice, Filing
from app.store.image_counts import ImageCounts, images_of_all
from app.store.links import Link, confirmed_links
from app.store.organizations import Organization, OrganizationRef
from app.store.studies import Study
from app.store.subjects import Subject

Row = TypeVar("Row", Organization, Study, Subject, Link)


class CaptureItem(BaseModel):
    """One capture. `bytes` and `sha256` are those of the file as Clarius served it."""

    index: int
    kind: str | None = Field(examples=["jpeg"])
    bytes: int | None = Field(examples=[48213])
    sha256: str | None = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    sop_instance_uid: str | None = Field(examples=["2.25.17358"])
    already_delivered: bool
    there: bool = Field(
        description="Whether its images are there, as far as is known (`images`).", examples=[True]
    )
    problem: dict[str, str | None] | None = Field(
        None, description="Why this capture can't be delivered.", examples=[None]
    )


class AuraboxRef(BaseModel):
    """Where the exam is in Aurabox."""

    kind: Literal["patient", "case"] | None = Field(examples=["patient"])
    patient_id: str | None = Field(examples=["b3f0"])
    study_id: str | None = Field(examples=["c4a1"])
    study_instance_uid: str | None = Field(examples=["2.25.17357"])


class FilingItem(BaseModel):
    """How the exam is filed: for whom, under which link and policy, as what, and who said so."""

    organization: OrganizationRef | None
    policy_version: int = Field(
        description="The version of the organisation's policy that the exam follows.", examples=[3]
    )
    link: UUID | None = Field(
        description="The link that it came by.", examples=["0e8c0f0a-5f0b-4e0d-8e43-1f8f5b2b7c11"]
    )
    customer_hint: str | None = Field(
        description="The last four characters of that link's Clarius token.", examples=["apMY"]
    )
    kind: Literal["patient", "case"] | None = Field(
        description="What it is filed under; null before that.", examples=["patient"]
    )
    mode: Literal["identified", "pseudonymous"] = Field(examples=["identified"])
    decided_by: str = Field(description="`rules`, or the person who decided.", examples=["rules"])
    decision: Choice | None = Field(description="What that person decided.")


class WayItem(BaseModel):
    """A decision that `decide` takes now, and what will happen then."""

    decision: Choice
    says: str
    subjects: list[str] = Field(
        description="Where it is not empty, one of these ids of Aurabox has to be named as `subject`."
    )


class ClaimItem(BaseModel):
    """Who announced an exam that Clarius does not list. A release takes the first one that has an organisation."""

    customer_hint: str | None = Field(description="Of the account's link; null when it is linked to nobody.")
    organization: OrganizationRef | None = Field(description="For whom a release would file the exam.")
    host: str
    path: str = Field(description="Where the exam data are said to lie, without the query.")
    names_this_request: bool = Field(description="Where it does not, a release reads nothing from there.")
    received_at: datetime


class ErrorItem(BaseModel):
    """What went wrong last. `code` is stable."""

    code: str
    message: str | None


class ImagesItem(BaseModel, from_attributes=True):
    """How many images the exam has, and how many of them are there. That it is filed is another fact (`state`)."""

    wanted: int = Field(
        description="How many should be there; 0 when the organisation takes no images.", examples=[1]
    )
    accepted: int = Field(
        description="How many the image transport has taken, now or from an earlier submission.", examples=[1]
    )
    seen: int | None = Field(
        description="How many were counted there; null where nothing can be counted.", examples=[1]
    )
    missing: int = Field(description="How many are not there, as far as is known.")
    why: str | None = Field(description="Why they are missing, or why none are wanted.")


class TimelineItem(BaseModel, from_attributes=True):
    """One line of an exam's history."""

    at: datetime
    step: str = Field(examples=["verify"])
    event: str = Field(examples=["received"])
    detail: str | None = Field(examples=["webhook"])


class ExamItem(BaseModel):
    """One exam request. Never holds patient data. A newer version may have written a state that this one does not know."""

    request_uuid: UUID = Field(examples=["7b0f3b0e-8a53-4c53-9d0e-3f1b9c1d2e4f"])
    exam_uuid: UUID = Field(examples=["0d1c9c1e-33a0-4f1f-8f0a-2a9f7f1f6a10"])
    organization: OrganizationRef | None
    state: ExamState | str = Field(examples=["delivered"])
    step: Step | str = Field(examples=["confirm"])
    reason: Reason | str | None
    source: Source = Field(examples=["webhook"])
    attempts: int
    due_at: datetime | None
    submitted_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    received_at: datetime
    delivered_at: datetime | None = Field(examples=["2026-11-21T23:03:00Z"])
    captures: list[CaptureItem]
    images: ImagesItem
    sent: int | None = Field(
        None, description="Images that this submission itself handed to the image transport.", examples=[1]
    )
    seen: int | None = Field(None, description="Those of them that were counted there.", examples=[1])
    report: str | None = Field(None, description="What became of the receipt at Clarius.")
    filing: FilingItem | None = Field(None, description="Null until the exam data are known.")
    claims: list[ClaimItem] = Field([], description="Of an unverified exam.")
    ways: list[WayItem] = Field([], description="What can be decided now of an exam in review.")
    mend: str | None = Field(None, description="How a review ends that no decision ends as it stands.")
    aurabox: AuraboxRef
    error: ErrorItem | None = Field(examples=[None])
    timeline: list[TimelineItem]


async def describe_exam(session: AsyncSession, exam: Exam) -> ExamItem:
    """One exam."""
    return (await describe_exams(session, [exam]))[0]


async def describe_exams(session: AsyncSession, exams: Sequence[Exam]) -> list[ExamItem]:
    """Exams in the given order, with a fixed number of queries however many they are."""
    ids = [exam.id for exam in exams]
    organizations = await _by_id(session, Organization, {exam.organization_id for exam in exams})
    subjects = await _by_id(session, Subject, {exam.subject_id for exam in exams})
    studies = await _by_id(session, Study, {exam.study_id for exam in exams})
    captures: dict[UUID, list[Capture]] = defaultdict(list)
    for capture in await session.scalars(
        select(Capture).where(Capture.exam_id.in_(ids)).order_by(Capture.exam_id, Capture.index)
    ):
        captures[capture.exam_id].append(capture)
    images = await images_of_all(session, exams)
    events: dict[UUID, list[ExamEvent]] = defaultdict(list)
    for event in await session.scalars(
        select(ExamEvent).where(ExamEvent.exam_id.in_(ids)).order_by(ExamEvent.id)
    ):
        events[event.exam_id].append(event)
    filings = await _filings(session, exams)
    claims = await _claims(session, [exam for exam in exams if exam.state == ExamState.UNVERIFIED])
    return [
        ExamItem.model_validate(
            {
                "request_uuid": exam.request_uuid,
                "exam_uuid": exam.exam_uuid,
                "organization": organizations.get(exam.organization_id),
                "state": exam.state,
                "step": exam.step,
                "reason": exam.reason,
                "source": exam.source,
                "attempts": exam.attempts,
                "due_at": exam.due_at,
                "submitted_at": exam.submitted_at,
                "received_at": exam.received_at,
                "delivered_at": exam.delivered_at,
                "captures": [_capture(capture, images[exam.id]) for capture in captures[exam.id]],
                "images": images[exam.id],
                "sent": exam.sent_count,
                "seen": exam.seen_count,
                "report": exam.report_state,
                "filing": filings.get(exam.id),
                "claims": claims[exam.id],
                "aurabox": _aurabox(subjects.get(exam.subject_id), studies.get(exam.study_id)),
                "error": {"code": exam.error_code, "message": exam.error_message}
                if exam.error_code
                else None,
                "timeline": events[exam.id],
            }
        )
        for exam in exams
    ]


async def _by_id(session: AsyncSession, model: type[Row], ids: set[UUID | None]) -> dict[UUID | None, Row]:
    row_ids = [row_id for row_id in ids if row_id is not None]
    if not row_ids:
        return {}
    return {row.id: row for row in await session.scalars(select(model).where(model.id.in_(row_ids)))}


def _capture(capture: Capture, images: ImageCounts) -> dict[str, Any]:
    problem = {"code": capture.problem_code, "message": capture.problem_message}
    return {
        "index": capture.index,
        "kind": capture.kind,
        "bytes": capture.bytes,
        "sha256": capture.sha256,
        "sop_instance_uid": capture.sop_instance_uid,
        "already_delivered": capture.already_delivered,
        "there": capture.id in images.there,
        "problem": problem if capture.problem_code else None,
    }


def _aurabox(subject: Subject | None, study: Study | None) -> dict[str, Any]:
    return {
        "kind": subject.kind if subject else None,
        "patient_id": subject.remote_id if subject else None,
        "study_id": study.remote_id if study else None,
        "study_instance_uid": study.study_instance_uid if study else None,
    }


async def _filings(session: AsyncSession, exams: Sequence[Exam]) -> dict[UUID, dict[str, Any]]:
    """How each exam is filed, by its id; nothing of one that is not filed yet."""
    newest = [(exam.id, exam.filing) for exam in exams if exam.filing is not None]
    if not newest:
        return {}
    rows = (
        await session.scalars(select(Filing).where(tuple_(Filing.exam_id, Filing.number).in_(newest)))
    ).all()
    links = await _by_id(session, Link, {row.link_id for row in rows})
    organizations = await _by_id(session, Organization, {row.organization_id for row in rows})
    return {row.exam_id: _filing(row, links.get(row.link_id), organizations) for row in rows}


def _filing(
    filing: Filing, link: Link | None, organizations: dict[UUID | None, Organization]
) -> dict[str, Any]:
    return {
        "organization": organizations.get(filing.organization_id),
        "policy_version": filing.policy_version,
        "link": link.id if link is not None else None,
        "customer_hint": link.customer_hint if link is not None else None,
        "kind": filing.kind,
        "mode": filing.mode,
        "decided_by": filing.decided_by,
        "decision": (filing.decision or {}).get("choice"),
    }


async def _claims(session: AsyncSession, exams: Sequence[Exam]) -> dict[UUID, list[dict[str, Any]]]:
    """Who announced these exams that Clarius does not list, the first claim first: of a released one it counts that is linked."""
    claims: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    if not exams:
        return claims
    requests = {exam.id: exam.request_uuid for exam in exams}
    rows = (
        await session.scalars(
            select(Claim).where(Claim.exam_id.in_(requests)).order_by(Claim.received_at, Claim.id)
        )
    ).all()
    links = await confirmed_links(session, {row.customer_hash for row in rows})
    organizations = await _by_id(session, Organization, {link.organization_id for link in links.values()})
    for row in rows:
        link = links.get(row.customer_hash)
        host, path = _address(row.download_url)
        claims[row.exam_id].append(
            {
                "customer_hint": link.customer_hint if link is not None else None,
                "organization": organizations.get(link.organization_id) if link else None,
                "host": host,
                "path": path,
                "names_this_request": str(requests[row.exam_id]) in path.split("/"),
                "received_at": row.received_at,
            }
        )
    return claims


def _address(url: str) -> tuple[str, str]:
    """Host and path of an address that anybody may have written; without its query, which may hold a secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "", "(no address that can be read)"
    return quote(host, safe=":[]"), quote(parts.path, safe="/%:")
