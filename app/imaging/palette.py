"""A scanner's colour palette (PS3.3 C.7.6.3.1.5, C.7.9.2): whether it is whole, and where its numbers end."""

import struct

from pydicom.dataset import Dataset

from app.imaging import quiet  # noqa: F401 - pydicom is never imported without it

COLOURS = ("Red", "Green", "Blue")
PALETTE_COLOR = "PALETTE COLOR"

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def kept_palette(dataset: Dataset) -> dict[str, bytes | list[int]] | None:
    """Keyword -> value of a whole palette, descriptors and tables, with nothing behind its last number.

    Plain tables or segmented ones, as the object has them. None when the object has no whole palette.
    """
    kept: dict[str, bytes | list[int]] = {}
    for colour in COLOURS:
        name = f"{colour}PaletteColorLookupTable"
        descriptor = _descriptor(dataset, f"{name}Descriptor")
        if descriptor is None:
            return None
        entries, bits = descriptor[0] or 65_536, descriptor[2]
        kept[f"{name}Descriptor"] = descriptor
        plain, segmented = dataset.get(f"{name}Data"), dataset.get(f"Segmented{name}Data")
        if plain:
            used = plain_bytes(len(_as_bytes(plain)), entries=entries, bits=bits)
            keyword, value = f"{name}Data", _as_bytes(plain)
        elif segmented:
            used = segmented_bytes(_as_bytes(segmented), entries=entries, bits=bits)
            keyword, value = f"Segmented{name}Data", _as_bytes(segmented)
        else:
            return None
        if used is None:
            return None
        kept[keyword] = value[:used] + b"\0" * (used % 2)
    return kept


def plain_bytes(held: int, *, entries: int, bits: int) -> int | None:
    """How many bytes of a plain table are numbers; None when there are too few."""
    for size in (entries * 2, entries):
        # 8-bit entries are written as bytes or, by many scanners, as words
        if held >= size and (size == entries * 2 or bits == 8):
            return size
    return None


def segmented_bytes(data: bytes, *, entries: int, bits: int) -> int | None:
    """How many bytes of a segmented table it takes to make `entries` numbers; None when it is not whole."""
    width = 1 if bits == 8 else 2
    count = len(data) // width
    words = struct.unpack(f"<{count}{'B' if width == 1 else 'H'}", data[: count * width])
    position = unfolded = 0
    lengths: dict[int, int] = {}
    while unfolded < entries:
        if position + 2 > count:
            return None
        opcode, length = words[position], words[position + 1]
        if opcode == _DISCRETE:
            lengths[position * width] = length
            position += 2 + length
        elif opcode == _LINEAR:
            lengths[position * width] = length
            position += 3
        elif opcode == _INDIRECT:
            # `length` segments are repeated from a byte offset, low part first (C.7.9.2.3)
            size = 4 if width == 1 else 2
            if position + 2 + size > count:
                return None
            parts = words[position + 2 : position + 2 + size]
            offset = sum(part << (8 * width * index) for index, part in enumerate(parts))
            repeated = [made_of for place, made_of in sorted(lengths.items()) if place >= offset][:length]
            if offset not in lengths or len(repeated) != length:
                return None
            length = sum(repeated)
            position += 2 + size
        else:
            return None
        unfolded += length
    if unfolded != entries or position > count:
        return None
    return position * width


def _descriptor(dataset: Dataset, keyword: str) -> list[int] | None:
    """Entries, first value mapped, bits; None when it is no descriptor."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, (int, str, bytes)):
        return None
    numbers = [int(number) for number in value]
    if len(numbers) != 3 or numbers[2] not in (8, 16):
        return None
    return numbers


def _as_bytes(value: object) -> bytes:
    """Table data are OW; some writers say US, and pydicom reads these as numbers."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
        return b"".join(struct.pack("<H", int(number) & 0xFFFF) for number in value)
    return b""
