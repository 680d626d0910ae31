"""Every identifier we put on an object, made from what Clarius calls it; nothing here is random.

The same exam always gets the same identifiers, on every host. With a key (de-identified mode) they
go through HMAC, so that nobody without the organisation's key can walk back to the Clarius exam.
"""

import base64
import hashlib
import hmac
import uuid

ACCESSION_CHARACTERS = 16
"""The longest accession number that DICOM allows (VR SH, PS3.5 6.2)."""

IMPLEMENTATION_CLASS_UID = "2.25.63423178319589913422194544274737671467"
"""Ours, fixed: it names the program that wrote a file (PS3.10 7.1)."""

IMPLEMENTATION_VERSION_NAME = "SONOBRIDGE_1"
"""Raised when the same capture would become other bytes than before."""


def _digest(purpose: str, *parts: str, key: bytes | None) -> bytes:
    """A 32-byte digest of the parts, under a purpose that keeps the uses apart."""
    message = "\0".join(("sonobridge", purpose, *parts)).encode()
    if key is None:
        return hashlib.sha256(message).digest()
    return hmac.new(key, message, hashlib.sha256).digest()


def _uid_of(digest: bytes) -> str:
    """A UUID-derived UID (PS3.5 B.2) of the first 16 bytes, marked as a custom UUID (version 8)."""
    number = int.from_bytes(digest[:16], "big")
    number = (number & ~(0xF << 76)) | (0x8 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return f"2.25.{number}"


def study_uid(exam_uuid: uuid.UUID | str, *, deidentify_key: bytes | None) -> str:
    """Study Instance UID: `2.25.<uuid as integer>`, or a keyed hash of it. ValueError: not a UUID."""
    exam = uuid.UUID(str(exam_uuid))
    if deidentify_key is None:
        return f"2.25.{exam.int}"
    return _uid_of(_digest("study", str(exam), key=deidentify_key))


def accession_number(exam_uuid: uuid.UUID | str, *, deidentify_key: bytes | None) -> str:
    """16 characters of A-Z and 2-7 from the same source (also Aurabox's `accession_number`, A11)."""
    exam = uuid.UUID(str(exam_uuid))
    digest = _digest("accession", str(exam), key=deidentify_key)
    return base64.b32encode(digest).decode("ascii")[:ACCESSION_CHARACTERS]


def series_uid(study: str, sop_class_uid: str, *, deidentify_key: bytes | None) -> str:
    """Series Instance UID: one series per study and SOP class, because viewers choose by series."""
    return _uid_of(_digest("series", study, sop_class_uid, key=deidentify_key))


def instance_uid(study: str, content_sha256: str, *, deidentify_key: bytes | None) -> str:
    """SOP Instance UID of the content whose SHA-256 (hex) is given, in that study."""
    return _uid_of(_digest("instance", study, content_sha256.lower(), key=deidentify_key))
