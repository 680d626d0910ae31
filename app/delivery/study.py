"""Step study: one study in Aurabox for one exam of an organisation, whatever the number of submissions (A11, A12)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.aurabox import Study as RemoteStudy
from app.delivery.create import Creation, Made, create_once
from app.delivery.outcome import Done, NeedsPerson, Outcome
from app.delivery.work import Work
from app.imaging.uids import accession_number, study_uid
from app.store.captures import captures_of
from app.store.exams import Exam
from app.store.organizations import Identity, Organization
from app.store.studies import Study, find_study
from app.store.subjects import Subject

DESCRIPTION = "Ultrasound"
MODALITY = "US"
SOURCE = "clarius"

# what a study is recognised by when it is looked for before a create (aurabox.md)
KEY_FIELDS = ("study_instance_uid", "accession_number")


async def study(work: Work) -> Outcome:
    """Done when the exam's study is recorded. A study that is already another subject's goes to review."""
    async with work.tx() as (session, exam):
        if await _take_study(session, exam):
            return Done("the exam has its study already")
        organization = await session.get_one(Organization, _organization_id(exam))
        subject = await session.get_one(Subject, exam.subject_id)
        captures = await captures_of(session, exam.id)
    fields = study_fields(exam, organization, deidentify_key(work, organization), captures=len(captures))
    names = work.resources.settings.aurabox_study_fields
    made = await create_once(work, _creation(work, organization, subject, exam, fields, names))
    async with work.tx() as (session, exam):
        # another submission of the exam may have made it while this one waited, and for another subject
        if not await _take_study(session, exam):
            raise RuntimeError("a create ended without a record of its study")
    return Done("adopted" if made.adopted else "created")


async def _take_study(session: AsyncSession, exam: Exam) -> bool:
    """File the request under the study on record, if there is one. Raises NeedsPerson when it is another subject's."""
    known = await find_study(session, _organization_id(exam), exam.exam_uuid)
    if known is None:
        return False
    if known.subject_id != exam.subject_id:
        raise NeedsPerson(
            "an earlier submission of this exam was filed under somebody else",
            code="study_of_other_subject",
        )
    exam.study_id = known.id
    return True


def _creation(
    work: Work,
    organization: Organization,
    subject: Subject,
    exam: Exam,
    fields: Mapping[str, Any],
    names: Mapping[str, str | None],
) -> Creation:
    account = f"aurabox:{organization.id}"
    sent = {names[ours]: value for ours, value in fields.items() if names.get(ours) and value is not None}

    async def search() -> Sequence[str]:
        keys = {names[ours]: fields[ours] for ours in KEY_FIELDS if names.get(ours)}
        if not keys:
            raise NeedsPerson(
                "studies carry neither our UID nor our accession number, so they can't be looked for",
                code="study_not_searchable",
            )
        async with work.effect("study:search_study", account):
            client = work.resources.aurabox(organization)
            return await client.studies(subject.remote_id).find(lambda found: _is_ours(found, keys))

    async def send() -> str:
        limit = work.resources.settings.request_seconds
        async with work.effect("study:create_study", account, seconds=limit):
            client = work.resources.aurabox(organization)
            return (await client.create_study(subject.remote_id, {str(k): v for k, v in sent.items()})).id

    async def keep(session: AsyncSession, made: Made) -> None:
        record = Study(
            organization_id=organization.id,
            exam_uuid=exam.exam_uuid,
            subject_id=subject.id,
            remote_id=made.remote_id,
            study_instance_uid=fields["study_instance_uid"],
            accession_number=fields["accession_number"],
            adopted=made.adopted,
        )
        session.add(record)

    return Creation(
        organization_id=organization.id,
        kind="study",
        natural_key=str(exam.exam_uuid),
        search=search,
        send=send,
        keep=keep,
        # an installation before this one may have carried the exam; without key fields nobody can tell
        look_first=any(names.get(ours) for ours in KEY_FIELDS),
    )


def _is_ours(found: RemoteStudy, keys: Mapping[str | None, Any]) -> bool:
    return any(str(found.fields.get(str(name), "")) == str(value) for name, value in keys.items())


def study_fields(
    exam: Exam, organization: Organization, key: bytes | None, *, captures: int
) -> dict[str, Any]:
    """The fields of aurabox.md under our names; None is not sent."""
    deidentified = organization.identity == Identity.DEIDENTIFIED
    return {
        "study_instance_uid": study_uid(exam.exam_uuid, deidentify_key=key),
        "accession_number": accession_number(exam.exam_uuid, deidentify_key=key),
        "description": DESCRIPTION,
        "modality": MODALITY,
        "study_date": studied_at(exam, organization).date().isoformat(),
        "number_of_images": captures,
        "source": SOURCE,
        "source_exam_uuid": None if deidentified else str(exam.exam_uuid),
        "source_request_uuid": None if deidentified else str(exam.request_uuid),
    }


def studied_at(exam: Exam, organization: Organization) -> datetime:
    """When the exam was submitted, in the organisation's time zone: the nearest that Clarius tells to the scan."""
    at = exam.submitted_at or exam.received_at
    return at.astimezone(UTC).astimezone(ZoneInfo(organization.timezone))


def deidentify_key(work: Work, organization: Organization) -> bytes | None:
    """The key of the organisation's pseudonyms in de-identified mode, else None. Raises CannotUnseal."""
    if organization.identity != Identity.DEIDENTIFIED:
        return None
    return work.resources.sealer.unseal(organization.pseudonym_key_sealed)


def _organization_id(exam: Exam) -> Any:
    if exam.organization_id is None:
        raise RuntimeError("an exam past verify has an organisation")
    return exam.organization_id
