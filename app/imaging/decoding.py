"""Still images decoded to 8-bit RGB within bounds; it must not write, and not guess at damage."""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import av
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from PIL import Image, ImageFile, PngImagePlugin

from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import Jpeg, exif_orientation
from app.imaging.limits import MAX_IMAGE_PIXELS

Image.MAX_IMAGE_PIXELS = MAX_IMAGE_PIXELS
ImageFile.LOAD_TRUNCATED_IMAGES = False

EXACT_SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
)
"""Without these flags the result depends on the processor's instruction set."""

_FIRST_ARITHMETIC_PROCESS = 9
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 13
_PNG_ANCILLARY = 0x20
_PNG_GREY, _PNG_RGB, _PNG_PALETTE = 0, 2, 3

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""All that Pillow's readers raise on damaged data."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what puts the picture upright."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB image and, in words, what was done to its samples (empty: nothing)."""

    image: Image.Image
    changes: tuple[str, ...]


def check_decodes(jpeg: Jpeg) -> None:
    """Read the whole of a JPEG at an eighth of its size, so that damage is found before sending."""
    check_size(jpeg.width, jpeg.height)
    with _opened(jpeg.data) as image:
        image.draft(image.mode, (max(1, jpeg.width // 8), max(1, jpeg.height // 8)))
        _load(image)


def check_strictly(jpeg: Jpeg) -> None:
    """Decode a JPEG with a decoder that ends at the first wrong code, for the kinds whose codes are not walked.

    Arithmetic codes are refused: no decoder at hand tells damaged ones from whole ones.
    """
    if jpeg.process >= _FIRST_ARITHMETIC_PROCESS:
        raise CaptureProblem(
            "capture_unreadable",
            "The image is coded arithmetically, which viewers and this bridge do not read.",
        )
    context = av.CodecContext.create("mjpeg", "r")
    context.thread_count = 1
    context.options = {"err_detect": "explode"}
    try:
        frames = [*context.decode(av.Packet(jpeg.data)), *context.decode(None)]
    except av.error.FFmpegError as error:
        raise _damaged() from error
    if len(frames) != 1:
        raise _damaged()


def decode_jpeg(jpeg: Jpeg) -> Decoded:
    """Decode any JPEG that Pillow or FFmpeg reads (12 bit). CaptureProblem when neither can."""
    check_size(jpeg.width, jpeg.height)
    changes = ["decompressed from JPEG"]
    if jpeg.precision == 8:
        with _opened(jpeg.data) as image:
            _load(image)
            if image.mode == "CMYK":
                changes.append("converted from CMYK")
            rgb = image.convert("RGB")
    else:
        changes.append(f"reduced from {jpeg.precision} to 8 bits")
        rgb = _decode_deep_jpeg(jpeg)
    if jpeg.orientation in _TRANSPOSE:
        changes.append("turned upright")
        rgb = rgb.transpose(_TRANSPOSE[jpeg.orientation])
    return Decoded(rgb, tuple(changes))


def decode_png(data: bytes) -> Decoded:
    """Decode a PNG of any mode; transparency is flattened onto black, as ultrasound is shown."""
    chunks = _png_chunks(data)
    changes = []
    with _opened(_without_ancillary(chunks)) as image:
        if not isinstance(image, PngImagePlugin.PngImageFile):
            raise _unreadable()
        check_size(image.width, image.height)
        _load(image)
        if image.mode == "I;16":
            changes.append("reduced from 16 to 8 bits")
            rgb = image.point(lambda value: value * (1 / 256) + 0).convert("L").convert("RGB")
        elif image.has_transparency_data:
            rgba = image.convert("RGBA")
            rgb = Image.new("RGB", image.size, (0, 0, 0))
            rgb.paste(rgba, mask=rgba.getchannel("A"))
            if rgba.getchannel("A").getextrema() != (255, 255):
                changes.append("transparency flattened onto black")
        else:
            rgb = image.convert("RGB")
    turn = _TRANSPOSE.get(_png_orientation(chunks))
    if turn is not None:
        changes.append("turned upright")
        rgb = rgb.transpose(turn)
    return Decoded(rgb, tuple(changes))


def check_size(width: int, height: int) -> None:
    """CaptureProblem `capture_too_large` beyond MAX_IMAGE_PIXELS or DICOM's 65535 rows."""
    if width * height > MAX_IMAGE_PIXELS or max(width, height) > 65_535:
        raise CaptureProblem(
            "capture_too_large", f"The image measures {width} x {height} pixels, which is too large."
        )


def _opened(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CaptureProblem("capture_too_large", "The image has too many pixels to be read.") from error
    except _DAMAGE as error:
        raise _unreadable() from error


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except _DAMAGE as error:
        if "truncated" in str(error):
            raise CaptureProblem("capture_truncated", "The image ends before it is complete.") from error
        raise _unreadable() from error


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes, bool]]:
    """Name, content and whether its checksum is right, of every chunk (PNG 5.3) to IEND: less is not a picture."""
    position = len(_PNG_SIGNATURE)
    chunks = []
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        content = data[position + 8 : end - 4]
        chunks.append((kind, content, data[end - 4 : end] == _checksum(kind, content)))
        if kind == b"IEND":
            return chunks
        position = end
    raise CaptureProblem("capture_truncated", "The image ends before it is complete.")


def _without_ancillary(chunks: list[tuple[bytes, bytes, bool]]) -> bytes:
    """The file without what is not picture: text, profiles and times, however large or wrong, decide nothing.

    Transparency is picture although the standard calls it ancillary; a wrong one is passed over, as by others.
    """
    kept = [_PNG_SIGNATURE]
    depth, colour = chunks[0][1][8:10] if len(chunks[0][1]) == _PNG_HEADER_BYTES else (0, -1)
    for kind, content, right in chunks:
        critical = not kind[0] & _PNG_ANCILLARY
        if critical and not right:
            raise _damaged()
        if critical or (kind == b"tRNS" and right and _fits(content, depth, colour)):
            data = _as_compared(content, depth, colour) if kind == b"tRNS" else content
            kept.append(struct.pack(">L4s", len(data), kind) + data + _checksum(kind, data))
    return b"".join(kept)


def _fits(transparency: bytes, depth: int, colour: int) -> bool:
    """Whether a tRNS chunk is as long as its colour type wants it, and names samples that exist (PNG 11.3.2.1)."""
    if colour == _PNG_PALETTE:
        return 1 <= len(transparency) <= 256
    if len(transparency) != {_PNG_GREY: 2, _PNG_RGB: 6}.get(colour, -1):
        return False
    samples: tuple[int, ...] = struct.unpack(f">{len(transparency) // 2}H", transparency)
    return max(samples) < 1 << depth


def _as_compared(transparency: bytes, depth: int, colour: int) -> bytes:
    """What Pillow compares with: a grey sample that it widened to eight bits, not the one that is written."""
    if colour != _PNG_GREY or depth >= 8:
        return transparency
    sample = int.from_bytes(transparency, "big")
    return (sample * 255 // ((1 << depth) - 1)).to_bytes(2, "big")


def _png_orientation(chunks: list[tuple[bytes, bytes, bool]]) -> int:
    """The orientation that an eXIf chunk asks for (PNG 11.3.4.6); 1 without one."""
    return next(
        (exif_orientation(content) for kind, content, right in chunks if kind == b"eXIf" and right), 1
    )


def _checksum(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", zlib.crc32(content, zlib.crc32(kind)))


def _decode_deep_jpeg(jpeg: Jpeg) -> Image.Image:
    """A JPEG of more than 8 bits a sample, which Pillow does not read, through FFmpeg."""
    context = av.CodecContext.create("mjpeg", "r")
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(jpeg.data)), *context.decode(None)]
    except av.error.FFmpegError as error:
        raise _unreadable() from error
    if len(frames) != 1 or not isinstance(frames[0], VideoFrame):
        raise _unreadable()
    frame = frames[0].reformat(
        format="rgb24",
        interpolation=EXACT_SCALING,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG,
    )
    plane = frame.planes[0]
    return Image.frombytes("RGB", (frame.width, frame.height), bytes(plane), "raw", "RGB", plane.line_size)


def _damaged() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The image is damaged: part of it cannot be shown.")


def _unreadable() -> CaptureProblem:
    return CaptureProblem("capture_unreadable", "The image is damaged and cannot be read.")
