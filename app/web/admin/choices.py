"""Each choice of an organisation's policy in words; the values are those of `app.store.organizations`."""

from dataclasses import dataclass

from app.store.organizations import (
    Animals,
    BurnedIn,
    CaptureSource,
    Corrections,
    IdentityPolicy,
    Images,
    Incomplete,
    MatchExisting,
    Video,
)


@dataclass(frozen=True)
class Choice:
    """One value and what it means; the first of a list is the usual one."""

    value: str
    label: str
    text: str


QUESTIONS = {
    "identity": "Are patients named in Aurabox?",
    "incomplete": "What if a person's details are incomplete?",
    "animals": "How are animals filed?",
    "match_existing": "Are patients that Aurabox already has adopted?",
    "corrections": "What if a later exam corrects a patient's details?",
    "source": "Where do the images come from?",
    "images": "How do images go to Aurabox?",
    "video": "What do clips become?",
    "burned_in": "Does Clarius write names into the pictures?",
}

CHOICES: dict[str, tuple[Choice, ...]] = {
    "identity": (
        Choice(
            IdentityPolicy.IDENTIFIED,
            "Yes, by name",
            "Patients are created with name, date of birth and sex.",
        ),
        Choice(
            IdentityPolicy.DEIDENTIFIED,
            "No, de-identified",
            "Every exam becomes a case under a stable pseudonym. No Clarius identifier leaves this bridge.",
        ),
    ),
    "incomplete": (
        Choice(Incomplete.CASE, "File as a case", "A case labelled with the Clarius identifier."),
        Choice(Incomplete.HOLD, "Hold for review", "The exam waits until somebody decides."),
    ),
    "animals": (
        Choice(Animals.CASE, "As a case", "Labelled with the animal's name, species and identifier."),
        Choice(Animals.PATIENT, "As a patient", "Given name: the animal's. Family name: the owner's."),
    ),
    "match_existing": (
        Choice(
            MatchExisting.EXACT,
            "Yes, on an exact match",
            "One active patient with the same names, date of birth and sex is used. Several go to review.",
        ),
        Choice(MatchExisting.NEVER, "Never", "The first exam of a person always creates a patient."),
    ),
    "corrections": (
        Choice(Corrections.REVIEW, "Ask", "The exam waits until somebody says which details are right."),
        Choice(Corrections.UPDATE, "Update the patient", "The patient's details are changed in Aurabox."),
    ),
    "source": (
        Choice(
            CaptureSource.CAPTURES,
            "Captures",
            "The stills and clips that Clarius sends, made into DICOM here.",
        ),
        Choice(
            CaptureSource.CLARIUS_DICOM,
            "Clarius's own DICOM",
            "Needs Clarius's Research bundle and its sign-in on this bridge.",
        ),
    ),
    "images": (
        Choice(Images.UPLOADER, "Aurabox uploader", "Needs AURA_APP_ID and AURA_APP_SECRET on this bridge."),
        Choice(Images.DICOMWEB, "DICOMweb", "To the address below, by STOW-RS."),
        Choice(
            Images.NONE,
            "Not at all",
            "Patients, cases and studies only; captures can be downloaded here for a while.",
        ),
    ),
    "video": (
        Choice(Video.CINE, "Cine loops", "Multi-frame images that every DICOM viewer shows."),
        Choice(Video.H264, "H.264 video", "Smaller, but not every viewer plays it."),
    ),
    "burned_in": (
        Choice(BurnedIn.NO, "No", "Pictures are sent as they are."),
        Choice(BurnedIn.MASK, "Yes, blank these parts", "The rectangles below are blanked in every picture."),
        Choice(
            BurnedIn.UNKNOWN,
            "Not known",
            "De-identified exams with images go to review; identified ones are sent and marked so.",
        ),
    ),
}

TEXTS = ("aurabox_url", "dicomweb_url", "dicomweb_user", "timezone", "concurrency")
