"""An organisation's options, once: from here come commands, the admin API's bodies, the form, and what is shown.

Must not read or write anything. The stored columns are in `app.store.organizations`; adding one is in CONTRIBUTING.md.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from app.errors import Misuse
from app.organizations.asking import Prompt, Section, read_option
from app.organizations.values import Rectangle, Secret, Url, organization_name, time_zone
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

MOST_MASKS = 16


class OrganizationFields(BaseModel):
    """All that is said of an organisation and may be shown; its defaults are those of the stored columns."""

    name: Annotated[
        str,
        AfterValidator(organization_name),
        Field(examples=["Harbour Clinic"]),
        Prompt(help="What people call it.", section=Section.BASICS, label="Name", metavar="NAME"),
    ] = ""
    aurabox_url: Annotated[
        Url | None,
        Prompt(
            help="Its Aurabox, if not AURABOX_BASE_URL.",
            section=Section.BASICS,
            label="Aurabox address",
            hint="Empty: the one this bridge is set up with.",
            metavar="URL",
        ),
    ] = None
    identity: Annotated[
        IdentityPolicy,
        Prompt(
            help="Whether patients are named in Aurabox.",
            section=Section.POLICY,
            label="Are patients named in Aurabox?",
            choices={
                IdentityPolicy.IDENTIFIED: (
                    "Yes, by name",
                    "Patients are created with name, date of birth and sex.",
                ),
                IdentityPolicy.DEIDENTIFIED: (
                    "No, de-identified",
                    "Every exam becomes a case under a stable pseudonym. No Clarius identifier leaves this bridge.",
                ),
            },
        ),
    ] = IdentityPolicy.IDENTIFIED
    incomplete: Annotated[
        Incomplete,
        Prompt(
            help="A human who can't be a patient becomes a case, or is held for review.",
            section=Section.POLICY,
            label="What if a person's details are incomplete?",
            choices={
                Incomplete.CASE: ("File as a case", "A case labelled with the Clarius identifier."),
                Incomplete.HOLD: ("Hold for review", "The exam waits until somebody decides."),
            },
        ),
    ] = Incomplete.CASE
    animals: Annotated[
        Animals,
        Prompt(
            help="How animals are filed.",
            section=Section.POLICY,
            label="How are animals filed?",
            choices={
                Animals.CASE: ("As a case", "Labelled with the animal's name, species and identifier."),
                Animals.PATIENT: ("As a patient", "Given name: the animal's. Family name: the owner's."),
            },
        ),
    ] = Animals.CASE
    match_existing: Annotated[
        MatchExisting,
        Prompt(
            help="Adopt a patient that Aurabox already has.",
            section=Section.POLICY,
            label="Are patients that Aurabox already has adopted?",
            choices={
                MatchExisting.EXACT: (
                    "Yes, on an exact match",
                    "One active patient with the same names, date of birth and sex is used. Several go to review.",
                ),
                MatchExisting.NEVER: ("Never", "The first exam of a person always creates a patient."),
            },
        ),
    ] = MatchExisting.EXACT
    keep_birth_date: Annotated[
        bool,
        Prompt(
            help="Keep the date of birth when de-identified.",
            section=Section.POLICY,
            label="Keep the date of birth when de-identified",
        ),
    ] = False
    source: Annotated[
        CaptureSource,
        Prompt(
            help="Where images come from.",
            section=Section.POLICY,
            label="Where do the images come from?",
            choices={
                CaptureSource.CAPTURES: (
                    "Captures",
                    "The stills and clips that Clarius sends, made into DICOM here.",
                ),
                CaptureSource.CLARIUS_DICOM: (
                    "Clarius's own DICOM",
                    "Needs Clarius's Research bundle and its sign-in on this bridge.",
                ),
            },
        ),
    ] = CaptureSource.CAPTURES
    images: Annotated[
        Images,
        Field(examples=["uploader"]),
        Prompt(
            help="How images go.",
            section=Section.POLICY,
            label="How do images go to Aurabox?",
            choices={
                Images.UPLOADER: (
                    "Aurabox uploader",
                    "Needs AURA_APP_ID and AURA_APP_SECRET on this bridge.",
                ),
                Images.DICOMWEB: ("DICOMweb", "To the address below, by STOW-RS."),
                Images.NONE: (
                    "Not at all",
                    "Patients, cases and studies only; captures can be downloaded here for a while.",
                ),
            },
            usual="uploader when AURA_APP_ID is set, else none",
        ),
    ] = Images.NONE
    video: Annotated[
        Video,
        Prompt(
            help="What clips become.",
            section=Section.POLICY,
            label="What do clips become?",
            choices={
                Video.CINE: ("Cine loops", "Multi-frame images that every DICOM viewer shows."),
                Video.H264: ("H.264 video", "Smaller, but not every viewer plays it."),
            },
        ),
    ] = Video.CINE
    burned_in: Annotated[
        BurnedIn,
        Prompt(
            help="Whether names are burned into the pixels; needed for de-identified images.",
            section=Section.POLICY,
            label="Does Clarius write names into the pictures?",
            choices={
                BurnedIn.NO: ("No", "Pictures are sent as they are."),
                BurnedIn.MASK: (
                    "Yes, blank these parts",
                    "The rectangles below are blanked in every picture.",
                ),
                BurnedIn.UNKNOWN: (
                    "Not known",
                    "De-identified exams with images go to review; identified ones are sent and marked so.",
                ),
            },
        ),
    ] = BurnedIn.UNKNOWN
    masks: Annotated[
        list[Rectangle],
        Field(max_length=MOST_MASKS),
        Prompt(
            help="A rectangle to blank, in pixels; may be repeated.",
            section=Section.POLICY,
            label="Rectangles to blank",
            hint="One a line, in pixels: X,Y,W,H – such as 0,0,640,48.",
            metavar="X,Y,W,H",
            each="mask",
        ),
    ] = []
    dicomweb_url: Annotated[
        Url | None,
        Prompt(
            help="DICOMweb service for --images dicomweb.",
            section=Section.TRANSPORT,
            label="DICOMweb address",
            metavar="URL",
        ),
    ] = None
    dicomweb_user: Annotated[
        Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\s]+$")] | None,
        Prompt(
            help="Makes the DICOMweb token a basic password.",
            section=Section.TRANSPORT,
            label="DICOMweb user",
            hint="With a user, the token below is their password.",
            metavar="USER",
        ),
    ] = None
    report: Annotated[
        bool,
        Prompt(
            help="Put a receipt onto the Clarius exam.",
            section=Section.POLICY,
            label="Put a receipt onto the Clarius exam after delivery",
            hint="One page: when, how many images, the study. No patient data.",
        ),
    ] = False
    timezone: Annotated[
        str,
        AfterValidator(time_zone),
        Field(examples=["Australia/Melbourne"]),
        Prompt(
            help="Time zone of study dates.",
            section=Section.BASICS,
            label="Time zone",
            hint="Study dates are in it. Such as Australia/Melbourne.",
            metavar="ZONE",
        ),
    ] = "UTC"
    corrections: Annotated[
        Corrections,
        Prompt(
            help="What becomes of a known patient's details that a later exam spells otherwise.",
            section=Section.POLICY,
            label="What if a later exam corrects a patient's details?",
            choices={
                Corrections.REVIEW: ("Ask", "The exam waits until somebody says which details are right."),
                Corrections.UPDATE: ("Update the patient", "The patient's details are changed in Aurabox."),
            },
        ),
    ] = Corrections.REVIEW
    concurrency: Annotated[
        int,
        Field(ge=1, le=200),
        Prompt(
            help="How many of its exams run at one time.",
            section=Section.BASICS,
            label="Exams at one time",
            hint="How many of its exams may be worked on side by side.",
            metavar="N",
        ),
    ] = 8


class OrganizationOptions(OrganizationFields):
    """What was said of an organisation; what was not said is not in `model_fields_set`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    aurabox_key: Annotated[
        Secret | None,
        Prompt(
            help="The API key of its Aurabox team.",
            section=Section.BASICS,
            label="Aurabox API key",
            hint="From the settings of the Aurabox team.",
            variable="AURABOX_KEY",
        ),
    ] = None
    dicomweb_token: Annotated[
        Secret | None,
        Prompt(
            help="The DICOMweb token.",
            section=Section.TRANSPORT,
            label="DICOMweb token",
            hint="Bearer token or password.",
            variable="DICOMWEB_TOKEN",
        ),
    ] = None
    service_key: Annotated[
        Secret | None,
        Prompt(
            help="The team's service key.",
            section=Section.TRANSPORT,
            label="Service API key",
            hint="For the Aurabox uploader. Empty: the Aurabox key serves.",
            variable="AURABOX_SERVICE_KEY",
        ),
    ] = None


class _Identified(BaseModel):
    id: UUID = Field(examples=["5a3c1f60-6f1b-4a57-9c55-0d3b1d0f7e21"])


class OrganizationItem(OrganizationFields, _Identified):
    """An organisation and its policy; secrets only as `has_…`."""

    policy_version: int = Field(examples=[3])
    has_aurabox_key: bool = Field(examples=[True])
    has_service_key: bool
    has_dicomweb_token: bool
    created_at: datetime

    @field_validator("*", mode="wrap")
    @classmethod
    def as_stored(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """What is stored is shown though the rules refuse it by now: one odd row must not hide the others."""
        try:
            return handler(value)
        except ValidationError:
            return value


PLAIN = tuple(OrganizationFields.model_fields)
SECRETS = tuple(name for name in OrganizationOptions.model_fields if name not in PLAIN)
DEFAULTS: Mapping[str, Any] = OrganizationFields().model_dump()
OPTIONS = tuple(read_option(name, info) for name, info in OrganizationOptions.model_fields.items())


def read_options(values: Mapping[str, Any]) -> OrganizationOptions:
    """The options, or Misuse with one line for the first mistake; the line never repeats the value."""
    try:
        return OrganizationOptions.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        option = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if first["type"] == "extra_forbidden":
            text = "is not an option of an organisation"
        raise Misuse(f"{option}: {text}") from None
