"""One exam: where it stands, how it is filed, its history and captures, what a person may decide, and every act on it.

It shows who the patient is and what an upstream said of that, to an admin only; each such view is audited. The part that a script fetches again while the
page is open does not hold that.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from app.config.sealing import CannotUnseal
from app.delivery import actions
from app.delivery.decisions import LABELS
from app.delivery.filing import policy_of
from app.delivery.identity import day_of, exam_identity, facts_of
from app.delivery.mapping import Identity, contradicts
from app.delivery.possible import acts_of, show_exam
from app.errors import SonobridgeError
from app.resources import Resources
from app.states import ExamState
from app.store.audit import By, audit
from app.store.base import clock
from app.store.captures import captures_of
from app.store.exams import Exam, wanted_exam
from app.store.filings import Choice
from app.store.subjects import Subject
from app.web.admin.common import ByDep, admin_page, attempt, refusal
from app.web.browser import BACKGROUND_HEADER, CheckedForm, VisitorDep, csrf_token, is_our_origin
from app.web.dependencies import ResourcesDep
from app.web.exam_files import MAX_REPORT_BYTES, capture_file, send_report
from app.web.limits import bounded
from app.web.rendering import PageError, see_other

ACTS = {"retry": actions.RETRY, "release": actions.RELEASE, "cancel": actions.CANCEL}
DONE = {
    "retry": "It is tried again.",
    "release": "It was released and goes on.",
    "cancel": "It was cancelled.",
    "separate": "It is kept separate and goes on.",
    "same": "It is filed under the same patient and goes on.",
    "as-case": "It is filed as a case and goes on.",
    "refile": "It is filed again and goes on.",
    "update-patient": "The patient is updated and it goes on.",
    "without-captures": "It is delivered without what is missing.",
    "report": "Clarius has taken the report.",
}
# where the admin pages show what a review gives a choice of
CANDIDATES = {"patient": "patients", "case": "cases"}
SHOWN_INLINE = frozenset({"jpeg", "png", "mp4"})
FIELDS = (
    ("identifier", "Identifier"),
    ("given_names", "Given names"),
    ("family_name", "Family name"),
    ("birth_date", "Date of birth"),
    ("sex", "Sex"),
    ("animal_name", "Animal"),
    ("animal_type", "Species"),
    ("owner_name", "Owner"),
)

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class KnownPerson:
    """One whom the exam may be: what stands for them in Aurabox, who they were until now, what contradicts the exam."""

    kind: str
    remote_id: str
    identity: Identity
    why: str | None


@dataclass(frozen=True)
class People:
    """Who the exam says it is, and those on record whom a review asks about."""

    claimed: Identity
    on_record: Sequence[KnownPerson]

    @property
    def rows(self) -> list[tuple[str, str, list[tuple[str, bool]]]]:
        """(field, this exam's, [(a known one's, whether it differs)]) of every field that any of them has."""
        rows = []
        for name, label in FIELDS:
            ours = _text(self.claimed, name)
            theirs = [_text(person.identity, name) for person in self.on_record]
            if ours or any(theirs):
                rows.append((label, ours, [(other, other != ours) for other in theirs]))
        return rows


def _text(identity: Identity, name: str) -> str:
    return str(getattr(identity, name, None) or "")


@router.get("/admin/exams/{request_uuid}")
async def exam(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    request_uuid: UUID,
    done: str = "",
) -> Response:
    """The page."""
    async with resources.sessions() as session:
        row = await attempt(wanted_exam(session, request_uuid), back="/admin/exams")
    followed = BACKGROUND_HEADER in request.headers
    people, words, locked = None, None, False
    if not followed and (row.exam_data_sealed is not None or row.upstream_words_sealed is not None):
        try:
            if row.exam_data_sealed is not None:
                people = await _people(resources, row)
            if row.upstream_words_sealed is not None:
                words = resources.unseal_text(row.upstream_words_sealed)
        except CannotUnseal:
            locked = True
        else:
            await _note_view(resources, row, by=by)
    async with resources.sessions() as session:
        shown = await show_exam(session, row)
        held = {
            capture.index: capture.downloaded_at is not None
            and capture.purged_at is None
            and capture.kind in SHOWN_INLINE
            for capture in await captures_of(session, row.id)
        }
    context: dict[str, Any] = {
        "exam": shown,
        "people": people,
        "words": words,
        "locked": locked,
        "way_labels": LABELS,
        "candidates_of": CANDIDATES.get((row.question or {}).get("of", "")),
        "acts": acts_of(row),
        "held": held,
        "attempts": row.attempts,
        "trace": row.trace,
        "done": DONE.get(done),
    }
    return admin_page(request, "exam.html", context, tab="exams")


@router.post("/admin/exams/{request_uuid}/decide")
async def decide(resources: ResourcesDep, by: ByDep, form: CheckedForm, request_uuid: UUID) -> Response:
    """Settle what an exam in review waits for."""
    back = f"/admin/exams/{request_uuid}"
    choice = form.get("choice", "")
    if choice not in set(Choice):
        raise PageError(422, "Choose one of the ways", "Nothing was done.", action=("Go back", back))
    await attempt(
        actions.decide(
            resources,
            request_uuid,
            choice,
            by=by,
            subject=form.get("subject") or None,
        ),
        back=back,
    )
    return see_other(f"{back}?done={choice}")


@router.post("/admin/exams/{request_uuid}/reports")
async def report(
    request: Request,
    resources: ResourcesDep,
    by: ByDep,
    visitor: VisitorDep,
    request_uuid: UUID,
) -> Response:
    """Upload a report of one's own onto the exam at Clarius (C5). The one form that is not urlencoded."""
    back = f"/admin/exams/{request_uuid}"
    if not is_our_origin(request, resources.settings.public_url):
        raise PageError(403, "This form did not come from here", "Nothing was done.")
    too_large = PageError(413, "This report is too large", f"At most {MAX_REPORT_BYTES // 2**20} MiB.")
    short_enough = bounded(request, most=MAX_REPORT_BYTES, refusal=too_large)
    async with short_enough.form(max_files=1, max_fields=5) as form:
        token = str(form.get("csrf_token") or "")
        if not hmac.compare_digest(token.encode(), csrf_token(visitor.cookie).encode()):
            raise PageError(
                403, "This page was out of date", "Open it again and retry.", action=("Go back", back)
            )
        name, file = form.get("name"), form.get("file")
        content = await file.read() if isinstance(file, UploadFile) else b""
        if not isinstance(file, UploadFile) or not content or not isinstance(name, str) or not name.strip():
            raise PageError(
                422, "A report needs a name and a file", "Nothing was sent.", action=("Go back", back)
            )
        await attempt(
            send_report(resources, request_uuid, name=name.strip()[:200], file=file, content=content, by=by),
            back=back,
        )
    return see_other(f"{back}?done=report")


@router.post("/admin/exams/{request_uuid}/{act}")
async def do(
    resources: ResourcesDep,
    by: ByDep,
    _form: CheckedForm,
    request_uuid: UUID,
    act: str,
) -> Response:
    """Retry, release or cancel."""
    back = f"/admin/exams/{request_uuid}"
    if act not in ACTS:
        raise PageError(404, "There is no such act", "Nothing was done.", action=("Go back", back))
    await attempt(actions.act_on(resources, request_uuid, ACTS[act], by=by), back=back)
    return see_other(f"{back}?done={act}")


@router.get("/admin/exams/{request_uuid}/captures/{n}")
async def capture(
    resources: ResourcesDep,
    by: ByDep,
    request_uuid: UUID,
    n: int,
    preview: bool = False,
) -> Response:
    """A capture's bytes, to look at in the page or to keep. Each look is audited."""
    try:
        return await capture_file(resources, request_uuid, n, by=by, inline=preview)
    except SonobridgeError as error:
        raise refusal(error, back=f"/admin/exams/{request_uuid}") from error


async def _people(resources: Resources, row: Exam) -> People | None:
    """Raises CannotUnseal."""
    async with resources.sessions() as session:
        policy = await policy_of(session, row)
        at = await clock(session)
        subject_ids = (row.question or {}).get("conflicts", []) if row.state == ExamState.REVIEW else []
        subjects = [await session.get(Subject, UUID(subject_id)) for subject_id in subject_ids]
    if policy is None:
        return None
    claimed = exam_identity(resources, row, policy, today=day_of(at, policy))
    people = []
    for subject in subjects:
        if subject is not None:
            facts = facts_of(resources, subject)
            people.append(KnownPerson(subject.kind, subject.remote_id, facts, contradicts(facts, claimed)))
    return People(claimed, people)


async def _note_view(resources: Resources, row: Exam, *, by: By) -> None:
    async with resources.sessions.begin() as session:
        await audit(session, by=by, action="patient.view", subject=str(row.request_uuid))
