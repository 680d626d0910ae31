"""What we recorded of Aurabox has a life: seen, missing since, replaced. Nothing recorded is believed to be there.

One 404 of something that we made is an observation: what reads may lag behind what writes, so it is looked for again
for minutes. Only then it is missing, and is resolved anew: looked for, taken over or made, and audited. Patients go with
teams, merges and deletions; what is archived is nobody's list's, and waits for a person.
"""

from datetime import datetime, timedelta

from sqlalchemy import exists, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.aurabox import Case, Patient
from app.delivery.filing import Plan
from app.delivery.new_subject import replace_subject
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import LeaseLost, Work
from app.errors import NotThere
from app.states import Reason, Step
from app.store.base import clock, now
from app.store.studies import Study
from app.store.subjects import Subject, SubjectKind
from app.upstreams.gate import Held

PATIENT_ARCHIVED = "patient_archived"
# a record that is gone in all but name, or hidden from every list; Aurabox documents "active" and "deidentified"
GONE = frozenset({"deleted", "merged"})
ARCHIVED = frozenset({"archived", "inactive"})

# what was seen so lately is not written again
SEEN_ANEW = timedelta(minutes=1)

# how many settling times something of ours may answer 404 before it is missing: minutes
SETTLINGS = 3.0


async def subject_stands(work: Work, plan: Plan, subject: Subject) -> Subject:
    """The subject as it is on record once Aurabox was asked about it (A3, A8); made anew when it is missing.

    Raises Held while it is looked for again, NeedsPerson (`patient_archived`), and as `replace_subject` does.
    """
    try:
        shown = await _read(work, plan, subject)
    except NotThere:
        shown = None
    status = (shown.status or "").strip().lower() if shown is not None else ""
    if shown is None or status in GONE:
        await _missed(work, subject)
        return await replace_subject(work, plan, subject)
    await _seen(work, subject, plan.at)
    if shown.archived or status in ARCHIVED:
        async with work.tx() as (_, exam):
            exam.question = {"archived": str(subject.id)}
        raise NeedsPerson(f"the {subject.kind} is archived in Aurabox", code=PATIENT_ARCHIVED)
    return subject


async def _read(work: Work, plan: Plan, subject: Subject) -> Patient | Case:
    async with work.effect("study:read_subject", AccountKind.AURABOX.of(plan.organization.id)):
        client = work.resources.aurabox(plan.organization)
        if subject.kind == SubjectKind.PATIENT:
            return await client.patient(subject.remote_id)
        return await client.case(subject.remote_id)


async def study_stands(work: Work, plan: Plan, subject: Subject, study: Study) -> bool:
    """Whether the study is there (A13); False when it is missing. Raises Held while it is looked for again."""
    try:
        async with work.effect("study:read_study", AccountKind.AURABOX.of(plan.organization.id)):
            await work.resources.aurabox(plan.organization).study(subject.remote_id, study.remote_id)
    except NotThere:
        await _missed(work, study)
        return False
    await study_seen(work, plan, study)
    return True


async def study_missed(work: Work, study: Study) -> Outcome:
    """What a step comes to that found the study missing: back to where it is made anew. Raises Held meanwhile."""
    await _missed(work, study)
    return Done("the study is not there any more", to=Step.STUDY)


async def study_seen(work: Work, plan: Plan, study: Study) -> None:
    """The study was read just now."""
    await _seen(work, study, plan.at)


async def _seen(work: Work, thing: Subject | Study, at: datetime) -> None:
    """Note that it was there `at` that time; again only when that is news, or has been said some time ago."""
    if thing.missing_since is None and thing.seen_at is not None and at - thing.seen_at < SEEN_ANEW:
        return
    kind = type(thing)
    written = (
        update(kind)
        .where(kind.id == thing.id, exists().where(work.ours))
        .values(seen_at=now(), missing_since=None)
        .returning(kind.id)
    )
    async with work.resources.statements() as session:
        if (await session.execute(written)).scalar_one_or_none() is None:
            raise LeaseLost


async def _missed(work: Work, thing: Subject | Study) -> None:
    """Note that it answered 404. Raises Held until it has done so for long enough to be missing."""
    settle = work.resources.settings.settle_seconds
    async with work.tx() as (session, _):
        row = await _locked(session, thing)
        at = await clock(session)
        row.missing_since = row.missing_since or at
        left = SETTLINGS * settle - (at - row.missing_since).total_seconds()
    if left > 0:
        what = "study" if isinstance(thing, Study) else thing.kind
        raise Held(Reason.SETTLING, min(left, settle / 2), f"the {what} does not show in Aurabox just now")


async def _locked(session: AsyncSession, thing: Subject | Study) -> Subject | Study:
    return await session.get_one(type(thing), thing.id, with_for_update=True)
