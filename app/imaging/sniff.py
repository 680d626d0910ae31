"""What a capture is by its first bytes; it must not trust a header, a name or a URL's ending."""

from pathlib import Path
from typing import Literal

Kind = Literal["jpeg", "png", "mp4", "heif", "dicom", "zip", "unknown"]

SNIFF_BYTES = 132
"""Enough for the DICOM prefix, which stands after a preamble of 128 bytes (PS3.10 7.1)."""


_PICTURE_BRANDS = frozenset(
    {
        b"mif1",
        b"mif2",
        b"mif3",
        b"msf1",
        b"miaf",
        b"1pic",
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
    }
    | {
        b"hevm",
        b"hevs",
        b"heif",
        b"avif",
        b"avis",
        b"avci",
        b"avcs",
        b"vvic",
        b"vvis",
        b"jpeg",
        b"jpgs",
        b"j2ki",
    }
    | {b"j2is", b"crx ", b"jxl ", b"jp2 ", b"jpx ", b"jpm "}
)
"""Brands of still pictures and their sequences (ISO 23008-12 and its kin), which share the container of MP4."""

_FIRST_VRS = frozenset({b"UL", b"OB", b"UI", b"CS", b"DA", b"TM", b"DT", b"SH", b"LO", b"SQ"})
"""Value representations of what stands first in an object or its meta information."""


def sniff_bytes(head: bytes) -> Kind:
    """The kind of a file that begins with `head` (the first 132 bytes are enough)."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[4:8] == b"ftyp":
        return "heif" if head[8:12] in _PICTURE_BRANDS else "mp4"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "dicom" if _is_bare_dicom(head) else "unknown"


def _is_bare_dicom(head: bytes) -> bool:
    """Whether these are the first attributes of a DICOM object written without preamble and prefix.

    Either with value representations, in either byte order, or implicit: then the next attribute has to follow.
    """
    if len(head) < 16:
        return False
    if head[:2] in (b"\x02\x00", b"\x08\x00") and head[4:6] in _FIRST_VRS:
        return head[3] == 0
    if head[:2] == b"\x00\x08" and head[4:6] in _FIRST_VRS:
        return head[2] == 0
    length = int.from_bytes(head[4:8], "little")
    following = head[8 + length : 12 + length]
    return head[:2] == b"\x08\x00" and head[3] == 0 and following[:2] == b"\x08\x00" and following > head[:4]


def sniff(path: Path) -> Kind:
    """The kind of the file at `path`, reading at most 132 bytes; `unknown` for an empty file."""
    with path.open("rb") as file:
        return sniff_bytes(file.read(SNIFF_BYTES))
