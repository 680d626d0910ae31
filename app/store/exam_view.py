"""An exam as commands, the admin API and its pages show it; holds no patient data."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.states import ExamState
from app.store.captures import Capture
from app.store.claims import Claim
from app.store.exam_events import ExamEvent
from app.store.exams import Exam
from app.store.filings import Filing
from app.store.image_counts import ImageCounts, images_of_all
from app.store.links import Link, confirmed_links
from app.store.organizations import Organization
from app.store.studies import Study
from app.store.subjects import Subject

Row = TypeVar("Row", Organization, Study, Subject, Link)


async def describe_exam(session: AsyncSession, exam: Exam) -> dict[str, Any]:
    """One exam."""
    return (await describe_exams(session, [exam]))[0]


async def describe_exams(session: AsyncSession, exams: Sequence[Exam]) -> list[dict[str, Any]]:
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
        {
            "request_uuid": str(exam.request_uuid),
            "exam_uuid": str(exam.exam_uuid),
            "organization": _organization(organizations.get(exam.organization_id)),
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
            "images": images[exam.id].as_json(),
            "sent": exam.sent_count,
            "seen": exam.seen_count,
            "report": exam.report_state,
            "filing": filings.get(exam.id),
            "claims": claims[exam.id],
            "aurabox": _aurabox(subjects.get(exam.subject_id), studies.get(exam.study_id)),
            "error": {"code": exam.error_code, "message": exam.error_message} if exam.error_code else None,
            "timeline": [
                {"at": event.at, "step": event.step, "event": event.event, "detail": event.detail}
                for event in events[exam.id]
            ],
        }
        for exam in exams
    ]


async def _by_id(session: AsyncSession, model: type[Row], ids: set[UUID | None]) -> dict[UUID | None, Row]:
    wanted = [one for one in ids if one is not None]
    if not wanted:
        return {}
    return {row.id: row for row in await session.scalars(select(model).where(model.id.in_(wanted)))}


def _organization(organization: Organization | None) -> dict[str, Any] | None:
    return {"id": str(organization.id), "name": organization.name} if organization is not None else None


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
        "organization": _organization(organizations.get(filing.organization_id)),
        "policy_version": filing.policy_version,
        "link": str(link.id) if link is not None else None,
        "customer_hint": link.customer_hint if link is not None else None,
        "kind": filing.kind,
        "mode": filing.mode,
        "decided_by": filing.decided_by,
        "decision": (filing.decision or {}).get("choice"),
    }


async def _claims(session: AsyncSession, exams: Sequence[Exam]) -> dict[UUID, list[dict[str, Any]]]:
    """Who announced these exams that Clarius does not list, the first claim first: of a released one it counts that is linked."""
    found: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    if not exams:
        return found
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
        found[row.exam_id].append(
            {
                "customer_hint": link.customer_hint if link is not None else None,
                "organization": _organization(organizations.get(link.organization_id)) if link else None,
                "host": host,
                "path": path,
                "names_this_request": str(requests[row.exam_id]) in path.split("/"),
                "received_at": row.received_at,
            }
        )
    return found


def _address(url: str) -> tuple[str, str]:
    """Host and path of an address that anybody may have written; without its query, which may hold a secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "", "(no address that can be read)"
    return quote(host, safe=":[]"), quote(parts.path, safe="/%:")
