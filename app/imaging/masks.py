"""Blanks the rectangles in which a scanner burns demographics; it must not touch other pixels."""

from collections.abc import Iterable

from PIL import Image

from app.imaging.subjects import Rectangle

DERIVATION = "areas with burned-in text blanked"


def blank(image: Image.Image, masks: Iterable[Rectangle]) -> None:
    """Fill each rectangle with black, in place; parts outside the image are ignored."""
    for x, y, width, height in masks:
        left, top = min(x, image.width), min(y, image.height)
        right, bottom = min(x + width, image.width), min(y + height, image.height)
        if right > left and bottom > top:
            image.paste(black(image.mode), (left, top, right, bottom))


def black(mode: str) -> int | tuple[int, ...]:
    """Black in a Pillow mode that we work in (`L`, `RGB`, `YCbCr`)."""
    if mode == "L":
        return 0
    return (0, 128, 128) if mode == "YCbCr" else (0, 0, 0)
