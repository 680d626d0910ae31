"""Pixel data of a scanner's own object on its way out: copied, cleaned of hidden text, or masked.

Uncompressed pixels and frames are streamed; a frame is decoded only when a mask asks for it.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from app.imaging.decoding import decode_jpeg
from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import read_jpeg
from app.imaging.masks import blank
from app.imaging.source_pixels import (
    EXPLICIT_BIG_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    SourceObject,
    SourcePixels,
    Span,
    span_bytes,
)
from app.imaging.subjects import Rectangle
from app.imaging.writer import (
    EXPLICIT_LITTLE_ENDIAN,
    JPEG_BASELINE,
    file_chunks,
    fragment,
    framed_tail,
)

MASKED_QUALITY = 95
"""JPEG quality of a frame that had to be encoded again after masking."""

_JPEG_SYNTAXES = frozenset(
    {JPEG_BASELINE, "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"}
)
_UNCOMPRESSED = frozenset({EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN})
_RLE = "1.2.840.10008.1.2.5"
_MASKABLE_COLOURS = {
    "MONOCHROME1": b"\xff",
    "MONOCHROME2": b"\0",
    "RGB": b"\0\0\0",
    "YBR_FULL": b"\0\x80\x80",
}
"""Photometric interpretation -> one black pixel."""


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
    if source.transfer_syntax in _UNCOMPRESSED:
        return _masked(source, pixels, masks) if masks else _copied(source, pixels)
    if source.transfer_syntax in _JPEG_SYNTAXES:
        frames = _frames(source, pixels)
        if frames is not None:
            return _rewritten(source, frames, masks=masks, scratch=scratch)
    if masks:
        raise _not_maskable()
    if strict and source.transfer_syntax != _RLE:
        raise CaptureProblem(
            "capture_not_cleanable",
            "The DICOM image is compressed in a way that could hide text, so it cannot be sent without identity.",
        )
    return _copied(source, pixels)


def _copied(source: SourceObject, pixels: SourcePixels) -> Iterator[bytes]:
    return file_chunks(source.path, pixels.element.start, pixels.element.length)


def _frames(source: SourceObject, pixels: SourcePixels) -> list[list[Span]] | None:
    """The fragments of each frame; None when only an offset table could tell."""
    count = int(source.dataset.get("NumberOfFrames") or 1)
    if len(pixels.fragments) == count:
        return [[span] for span in pixels.fragments]
    return [list(pixels.fragments)] if count == 1 else None


def _rewritten(
    source: SourceObject, frames: list[list[Span]], *, masks: tuple[Rectangle, ...], scratch: Path
) -> Iterator[bytes]:
    """JPEG frames without comments and application data, masked where it is asked for."""
    lengths = []
    with scratch.open("wb") as file:
        for spans in frames:
            jpeg = read_jpeg(b"".join(span_bytes(source.path, span) for span in spans))
            encoded = jpeg.data
            if masks:
                if source.transfer_syntax != JPEG_BASELINE:
                    raise _not_maskable()
                encoded = _masked_jpeg(source, jpeg_data=encoded, masks=masks)
            lengths.append(len(encoded))
            file.writelines(fragment(len(encoded), (encoded,)))
    return framed_tail(lengths, file_chunks(scratch))


def _masked_jpeg(source: SourceObject, *, jpeg_data: bytes, masks: tuple[Rectangle, ...]) -> bytes:
    """A frame decoded, blanked and encoded in the colours that the object declares."""
    picture = decode_jpeg(read_jpeg(jpeg_data)).image
    photometric = source.dataset.PhotometricInterpretation
    if photometric.startswith("MONOCHROME"):
        picture = picture.convert("L")
    blank(picture, masks)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=MASKED_QUALITY, subsampling=0, keep_rgb=photometric == "RGB")
    return encoded.getvalue()


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
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns * len(pixel)
    count = int(dataset.get("NumberOfFrames") or 1)
    if size * count > pixels.value.length:
        raise CaptureProblem("capture_truncated", "The DICOM file ends before it is complete.")
    return _masked_frames(source, pixels, masks, pixel=pixel, columns=columns, rows=rows, count=count)


def _masked_frames(
    source: SourceObject,
    pixels: SourcePixels,
    masks: tuple[Rectangle, ...],
    *,
    pixel: bytes,
    columns: int,
    rows: int,
    count: int,
) -> Iterator[bytes]:
    header = pixels.value.start - pixels.element.start
    yield span_bytes(source.path, Span(pixels.element.start, header))
    size = rows * columns * len(pixel)
    for index in range(count):
        frame = bytearray(span_bytes(source.path, Span(pixels.value.start + index * size, size)))
        for x, y, width, height in masks:
            left, right = min(x, columns), min(x + width, columns)
            for row in range(min(y, rows), min(y + height, rows)):
                start = (row * columns + left) * len(pixel)
                frame[start : start + (right - left) * len(pixel)] = pixel * (right - left)
        yield bytes(frame)
    rest = pixels.value.length - size * count
    yield bytes(rest)


def _not_maskable() -> CaptureProblem:
    return CaptureProblem(
        "capture_not_maskable",
        "The burned-in text of this DICOM image cannot be blanked, so it is not sent.",
    )
