"""Makes synthetic captures, good and bad: the same kind, seed and size give the same bytes every time.

Only bytes are made here; `clarius/captures.py` keeps and serves them. Nothing shows a real person.
"""

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from math import ceil, sqrt

from PIL import Image, ImageDraw, PngImagePlugin

from sandbox.video import make_mp4

STILL_SIZE_PIXELS = (160, 120)
NOISE_BYTES_PER_PIXEL = 1.15
ENDLESS_CHUNK = b"\xff\xd8\xff\xe0" + bytes(65_532)

Maker = Callable[[int, int | None, str], bytes]


@dataclass(frozen=True, slots=True)
class Made:
    """A capture's bytes as Clarius would serve them. `endless` replaces `content` for streams without end."""

    kind: str
    content: bytes
    content_type: str
    suffix: str
    endless: bool = False


def make_capture(kind: str, *, seed: int, size_bytes: int | None = None, canary: str = "") -> Made:
    """One capture. `size_bytes` asks for at least about that much; `canary` is hidden where metadata can hide.

    KeyError for an unknown kind; `KINDS` lists them.
    """
    maker, content_type, suffix = KINDS[kind]
    if kind == "endless":
        return Made(kind, b"", content_type, suffix, endless=True)
    return Made(kind, maker(seed, size_bytes, canary), content_type, suffix)


def endless_chunks() -> Iterator[bytes]:
    """A body that starts like a JPEG and never ends."""
    return repeat(ENDLESS_CHUNK)


def scan_image(seed: int, *, mode: str = "RGB", size: tuple[int, int] = STILL_SIZE_PIXELS) -> Image.Image:
    """A fan of grey speckle with a few coloured marks: looks like an ultrasound still from far away."""
    dice = random.Random(seed)
    width, height = size
    speckle = Image.frombytes("L", (width // 4, height // 4), dice.randbytes((width // 4) * (height // 4)))
    image = Image.new("RGB", size)
    fan = Image.new("L", size)
    ImageDraw.Draw(fan).pieslice((-width // 4, -height, width + width // 4, height - 4), 50, 130, fill=255)
    image.paste(speckle.resize(size, Image.Resampling.BILINEAR).convert("RGB"), mask=fan)
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = dice.randrange(width), dice.randrange(height)
        draw.ellipse((x, y, x + 9, y + 9), fill=(dice.randrange(256), dice.randrange(256), 255))
    return image.convert(mode)


def _noise(seed: int, size_bytes: int) -> Image.Image:
    side = ceil(sqrt(size_bytes / NOISE_BYTES_PER_PIXEL) / 16) * 16
    return Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3))


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _jpeg(mode: str, **options: object) -> Maker:
    def make(seed: int, size_bytes: int | None, canary: str) -> bytes:
        image = _noise(seed, size_bytes).convert(mode) if size_bytes else scan_image(seed, mode=mode)
        extra = dict(options)
        if canary:
            exif = Image.Exif()
            exif[0x010E], exif[0x013B] = canary, canary  # ImageDescription, Artist
            extra |= {"exif": exif, "comment": canary}
        return _encoded(image, "JPEG", quality=95 if size_bytes else 85, **extra)

    return make


def _png(mode: str) -> Maker:
    def make(seed: int, size_bytes: int | None, canary: str) -> bytes:
        # A 16 bit grey PNG is Pillow's "I;16"; there is no direct conversion from colour.
        source = "L" if mode == "I;16" else mode
        image = (
            _noise(seed, (size_bytes or 0) // 2).convert(source)
            if size_bytes
            else scan_image(seed, mode=source)
        )
        if mode == "I;16":
            wide = b"".join(bytes((low * 37 % 256, low)) for low in image.tobytes())
            image = Image.frombytes("I;16", image.size, wide)
        if mode == "RGBA":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        text = PngImagePlugin.PngInfo()
        if canary:
            text.add_text("Comment", canary)
        return _encoded(image, "PNG", pnginfo=text)

    return make


def _mp4(profile: str) -> Maker:
    def make(seed: int, size_bytes: int | None, canary: str) -> bytes:
        def frame(index: int) -> Image.Image:
            if size_bytes is None:
                return scan_image(seed * 1000 + index)
            return Image.frombytes(
                "RGB", (640, 480), random.Random(seed * 1000 + index).randbytes(640 * 480 * 3)
            )

        return make_mp4(frame, profile=profile, size_bytes=size_bytes, title=canary)

    return make


def _half_of(maker: Maker) -> Maker:
    def make(seed: int, size_bytes: int | None, canary: str) -> bytes:
        whole = maker(seed, size_bytes, canary)
        return whole[: len(whole) // 2]

    return make


def _empty(_seed: int, _size_bytes: int | None, _canary: str) -> bytes:
    return b""


def _html(seed: int, _size_bytes: int | None, canary: str) -> bytes:
    return (
        f"<!DOCTYPE html><html><title>Sign in</title><p>Please sign in ({seed}). {canary}</p></html>".encode()
    )


def _text(seed: int, size_bytes: int | None, canary: str) -> bytes:
    return f"This is capture {seed}, and it is not an image. {canary}\n".encode() * max(
        1, (size_bytes or 0) // 60
    )


KINDS: dict[str, tuple[Maker, str, str]] = {
    "jpeg": (_jpeg("RGB"), "image/jpeg", "jpg"),
    "jpeg-grey": (_jpeg("L"), "image/jpeg", "jpg"),
    "jpeg-progressive": (_jpeg("RGB", progressive=True), "image/jpeg", "jpg"),
    "jpeg-cmyk": (_jpeg("CMYK"), "image/jpeg", "jpg"),
    "png": (_png("RGB"), "image/png", "png"),
    "png-rgba": (_png("RGBA"), "image/png", "png"),
    "png-palette": (_png("P"), "image/png", "png"),
    "png-grey16": (_png("I;16"), "image/png", "png"),
    "mp4": (_mp4("high"), "video/mp4", "mp4"),
    "mp4-baseline": (_mp4("baseline"), "video/mp4", "mp4"),
    "jpeg-truncated": (_half_of(_jpeg("RGB")), "image/jpeg", "jpg"),
    "mp4-truncated": (_half_of(_mp4("high")), "video/mp4", "mp4"),
    "mislabelled": (_png("RGB"), "image/jpeg", "jpg"),
    "empty": (_empty, "image/jpeg", "jpg"),
    "html": (_html, "text/html; charset=utf-8", "html"),
    "text": (_text, "text/plain", "txt"),
    "endless": (_empty, "image/jpeg", "jpg"),
}
GOOD_KINDS = (
    "jpeg",
    "jpeg-grey",
    "jpeg-progressive",
    "jpeg-cmyk",
    "png",
    "png-rgba",
    "png-palette",
    "png-grey16",
    "mp4",
    "mp4-baseline",
)
