"""Dates, times and identifiers as DICOM writes them (PS3.5 6.2), and what can be made of other ways of writing them."""

import re
from datetime import date

MOST_UID_CHARACTERS = 64

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_OLD_DATE = re.compile(r"(\d{4})[.\-/](\d{2})[.\-/](\d{2})")
_OLD_TIME = re.compile(r"(\d{2}):(\d{2})(?::(\d{2}(?:\.\d{1,6})?))?")
_TIME = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?")
_MOMENT = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?")


def is_well_formed(vr: str, value: str) -> bool:
    """Whether a value of DA, TM, DT or UI is one; an empty value is. Any other VR is not looked at."""
    text = value.rstrip(" \0")
    if not text:
        return True
    if vr == "DA":
        return _is_date(text)
    if vr == "TM":
        return _is_time(text)
    if vr == "DT":
        return _is_moment(text)
    return vr != "UI" or is_uid(text)


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID. Numbers with zeros before them, which many write, do no harm."""
    return len(text) <= MOST_UID_CHARACTERS and _UID.fullmatch(text) is not None


def mended(vr: str, value: str) -> str:
    """The value as DICOM has it: of another way of writing it (ACR-NEMA's, ISO 8601's) the same; of nonsense, nothing."""
    if is_well_formed(vr, value):
        return value
    text = value.strip(" \0")
    if vr == "DA" and (parts := _OLD_DATE.fullmatch(text)):
        text = "".join(parts.groups())
    elif vr == "TM" and (parts := _OLD_TIME.fullmatch(text)):
        text = "".join(part or "" for part in parts.groups())
    return text if is_well_formed(vr, text) else ""


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{8}", text):
        return False
    try:
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    hour, minute, second = (int(text[at : at + 2] or 0) for at in (0, 2, 4))
    # a leap second is a second (PS3.5 6.2)
    return hour < 24 and minute < 60 and second <= 60


def _is_moment(text: str) -> bool:
    parts = _MOMENT.fullmatch(text)
    if parts is None:
        return False
    year, month, day, clock, _ = parts.groups()
    return _is_date(f"{year}{month or '01'}{day or '01'}") and (clock is None or _is_time(clock))
