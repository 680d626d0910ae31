"""Step study: one study in Aurabox for one exam of an organisation, whatever the number of submissions (A11, A12)."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.accounts import AccountKind
from app.clients.aurabox import Study as RemoteStudy
from app.delivery.create import Creation, Made, create_once
from app.delivery.filing import REFILE, Plan, planned
from app.delivery.labels import study_description
from app.delivery.outcome import Done, NeedsPerson, Outcome, listed_but_absent
from app.delivery.remote import study_stands, subject_stands
from app.delivery.work import Work
from app.errors import NotThere, TryLater
from app.imaging.uids import accession_number, study_uid
from app.states import Step
from app.store.audit import SYSTEM, audit
from app.store.base import clock, now
from app.store.captures import captures_of
from app.store.exam_events import record_event
from app.store.exams import Exam
from app.store.instances import study_gone
from app.store.organizations import CaptureSource, IdentityPolicy, Images, PolicyFields
from app.store.studies import Study, studies_of_exam
from app.store.subjects import Mode, Subject

MODALITY = "US"
SOURCE = "clarius"

# what a study is recognised by when it is looked for before a create (docs/delivery.md, "Creates")
KEY_FIELDS = ("study_instance_uid", "accession_number")


async def study(work: Work) -> Outcome:
    """Done when the exam's study is recorded and there. A study that is already another subject's goes to review."""
    async with planned(work) as (session, exam, plan):
        ours, others = await _on_record(session, exam, plan)
        images = await _images_to_send(session, exam, plan.policy)
    subject = plan.matched
    subject = await subject_stands(work, plan, subject)
    if ours is not None and await study_stands(work, plan, subject, ours):
        return Done("the exam has its study already", sets={"study_id": ours.id})
    filed_as = uuid.uuid5(exam.exam_uuid, subject.patient_key.hex()) if others else exam.exam_uuid
    fields = study_fields(
        exam,
        plan.policy,
        deidentify_key(work, plan),
        filed_as=filed_as,
        images=images,
    )
    if ours is not None:
        # images of it may be elsewhere, and are the same objects again
        fields |= {"study_instance_uid": ours.study_instance_uid, "accession_number": ours.accession_number}
    kept: list[UUID] = []
    creation = _creation(work, plan, subject, exam, fields, filed_as=filed_as, replaces=ours, kept=kept)
    try:
        outcome = await create_once(work, creation)
    except NotThere as error:
        # the subject was read just now, so what is asked about it lags behind
        raise TryLater(error.message, upstream="aurabox", status=error.status, code=error.code) from error
    how = "adopted" if outcome.adopted else "created"
    if kept:
        return Done(how, sets={"study_id": kept[0]})
    async with work.resources.statements() as session:
        # made before, or by another submission of the exam while this one waited, and perhaps for another subject
        ours, _ = await _on_record(session, exam, plan)
    if ours is None:
        raise RuntimeError("a create ended without a record of its study")
    return Done(how, sets={"study_id": ours.id})


async def _on_record(session: AsyncSession, exam: Exam, plan: Plan) -> tuple[Study | None, list[Study]]:
    """The exam's study under its subject, and those under others that this filing could be taken for.

    What was filed under a pseudonym says nothing of what is filed by name, nor the other way round. Raises NeedsPerson
    when there are only the others, unless a person said that it is to be filed anew.
    """
    ours: Study | None = None
    others: list[Study] = []
    for row, mode in await studies_of_exam(session, plan.organization.id, exam.exam_uuid):
        if row.subject_id == exam.subject_id:
            ours = row
        elif mode == plan.mode:
            others.append(row)
    if ours is None and others and not plan.decided(REFILE):
        raise NeedsPerson(
            "an earlier submission of this exam was filed under somebody else",
            code="study_of_other_subject",
        )
    return ours, others


def _creation(
    work: Work,
    plan: Plan,
    subject: Subject,
    exam: Exam,
    fields: Mapping[str, Any],
    *,
    filed_as: UUID,
    replaces: Study | None,
    kept: list[UUID],
) -> Creation:
    """Of the exam's study, or of another record for one that is missing; `kept` gets its id with the record."""
    organization = plan.organization
    account = AccountKind.AURABOX.of(organization.id)
    names = work.resources.settings.aurabox_study_fields
    sent = {names[ours]: value for ours, value in fields.items() if names.get(ours) and value is not None}

    chosen = plan.named("study")

    async def search() -> Sequence[str]:
        if chosen is not None and (replaces is None or chosen != replaces.remote_id):
            return [chosen]
        keys = {names[ours]: fields[ours] for ours in KEY_FIELDS if names.get(ours)}
        if not keys:
            raise NeedsPerson(
                "studies carry neither our UID nor our accession number, so they can't be looked for",
                code="study_not_searchable",
            )
        async with work.effect("study:search_study", account):
            client = work.resources.aurabox(organization)
            matches = await client.studies(subject.remote_id).find(lambda listing: _is_ours(listing, keys))
        if replaces is not None and replaces.remote_id in matches:
            raise listed_but_absent("study")
        if len(matches) > 1:
            async with work.tx() as (_, row):
                row.question = {"candidates": list(matches), "of": "study"}
        return matches

    async def send() -> str:
        limit = work.resources.settings.request_seconds
        async with work.effect("study:create_study", account, seconds=limit):
            client = work.resources.aurabox(organization)
            return (await client.create_study(subject.remote_id, {str(k): v for k, v in sent.items()})).id

    async def keep(session: AsyncSession, outcome: Made) -> None:
        if replaces is not None:
            await _record_replacement(work, session, replaces, outcome)
            kept.append(replaces.id)
            return
        record = Study(
            id=uuid.uuid4(),
            organization_id=organization.id,
            exam_uuid=exam.exam_uuid,
            subject_id=subject.id,
            remote_id=outcome.remote_id,
            study_instance_uid=fields["study_instance_uid"],
            accession_number=fields["accession_number"],
            adopted=outcome.adopted,
            seen_at=now(),
            studied_at=exam.submitted_at or exam.received_at,
        )
        session.add(record)
        kept.append(record.id)

    instead = f"|instead of {replaces.remote_id}" if replaces is not None else ""
    return Creation(
        organization_id=organization.id,
        kind="study",
        natural_key=f"{plan.mode}|{filed_as}{instead}",
        search=search,
        send=send,
        keep=keep,
        # an installation before this one may have carried the exam; without key fields nobody can tell
        look_first=any(names.get(ours) for ours in KEY_FIELDS),
    )


async def _record_replacement(work: Work, session: AsyncSession, study: Study, outcome: Made) -> None:
    """From now on another record stands for the study; with a new one all that was sent is to be sent again."""
    row = await session.get_one(Study, study.id, with_for_update=True)
    former, row.remote_id, row.adopted = row.remote_id, outcome.remote_id, outcome.adopted
    row.seen_at, row.missing_since = await clock(session), None
    how = "taken over" if outcome.adopted else "made"
    detail = f"{former} is not there any more; {row.remote_id} was {how}"
    if not outcome.adopted:
        detail += f", and {await study_gone(session, row.id)} images that were sent are gone with it"
    await record_event(session, work.exam_id, step=Step.STUDY, event="study_replaced", detail=detail)
    await audit(session, by=SYSTEM, action="study.replace", subject=str(row.id), detail=detail)


def _is_ours(listed: RemoteStudy, keys: Mapping[str | None, Any]) -> bool:
    return any(str(listed.fields.get(str(name), "")) == str(value) for name, value in keys.items())


def study_fields(
    exam: Exam, policy: PolicyFields, key: bytes | None, *, filed_as: UUID, images: int | None
) -> dict[str, Any]:
    """The fields that Aurabox documents (A12) under our names; None is not sent.

    `filed_as` stands for the exam in UIDs: its own UUID, or one made for a study that a person filed again under
    somebody else, because one UID must not lie under two people.
    """
    deidentified = policy.identity == IdentityPolicy.DEIDENTIFIED
    return {
        "study_instance_uid": study_uid(filed_as, deidentify_key=key),
        "accession_number": accession_number(filed_as, deidentify_key=key),
        "description": study_description(),
        "modality": MODALITY,
        "study_date": studied_at(exam, policy).date().isoformat(),
        "number_of_images": images,
        "source": SOURCE,
        "source_exam_uuid": None if deidentified else str(exam.exam_uuid),
        "source_request_uuid": None if deidentified else str(exam.request_uuid),
    }


async def _images_to_send(session: AsyncSession, exam: Exam, policy: PolicyFields) -> int | None:
    """How many images the study will be sent, as far as can be told before they are made; None when it can't be."""
    if policy.images == Images.NONE:
        return 0
    captures = await captures_of(session, exam.id)
    able = {capture.sha256 for capture in captures if capture.sha256 and not capture.is_lost}
    # a bundle says only once it is opened how many are in it
    return None if able and policy.source == CaptureSource.CLARIUS_DICOM else len(able)


def studied_at(exam: Exam, policy: PolicyFields, study: Study | None = None) -> datetime:
    """When the exam was submitted, in the organisation's time zone: the nearest that Clarius tells to the scan.

    With the `study`, of the submission that it was made for: another one adds to it and dates nothing anew.
    """
    at = (study.studied_at if study is not None else None) or exam.submitted_at or exam.received_at
    return at.astimezone(UTC).astimezone(ZoneInfo(policy.timezone))


def deidentify_key(work: Work, plan: Plan) -> bytes | None:
    """The key of the organisation's pseudonyms where the filing is pseudonymous, else None. Raises CannotUnseal."""
    if plan.mode is not Mode.PSEUDONYMOUS:
        return None
    return work.resources.pseudonym_key(plan.organization)
