"""Pixel data of a scanner's own object on its way out: cut to what is picture, cleaned of hidden text, or masked.

Uncompressed pixels and frames are streamed; a frame is decoded only when a mask asks for it.
"""

import io
import struct
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageOps
from pydicom.dataset import Dataset

from app.imaging.decoding import decode_jpeg
from app.imaging.entropy import SEQUENTIAL, whole
from app.imaging.errors import CaptureProblem
from app.imaging.foreign_bytes import damaged, truncated
from app.imaging.frames import JPEG_SYNTAXES, frames_of
from app.imaging.jpeg import END_OF_IMAGE, read_jpeg
from app.imaging.jpeg_walk import APP0, APP14, segments
from app.imaging.limits import COPY_CHUNK_BYTES
from app.imaging.masks import blank
from app.imaging.pieces import file_chunks
from app.imaging.rle import clean_rle
from app.imaging.source_pixels import (
    EXPLICIT_BIG_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    UNCOMPRESSED,
    SourceObject,
    SourcePixels,
    Span,
    span_bytes,
)
from app.imaging.subjects import Rectangle
from app.imaging.writer import JPEG_BASELINE, encapsulated_tail, fragment, framed_tail

MASKED_QUALITY = 95
"""JPEG quality of a frame that had to be encoded again after masking."""

RLE = "1.2.840.10008.1.2.5"
_MASKABLE_COLOURS = {
    "MONOCHROME1": b"\xff",
    "MONOCHROME2": b"\0",
    "RGB": b"\0\0\0",
    "YBR_FULL": b"\0\x80\x80",
}
"""Photometric interpretation -> one black pixel."""


def is_rewritten(source: SourceObject, *, strict: bool) -> bool:
    """Whether the frames get another place than they had, so that the source's offset tables do not hold."""
    syntax = source.transfer_syntax
    return (syntax in JPEG_SYNTAXES or (strict and syntax == RLE)) and frames_of(source) is not None


def pixel_tail(
    source: SourceObject, *, masks: tuple[Rectangle, ...], scratch: Path, strict: bool
) -> Iterator[bytes]:
    """The encoded pixel data element to append to our dataset.

    `strict` (de-identified): encodings that could carry text which we cannot take out are refused
    with CaptureProblem `capture_not_cleanable`. `scratch` holds rewritten frames meanwhile.
    """
    pixels = source.pixels
    if pixels is None:
        raise ValueError("the object has no pixel data")
    if source.transfer_syntax in UNCOMPRESSED:
        return _masked(source, pixels, masks) if masks else _cut(source, pixels)
    frames = frames_of(source)
    if frames is not None and source.transfer_syntax in JPEG_SYNTAXES:
        return _rewritten(source, frames, masks=masks, scratch=scratch)
    if masks:
        raise _not_maskable()
    if not strict:
        return encapsulated_tail(file_chunks(source.path, pixels.value.start, pixels.value.length))
    if frames is not None and source.transfer_syntax == RLE:
        return _rewritten(source, frames, masks=(), scratch=scratch)
    raise CaptureProblem(
        "capture_not_cleanable",
        "The DICOM image is compressed in a way that could hide text, so it cannot be sent without identity.",
    )


def picture_bytes(dataset: Dataset, frames: int, *, held: int) -> int:
    """How many bytes uncompressed pixel data of this description are (PS3.5 8.1.1), without their padding.

    ValueError or TypeError when the description lacks a number.
    """
    samples = int(dataset.SamplesPerPixel)
    pixels = int(dataset.Rows) * int(dataset.Columns) * frames
    bits = int(dataset.BitsAllocated)
    size = (pixels * samples * bits + 7) // 8
    if dataset.get("PhotometricInterpretation") in ("YBR_FULL_422", "YBR_PARTIAL_422") and held not in (
        size,
        size + size % 2,
    ):
        # two colour differences for two pixels; some write them all the same and say 422
        return size * 2 // 3
    return size


def _cut(source: SourceObject, pixels: SourcePixels) -> Iterator[bytes]:
    """Exactly the picture: behind it, scanners and others have left text (PS3.5 8.1.1 warns of it)."""
    size = _picture_bytes(source, pixels)
    yield _native_header(source, size)
    if _lies_in_pairs(source):
        for start in range(0, size, COPY_CHUNK_BYTES):
            yield _picture_part(source, pixels, Span(start, min(COPY_CHUNK_BYTES, size - start)))
    else:
        yield from file_chunks(source.path, pixels.value.start, size)
    yield b"\0" * (size % 2)


def _picture_bytes(source: SourceObject, pixels: SourcePixels) -> int:
    try:
        size = picture_bytes(source.dataset, source.frames, held=pixels.value.length)
    except (AttributeError, TypeError, ValueError):
        raise damaged() from None
    if size + (size % 2 if _lies_in_pairs(source) else 0) > pixels.value.length:
        raise truncated()
    return size


def _lies_in_pairs(source: SourceObject) -> bool:
    """Whether bytes are written as words of which the second is the first (PS3.5 8.1.1: 8 bits as OW in big endian)."""
    return (
        source.transfer_syntax == EXPLICIT_BIG_ENDIAN
        and int(source.dataset.BitsAllocated) <= 8
        and _says_words(source)
    )


def _picture_part(source: SourceObject, pixels: SourcePixels, part: Span) -> bytes:
    """Bytes of the picture, in their order."""
    begin = pixels.value.start + part.start
    if not _lies_in_pairs(source):
        return span_bytes(source.path, Span(begin, part.length))
    before = part.start % 2
    length = before + part.length
    words = bytearray(span_bytes(source.path, Span(begin - before, length + length % 2)))
    words[0::2], words[1::2] = words[1::2], words[0::2]
    return bytes(words[before:length])


def _native_header(source: SourceObject, size: int) -> bytes:
    """Tag, VR and even length, written by us: the two reserved bytes of the source could say anything."""
    order = ">" if source.transfer_syntax == EXPLICIT_BIG_ENDIAN else "<"
    tag = struct.pack(order + "HH", 0x7FE0, 0x0010)
    length = struct.pack(order + "L", size + size % 2)
    if source.transfer_syntax == IMPLICIT_LITTLE_ENDIAN:
        return tag + length
    words = int(source.dataset.BitsAllocated) > 8 or (_says_words(source) and not _lies_in_pairs(source))
    return tag + (b"OW" if words else b"OB") + b"\0\0" + length


def _says_words(source: SourceObject) -> bool:
    """Whether the source's own header says OW."""
    if source.pixels is None:
        return False
    return span_bytes(source.path, Span(source.pixels.element.start + 4, 2)) == b"OW"


def _rewritten(
    source: SourceObject, frames: list[list[Span]], *, masks: tuple[Rectangle, ...], scratch: Path
) -> Iterator[bytes]:
    """Frames of which nothing is left but the picture, a fragment each, masked where it is asked for."""
    lengths = []
    with scratch.open("wb") as file:
        for spans in frames:
            frame = b"".join(span_bytes(source.path, span) for span in spans)
            encoded = _clean_rle(source, frame) if source.transfer_syntax == RLE else _clean_jpeg(frame)
            if masks:
                if source.transfer_syntax != JPEG_BASELINE:
                    raise _not_maskable()
                encoded = _masked_jpeg(source, jpeg_data=encoded, masks=masks)
            lengths.append(len(encoded))
            file.writelines(fragment(len(encoded), (encoded,)))
    return framed_tail(lengths, file_chunks(scratch))


def _clean_jpeg(frame: bytes) -> bytes:
    jpeg = read_jpeg(frame)
    return whole(jpeg.data) if jpeg.process in SEQUENTIAL else jpeg.data


def _clean_rle(source: SourceObject, frame: bytes) -> bytes:
    dataset = source.dataset
    return clean_rle(
        frame,
        segments=int(dataset.SamplesPerPixel) * (int(dataset.BitsAllocated) // 8),
        segment_bytes=int(dataset.Rows) * int(dataset.Columns),
    )


def _masked_jpeg(source: SourceObject, *, jpeg_data: bytes, masks: tuple[Rectangle, ...]) -> bytes:
    """A frame decoded, blanked and encoded in the colours that the object declares."""
    photometric = source.dataset.PhotometricInterpretation
    is_rgb = photometric == "RGB"
    picture = decode_jpeg(read_jpeg(_with_colours(jpeg_data, is_rgb=is_rgb))).image
    if photometric.startswith("MONOCHROME"):
        picture = picture.convert("L")
    if photometric == "MONOCHROME1":
        # its highest value is black
        picture = ImageOps.invert(picture)
    blank(picture, masks)
    if photometric == "MONOCHROME1":
        picture = ImageOps.invert(picture)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=MASKED_QUALITY, subsampling=0, keep_rgb=is_rgb)
    return encoded.getvalue()


def _with_colours(jpeg_data: bytes, *, is_rgb: bool) -> bytes:
    """The JPEG with the object's word for what its samples are, in the one form that decoders heed (Adobe's header).

    What the JPEG said of itself goes: in DICOM the photometric interpretation counts (PS3.5 8.2.1).
    """
    transform = b"\0" if is_rgb else b"\1"
    kept = bytearray(b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + transform)
    for segment in segments(jpeg_data):
        if segment.marker not in (APP0, APP14):
            kept += jpeg_data[segment.start : segment.end]
    return bytes(kept) + END_OF_IMAGE


def _masked(source: SourceObject, pixels: SourcePixels, masks: tuple[Rectangle, ...]) -> Iterator[bytes]:
    """Uncompressed 8-bit pixels frame by frame, the rectangles blanked. Refuses other layouts."""
    dataset = source.dataset
    pixel = _MASKABLE_COLOURS.get(dataset.get("PhotometricInterpretation", ""))
    if (
        pixel is None
        or dataset.get("BitsAllocated") != 8
        or dataset.get("SamplesPerPixel") != len(pixel)
        or dataset.get("PlanarConfiguration", 0) != 0
    ):
        raise _not_maskable()
    _picture_bytes(source, pixels)
    return _masked_frames(source, pixels, masks, pixel=pixel)


def _masked_frames(
    source: SourceObject, pixels: SourcePixels, masks: tuple[Rectangle, ...], *, pixel: bytes
) -> Iterator[bytes]:
    rows, columns = int(source.dataset.Rows), int(source.dataset.Columns)
    size = rows * columns * len(pixel)
    yield _native_header(source, size * source.frames)
    for index in range(source.frames):
        frame = bytearray(_picture_part(source, pixels, Span(index * size, size)))
        for x, y, width, height in masks:
            left, right = min(x, columns), min(x + width, columns)
            for row in range(min(y, rows), min(y + height, rows)):
                start = (row * columns + left) * len(pixel)
                frame[start : start + (right - left) * len(pixel)] = pixel * (right - left)
        yield bytes(frame)
    yield b"\0" * (size * source.frames % 2)


def _not_maskable() -> CaptureProblem:
    return CaptureProblem(
        "capture_not_maskable",
        "The burned-in text of this DICOM image cannot be blanked, so it is not sent.",
    )
