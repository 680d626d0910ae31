"""The attributes of an object besides its pixels; it reads no file.

What is written here is all that is written: each value comes from the subject, the study or the
plan, and `allowlists` has the last word.
"""

from datetime import date

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.imaging import uids
from app.imaging.allowlists import assert_allowed
from app.imaging.dicom_text import clean, long_string, person_name, short_string
from app.imaging.subjects import (
    STUDY_DESCRIPTION,
    AnimalSubject,
    DeidentifiedSubject,
    HumanSubject,
    ObjectPlan,
    StudyContext,
    Subject,
)

MANUFACTURER = "Clarius"
NO_CALIBRATION = "No calibration from the source: measurements are in pixels."
DEIDENTIFICATION_METHOD = "Sonobridge: only attributes of an allow-list are written"

KNOWN_SPECIES = frozenset(
    """
    alpaca amphibian avian bird bovine camel canine caprine cat cattle chicken cow deer dog donkey equine feline ferret
    fish goat guinea-pig hamster horse lagomorph lizard llama monkey mouse mule other ovine parrot pig porcine primate
    rabbit rat reptile rodent sheep snake tortoise turtle
    """.split()  # noqa: SIM905 forty words read better as words
)
"""Species that a de-identified object may name: the field is free text, in which people write names."""

BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS = ("113101", "Clean Pixel Data Option")
KEEP_DATES = ("113106", "Retain Longitudinal Temporal Information Full Dates Option")
KEEP_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")

_SAID_OF_REMOVAL = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)


def describe(context: StudyContext, subject: Subject, plan: ObjectPlan) -> Dataset:
    """Patient, study, series, equipment and SOP attributes of one object, without its pixels.

    ValueError: a de-identified subject whose pixels nobody vouched for (`burned_in` unknown). Such
    an exam rests in `review`; a person who releases it says `no` or gives rectangles.
    """
    dataset = Dataset()
    identify(dataset, context, subject)
    _write_place(dataset, context, plan)
    return dataset


def identify(dataset: Dataset, context: StudyContext, subject: Subject) -> None:
    """Write who and which study, over whatever the dataset said. ValueError as for `describe`."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    _write_subject(dataset, subject)
    _write_study(dataset, context, deidentified=isinstance(subject, DeidentifiedSubject))
    if context.burned_in != "unknown":
        # Absent means "may or may not" (PS3.3 C.7.6.1), which is what unknown is.
        dataset.BurnedInAnnotation = "NO"
    if isinstance(subject, DeidentifiedSubject):
        _write_deidentification(dataset, context, subject)
    else:
        # whoever removed an identity before: this object has one again, and must not say otherwise
        for keyword in _SAID_OF_REMOVAL:
            if keyword in dataset:
                delattr(dataset, keyword)


def seal(dataset: Dataset, subject: Subject, *, from_scanner: bool = False) -> Dataset:
    """The same dataset once it has passed the allow-list of its mode (AssertionError otherwise)."""
    deidentified = isinstance(subject, DeidentifiedSubject)
    assert_allowed(dataset, deidentified=deidentified, from_scanner=from_scanner)
    return dataset


def _write_subject(dataset: Dataset, subject: Subject) -> None:
    if isinstance(subject, HumanSubject):
        dataset.PatientName = person_name(subject.family_name, subject.given_name)
        dataset.PatientID = long_string(subject.patient_id)
    elif isinstance(subject, AnimalSubject):
        # The owner stands where the family name stands, as veterinary modalities do it.
        dataset.PatientName = person_name(subject.owner_name, subject.animal_name)
        dataset.PatientID = long_string(subject.patient_id)
        _write_veterinary(dataset, species=subject.species, owner=subject.owner_name)
    else:
        # One cleaning for both, so that they stay equal whatever the label holds.
        label = person_name(subject.label)
        dataset.PatientName = label
        dataset.PatientID = label
        if subject.species is not None:
            species = clean(subject.species)
            listed = species if species.casefold().replace(" ", "-") in KNOWN_SPECIES else ""
            _write_veterinary(dataset, species=listed, owner="")
    dataset.PatientBirthDate = _date(subject.birth_date)
    dataset.PatientSex = subject.sex


def _write_veterinary(dataset: Dataset, *, species: str, owner: str) -> None:
    """The full set: species alone is an error six times over (PS3.3 C.7.1.1)."""
    dataset.PatientSpeciesDescription = long_string(species) or "Unknown"
    dataset.PatientBreedDescription = ""
    dataset.PatientBreedCodeSequence = Sequence([])
    dataset.BreedRegistrationSequence = Sequence([])
    dataset.PatientSexNeutered = ""
    dataset.ResponsiblePerson = person_name(owner)
    if dataset.ResponsiblePerson:
        # A role without a person is an error.
        dataset.ResponsiblePersonRole = "OWNER"
    dataset.ResponsibleOrganization = ""


def _write_study(dataset: Dataset, context: StudyContext, *, deidentified: bool) -> None:
    dataset.StudyInstanceUID = context.study_uid
    dataset.StudyDate = _date(context.studied_at.date())
    dataset.StudyTime = context.studied_at.strftime("%H%M%S")
    dataset.TimezoneOffsetFromUTC = context.studied_at.strftime("%z")[:5]
    dataset.AccessionNumber = short_string(context.accession_number)
    dataset.ReferringPhysicianName = ""
    if deidentified:
        # The caller's id and words may come from exam data; the accession number is keyed.
        dataset.StudyID = short_string(context.accession_number)
        dataset.StudyDescription = STUDY_DESCRIPTION
        return
    dataset.StudyID = short_string(context.study_id or context.accession_number)
    dataset.StudyDescription = long_string(context.description) or STUDY_DESCRIPTION
    if long_string(context.organisation_name):
        dataset.InstitutionName = long_string(context.organisation_name)


def _write_place(dataset: Dataset, context: StudyContext, plan: ObjectPlan) -> None:
    dataset.SOPClassUID = plan.sop_class_uid
    dataset.SOPInstanceUID = plan.instance_uid
    dataset.SeriesInstanceUID = plan.series_uid
    dataset.SeriesNumber = plan.series_number
    dataset.InstanceNumber = plan.instance_number
    dataset.Modality = "US"
    dataset.Laterality = ""
    dataset.PatientOrientation = ""
    dataset.ContentDate = _date(context.studied_at.date())
    dataset.ContentTime = context.studied_at.strftime("%H%M%S")
    dataset.Manufacturer = MANUFACTURER
    dataset.SoftwareVersions = uids.IMPLEMENTATION_VERSION_NAME


def require_context(context: StudyContext, subject: Subject) -> None:
    """Raise ValueError for a context that contradicts its subject: a mistake of ours, whatever the capture is."""
    if not isinstance(subject, DeidentifiedSubject):
        return
    if context.burned_in == "unknown":
        raise ValueError("de-identified images need burned_in 'no' or 'mask'")
    if context.deidentify_key is None:
        raise ValueError("de-identified images need the organisation's key")


def _write_deidentification(dataset: Dataset, context: StudyContext, subject: DeidentifiedSubject) -> None:
    """PS3.15 E.1: identity removed, how, and that the times are real."""
    require_context(context, subject)
    codes = [BASIC_PROFILE, KEEP_DATES]
    if context.burned_in == "mask":
        codes.insert(1, CLEAN_PIXELS)
    if subject.sex:
        codes.append(KEEP_CHARACTERISTICS)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = DEIDENTIFICATION_METHOD
    dataset.DeidentificationMethodCodeSequence = Sequence([_code(*code) for code in codes])
    dataset.LongitudinalTemporalInformationModified = "UNMODIFIED"


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return item


def _date(value: date | None) -> str:
    return "" if value is None else value.isoformat().replace("-", "")
