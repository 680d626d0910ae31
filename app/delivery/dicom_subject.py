"""What the DICOM objects of an exam say of their subject and study; pure, from what is recorded of both."""

from datetime import datetime
from typing import Any, Literal, cast

from app.delivery.labels import TAILED, Digest, bare_digest, study_description, tailed
from app.delivery.mapping import Identity
from app.imaging.dicom_text import LONG_STRING_CHARACTERS, long_string
from app.imaging.subjects import (
    AnimalSubject,
    DeidentifiedSubject,
    HumanSubject,
    StudyContext,
    Subject,
)
from app.store.organizations import IdentityPolicy, PolicyFields
from app.store.studies import Study

SEXES: dict[str, Literal["M", "F", "O", ""]] = {"male": "M", "female": "F", "other": "O"}


def dicom_subject(
    identity: Identity,
    policy: PolicyFields,
    *,
    label: str,
    remote_id: str,
    key: str = "",
    distinct: bool = False,
    digest: Digest = bare_digest,
) -> Subject:
    """Identified or not by the policy. `label`: the case label in de-identified mode.

    Without a Clarius identifier, Aurabox's own id stands as the patient id. For `key`, `distinct` and `digest` see
    `patient_id`.
    """
    sex = SEXES.get(identity.sex, "")
    if policy.identity == IdentityPolicy.DEIDENTIFIED:
        return DeidentifiedSubject(
            label=label,
            birth_date=identity.birth_date if policy.keep_birth_date else None,
            sex=sex,
            species=identity.animal_type if identity.is_animal else None,
        )
    known_as = patient_id(identity.identifier, remote_id=remote_id, key=key, distinct=distinct, digest=digest)
    if identity.is_animal:
        return AnimalSubject(
            patient_id=known_as,
            animal_name=identity.animal_name,
            species=identity.animal_type,
            owner_name=identity.owner_name,
            birth_date=identity.birth_date,
            sex=sex,
        )
    return HumanSubject(
        patient_id=known_as,
        family_name=identity.family_name,
        given_name=identity.given_names,
        birth_date=identity.birth_date,
        sex=sex,
    )


def patient_id(
    identifier: str, *, remote_id: str, key: str = "", distinct: bool = False, digest: Digest = bare_digest
) -> str:
    """The Patient ID (VR LO) of a subject, never that of another one: an archive files by it (dcm4chee-arc-light#3083).

    An identifier that does not fit, or that cleaning would change, ends with a hash of the whole (prime-reportstream
    #3949). `distinct`: this subject shares its identifier with others, so its `key` (Aurabox's id if none is given) is in
    the hash; what is given once has to be given for all of its exams. `digest` should be the organisation's.
    """
    text = identifier or remote_id
    written = long_string(text)
    if written == text and not distinct and not TAILED.fullmatch(text):
        return text
    whole = f"{text}|{key or remote_id}" if distinct else text
    return tailed(written, LONG_STRING_CHARACTERS, digest("patient-id|" + whole))


def study_context(
    study: Study,
    policy: PolicyFields,
    *,
    organization_name: str,
    studied_at: datetime,
    deidentify_key: bytes | None,
) -> StudyContext:
    """What all objects of the study share; UIDs and accession number are those that were recorded."""
    masks = tuple(cast("tuple[int, int, int, int]", tuple(mask)) for mask in policy.masks)
    more: dict[str, Any] = {"burned_in": policy.burned_in, "video": policy.video}
    return StudyContext(
        study_uid=study.study_instance_uid,
        accession_number=study.accession_number,
        studied_at=studied_at,
        study_id=study.accession_number,
        description=study_description(),
        organisation_name="" if deidentify_key else organization_name,
        deidentify_key=deidentify_key,
        masks=masks if policy.burned_in == "mask" else (),
        **more,
    )
