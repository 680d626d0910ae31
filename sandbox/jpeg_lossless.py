"""Encodes an 8-bit grey image as lossless JPEG (process 14, selection value 1): no library at hand writes it.

ITU-T T.81 annex H: each sample is predicted by its left neighbour (the first of a row by the one above) and
the difference is coded as a size category, by Huffman code, followed by its bits.
"""

import struct

from PIL import Image

# Nine categories (0–8 bits) are enough for 8-bit samples; codes of 4 bits for all keep the table plain.
CATEGORIES = 9
CODE_BITS = 4
FIRST_PREDICTION = 128


def encode_grey(image: Image.Image) -> bytes:
    """A JPEG stream of an "L" image, from SOI to EOI."""
    width, height = image.size
    samples = image.tobytes()
    bits: list[str] = []
    for row in range(height):
        at = row * width
        left = FIRST_PREDICTION if row == 0 else samples[at - width]
        for sample in samples[at : at + width]:
            difference, left = sample - left, sample
            size = abs(difference).bit_length()
            bits.append(format(size, f"0{CODE_BITS}b"))
            if size:
                value = difference if difference > 0 else difference + (1 << size) - 1
                bits.append(format(value, f"0{size}b"))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    packed = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")
    lengths = bytes(CATEGORIES if n == CODE_BITS else 0 for n in range(1, 17))
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xC3, struct.pack(">BHHB", 8, height, width, 1) + bytes((1, 0x11, 0))),
            _segment(0xC4, b"\x00" + lengths + bytes(range(CATEGORIES))),
            _segment(0xDA, bytes((1, 1, 0x00, 1, 0, 0))),
            packed,
            b"\xff\xd9",
        )
    )


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
