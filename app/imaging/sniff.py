"""What a capture is by its first bytes; it must not trust a header, a name or a URL's ending."""

from pathlib import Path
from typing import Literal

Kind = Literal["jpeg", "png", "mp4", "dicom", "zip", "unknown"]

SNIFF_BYTES = 132
"""Enough for the DICOM prefix, which stands after a preamble of 128 bytes (PS3.10 7.1)."""


def sniff_bytes(head: bytes) -> Kind:
    """The kind of a file that begins with `head` (the first 132 bytes are enough)."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "unknown"


def sniff(path: Path) -> Kind:
    """The kind of the file at `path`, reading at most 132 bytes; `unknown` for an empty file."""
    with path.open("rb") as file:
        return sniff_bytes(file.read(SNIFF_BYTES))
