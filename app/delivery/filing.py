"""How a submission is filed: written once when its data is first known, compared by every step before it acts.

A step asks `planned` first and works by the answer: the policy version of the filing, never the
organisation's newest. What differs from the filing is filed again while nothing of its images was sent, and is a
person's to decide afterwards; a link that ended or moved always is.
"""

import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.policy_changes import Redo, redo
from app.delivery.staged import discard_planned, images_left
from app.delivery.work import Work
from app.errors import Misuse
from app.resources import Resources
from app.states import Reason, Step, earlier
from app.store.exam_events import record_event
from app.store.exams import Exam
from app.store.filed import AS_FILED
from app.store.filings import RULES, Filing, filing_of, next_filing
from app.store.links import Link, confirmed_links
from app.store.organizations import IdentityPolicy, Organization, Policy, PolicyFields
from app.store.studies import Study
from app.store.subjects import Mode, Subject

log = structlog.get_logger(__name__)

LINK_CHANGED = "link_changed"
PATIENT_CHANGED = "patient_changed"
POLICY_CHANGED = "policy_changed"
WRONG_ANSWER = "wrong_answer"

# a person's word that the exam belongs to whom it names now, whatever it was filed as before
REFILE = "refile"

# where an exam goes on that is filed again, unless it has not come so far yet; else where it stands
WHERE = {Redo.LINK: Step.MATCH, Redo.SUBJECT: Step.MATCH, Redo.IMAGES: Step.CONVERT}


@dataclass(frozen=True)
class Plan:
    """By what an exam is delivered: its filing, the policy version of that, whose keys and addresses serve.

    `subject` and `study`: those on record for it. `at`: the database's clock when that was read.
    """

    filing: Filing
    policy: Policy
    organization: Organization
    subject: Subject | None
    study: Study | None
    at: datetime

    @property
    def mode(self) -> Mode:
        """Whether what is filed names the person."""
        return Mode(self.filing.mode)

    @property
    def matched(self) -> Subject:
        """The subject of an exam that is past its step match."""
        if self.subject is None:
            raise RuntimeError("an exam past its step match has a subject")
        return self.subject

    @property
    def made(self) -> tuple[Subject, Study]:
        """Subject and study of an exam that is past its step study."""
        if self.study is None:
            raise RuntimeError("an exam past its step study has a study")
        return self.matched, self.study

    def decided(self, choice: str) -> bool:
        """Whether a person said so of this exam: last, or before and of another question."""
        decision = self.filing.decision or {}
        return choice == decision.get("choice") or choice in decision.get("before", ())

    def named(self, what: str) -> str | None:
        """Whom (`subject` of ours, `remote` of Aurabox) or which `study` a person named with "same"."""
        return (self.filing.decision or {}).get(what) if self.decided("same") else None


class FileAgain(Exception):
    """Policy or link changed before an image was sent: the exam is filed anew under what is in force."""

    def __init__(self, how: Redo) -> None:
        super().__init__()
        self.how = how


def mode_of(policy: PolicyFields) -> Mode:
    """What the policy's word on identity makes of a subject."""
    return Mode.PSEUDONYMOUS if policy.identity == IdentityPolicy.DEIDENTIFIED else Mode.IDENTIFIED


@asynccontextmanager
async def planned(work: Work, *, locked: bool = False) -> AsyncIterator[tuple[AsyncSession, Exam, Plan]]:
    """The exam and its plan, if what it was filed under still holds, with a session to read what belongs to them.

    `locked`: in a transaction, for what is written beside. Without, what was read as the step began is as good. Raises
    LeaseLost, NeedsPerson (`link_changed`, `policy_changed`) and FileAgain (see `filed`).
    """
    async with work.rows(AS_FILED, locked=locked) as (session, row):
        filing, link = row.Filing, row.Link
        whole = filing is not None and (link is None or filing.link_id == link.id)
        if whole or locked:
            plan = await _plan(session, row)
            work.policy = plan.policy
            yield session, row.Exam, plan
            return
    # something of the filing itself is to be written
    async with planned(work, locked=True) as opened:
        yield opened


async def _plan(session: AsyncSession, row: Row[Any]) -> Plan:
    exam, filing, policy, organization = row.Exam, row.Filing, row.Policy, row.Organization
    if filing is None:
        # begun before there were filings: filed by what holds now, as it would have gone on then
        filing = file(session, exam, organization, identity_hash=None)
        policy = await session.get_one(Policy, (organization.id, organization.policy_version))
    await _compare_link(session, exam, filing, row.Link)
    if filing.policy_version != organization.policy_version:
        await _compare_policy(session, exam, policy, organization)
    return Plan(filing, policy, organization, row.Subject, row.Study, row.at)


async def policy_of(session: AsyncSession, exam: Exam) -> PolicyFields | None:
    """The policy that the exam is filed under; its organisation's before that, None while that is not known."""
    filing = await filing_of(session, exam.id, exam.filing)
    if filing is not None:
        return await session.get_one(Policy, (filing.organization_id, filing.policy_version))
    return await session.get(Organization, exam.organization_id) if exam.organization_id else None


async def _compare_link(session: AsyncSession, exam: Exam, filing: Filing, link: Link | None) -> None:
    """A link of the same customer to the same organisation is as good as the one it was filed under."""
    if exam.customer_hash is None or exam.delivered_at is not None:
        return
    if link is None:
        raise NeedsPerson(
            "the Clarius account is not linked any more; link it again, or cancel the exam",
            code=LINK_CHANGED,
            reason=Reason.LINK,
        )
    if link.organization_id != filing.organization_id:
        if link.takes_along and not await images_left(session, exam):
            raise FileAgain(Redo.LINK)
        raise NeedsPerson(
            "the Clarius account belongs to another organisation now; file the exam again there, or cancel it",
            code=LINK_CHANGED,
        )
    if filing.link_id != link.id:
        filing.link_id = link.id


async def _compare_policy(
    session: AsyncSession, exam: Exam, begun: Policy, organization: Organization
) -> None:
    sent = await images_left(session, exam)
    how = redo(begun, organization, matched=exam.subject_id is not None, sent=sent)
    if how is Redo.PERSON:
        raise NeedsPerson(
            "the organisation's policy became stricter after images were sent; decide whether the rest may follow",
            code=POLICY_CHANGED,
        )
    if how is not Redo.NOTHING:
        raise FileAgain(how)


def file(
    session: AsyncSession,
    exam: Exam,
    organization: Organization,
    *,
    identity_hash: bytes | None,
    link: Link | None = None,
) -> Filing:
    """Write the exam's first filing, by the rules that hold now."""
    filing = Filing(
        exam_id=exam.id,
        number=(exam.filing or 0) + 1,
        organization_id=organization.id,
        link_id=link.id if link is not None else None,
        policy_version=organization.policy_version,
        identity_hash=identity_hash,
        mode=mode_of(organization),
    )
    session.add(filing)
    exam.filing = filing.number
    return filing


async def refile(session: AsyncSession, exam: Exam, **changes: Any) -> Filing:
    """Write a filing that follows the exam's present one; the caller says where the exam goes on."""
    current = await filing_of(session, exam.id, exam.filing)
    if current is None:
        raise RuntimeError("an exam without a filing can't be filed again")
    filing = next_filing(current, **changes)
    session.add(filing)
    exam.filing = filing.number
    await session.flush()
    return filing


async def start_over(resources: Resources, session: AsyncSession, exam: Exam) -> None:
    """Forget whose the exam was and what was made for it, so that it is matched anew; what was sent stays there."""
    if exam.study_id is not None:
        await record_event(
            session,
            exam.id,
            step=exam.step,
            event="study_left",
            detail="the study that was made stays in Aurabox without this submission's images",
        )
    await discard_planned(resources, session, exam)
    exam.subject_id = exam.study_id = None


StepFunction = Callable[[Work], Awaitable[Outcome]]


def filed(step: StepFunction) -> StepFunction:
    """Let a step be answered with FileAgain: the exam is filed under the policy in force and goes on from there."""

    @functools.wraps(step)
    async def run(work: Work) -> Outcome:
        try:
            return await step(work)
        except FileAgain as changed:
            return await _file_again(work, changed.how)

    return run


async def _file_again(work: Work, how: Redo) -> Outcome:
    async with work.tx() as (session, exam):
        if how is Redo.LINK:
            filing = await refile(session, exam, **await in_force(session, exam))
            exam.organization_id = filing.organization_id
        else:
            organization = await session.get_one(Organization, exam.organization_id)
            filing = await refile(
                session, exam, policy_version=organization.policy_version, mode=mode_of(organization)
            )
        if how in {Redo.SUBJECT, Redo.LINK}:
            # what a person said of the subject was said of one that is filed otherwise
            filing.decision, filing.kind = None, None
            await start_over(work.resources, session, exam)
        elif how is Redo.IMAGES:
            await discard_planned(work.resources, session, exam)
        at = Step(exam.step)
        to = earlier(WHERE.get(how, at), at)
    log.info("filed_again", version=filing.policy_version)
    return Done(f"filed again under policy version {filing.policy_version}", to=to)


async def in_force(session: AsyncSession, exam: Exam) -> dict[str, Any]:
    """What a filing says that follows the exam's Clarius account: its organisation of today, and the policy of that.

    Raises Misuse while the account is linked to nobody.
    """
    links = await confirmed_links(session, [exam.customer_hash] if exam.customer_hash else [])
    link = links.get(exam.customer_hash or b"")
    if link is None:
        raise Misuse(
            "the Clarius account is linked to no organisation: link it first, or cancel the exam",
            code="not_linked",
        )
    organization = await session.get_one(Organization, link.organization_id)
    return {
        "organization_id": organization.id,
        "link_id": link.id,
        "policy_version": organization.policy_version,
        "mode": mode_of(organization),
        "kind": None,
        "decided_by": link.moved_by or RULES,
    }


async def identity_hash(resources: Resources, exam: Exam, patient: Any) -> bytes:
    """A keyed hash of who the exam data names, the same however often it is read and whatever else it says."""
    # the exam is in the hash, so that two rows can't be joined by it
    return await resources.hash_text("identity", f"{exam.id}|{canonical(patient)}")


def canonical(patient: Any) -> str:
    """The patient's own fields as Clarius wrote them, nothing else: what is compared when they are read again."""
    fields = patient if isinstance(patient, dict) else {}
    named = {name: fields.get(name) for name in PATIENT_FIELDS if fields.get(name) not in (None, "")}
    # in ASCII, because half a character can be written there and not as UTF-8
    return json.dumps(named, sort_keys=True, default=str)


PATIENT_FIELDS = (
    "identifier",
    "date_of_birth",
    "gender",
    "first_name",
    "middle_name",
    "last_name",
    "animal_name",
    "animal_type",
    "owner_name",
)
