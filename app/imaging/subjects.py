"""What an object says besides its pixels: who, which study, which place in it. Plain values only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from app.imaging import uids

Sex = Literal["M", "F", "O", ""]
BurnedIn = Literal["no", "mask", "unknown"]
VideoMode = Literal["cine", "h264"]
Rectangle = tuple[int, int, int, int]
"""x, y, width, height in pixels from the top left corner."""

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"

STUDY_DESCRIPTION = "Ultrasound"
"""What a study is called when nothing better is known, and always in de-identified mode."""


@dataclass(frozen=True, slots=True)
class HumanSubject:
    """A person, named. Any part may be empty; text is cleaned and cut when it is written."""

    patient_id: str = ""
    family_name: str = ""
    given_name: str = ""
    birth_date: date | None = None
    sex: Sex = ""


@dataclass(frozen=True, slots=True)
class AnimalSubject:
    """An animal and, when known, who owns it."""

    patient_id: str = ""
    animal_name: str = ""
    species: str = ""
    owner_name: str = ""
    birth_date: date | None = None
    sex: Sex = ""


@dataclass(frozen=True, slots=True)
class DeidentifiedSubject:
    """A case known by its label only. `birth_date` is given only where the policy keeps it.

    `species` is not None for an animal (its species is kept; its name and owner never are).
    """

    label: str
    birth_date: date | None = None
    sex: Sex = ""
    species: str | None = None


Subject = HumanSubject | AnimalSubject | DeidentifiedSubject


@dataclass(frozen=True, slots=True)
class StudyContext:
    """What all objects of one exam share.

    `studied_at` is aware and in the organisation's time zone; date, time and offset come from it.
    `deidentify_key` is the organisation's key, given in de-identified mode and only there.
    `organisation_name` and `description` are not written in de-identified mode.
    `burned_in`: whether Clarius burns demographics into the pixels; `mask` blanks `masks`.
    """

    study_uid: str
    accession_number: str
    studied_at: datetime
    study_id: str = ""
    description: str = STUDY_DESCRIPTION
    organisation_name: str = ""
    deidentify_key: bytes | None = field(default=None, repr=False)
    burned_in: BurnedIn = "unknown"
    masks: tuple[Rectangle, ...] = ()
    video: VideoMode = "cine"

    def __post_init__(self) -> None:
        if self.studied_at.tzinfo is None:
            raise ValueError("studied_at must carry its time zone")
        if self.burned_in == "mask" and not self.masks:
            raise ValueError("burned_in 'mask' needs at least one rectangle")
        for x, y, width, height in self.masks:
            if x < 0 or y < 0 or width <= 0 or height <= 0:
                raise ValueError("a mask needs x, y >= 0 and width, height > 0")


@dataclass(frozen=True, slots=True)
class ObjectPlan:
    """The place of one object in its study: everything that differs between its siblings."""

    capture_index: int
    sop_class_uid: str
    instance_uid: str
    series_uid: str
    series_number: int
    instance_number: int


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture in staging: the file, the SHA-256 (hex) of its bytes, and its place in the exam."""

    path: Path
    sha256: str
    index: int


@dataclass(frozen=True, slots=True)
class ConvertedInstance:
    """One DICOM file that was written. `capture_sha256` is of the capture, `sha256` of the file."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    transfer_syntax: str
    frames: int
    width: int
    height: int
    bytes: int
    sha256: str
    capture_sha256: str
    capture_index: int


class Converted(list[ConvertedInstance]):
    """What a capture became, object by object.

    `left_out` is how many files of a bundle became none, and `why` says so to a person (empty: nothing was left out).
    """

    def __init__(
        self, instances: Iterable[ConvertedInstance] = (), *, left_out: int = 0, why: str = ""
    ) -> None:
        super().__init__(instances)
        self.left_out = left_out
        self.why = why


def plan_object(
    context: StudyContext,
    capture: Capture,
    *,
    sop_class_uid: str,
    content_sha256: str | None = None,
    member: int | None = None,
) -> ObjectPlan:
    """Identifiers and numbers of one object made from `capture`.

    `content_sha256` is that of a file inside the capture, when the capture is a bundle. Instance numbers count from 1
    by capture; the files of one bundle (`member` from 0) share the thousands of their capture. A different order of
    captures changes numbers, never a UID.
    """
    number = capture.index + 1
    return ObjectPlan(
        capture_index=capture.index,
        sop_class_uid=sop_class_uid,
        instance_uid=uids.instance_uid(
            context.study_uid, content_sha256 or capture.sha256, deidentify_key=context.deidentify_key
        ),
        series_uid=uids.series_uid(context.study_uid, sop_class_uid, deidentify_key=context.deidentify_key),
        series_number=_series_number(sop_class_uid),
        instance_number=number if member is None else number * 1000 + member,
    )


def _series_number(sop_class_uid: str) -> int:
    """1 for stills, 2 for clips; any other class gets its own number from its UID's last parts."""
    if sop_class_uid == US_IMAGE:
        return 1
    if sop_class_uid == US_MULTI_FRAME:
        return 2
    return 100 + sum(sop_class_uid.encode("ascii", "replace")) % 900
