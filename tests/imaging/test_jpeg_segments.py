"""Nothing is left of a JPEG but what its scans read: no segment is a place for words, and ordinary files stay as they are."""

import io
import struct

import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from app.imaging.jpeg import read_jpeg
from tests.imaging.samples import CANARY, CASE, context_for, picture, scanner_dicom

WORDS = CANARY.encode()


def jpeg_bytes(mode="RGB", **options):
    buffer = io.BytesIO()
    picture(mode, (64, 48)).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def headers(data):
    """Marker, place and length of each segment up to the first scan."""
    position, found = 2, []
    while not found or found[-1][0] != 0xDA:
        (length,) = struct.unpack_from(">H", data, position + 2)
        found.append((data[position + 1], position, length))
        position += 2 + length
    return found


def segment(marker, payload):
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def variants():
    """JPEGs with words in every kind of segment: behind its end, in one more of it, in a table that nothing reads."""
    data = jpeg_bytes()
    for number, (marker, at, length) in enumerate(headers(data)):
        longer = segment(marker, data[at + 4 : at + 2 + length] + WORDS)
        yield f"behind-{marker:02x}-{number}", data[:at] + longer + data[at + 2 + length :]
    first, scan = headers(data)[0][1], headers(data)[-1][1]
    for marker in (0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xDE, 0xE1, 0xEF, 0xF0, 0xFD, 0xFE):
        for where, at in (("first", first), ("scan", scan), ("end", len(data) - 2)):
            yield f"more-{marker:02x}-{where}", data[:at] + segment(marker, WORDS) + data[at:]
    unread = {
        "quantisation": segment(0xDB, b"\x03" + (WORDS * 5)[:64]),
        "overruled": segment(0xDB, b"\x00" + (WORDS * 5)[:64]),
        "huffman": segment(0xC4, b"\x03" + bytes([0, 0, 0, 0, len(WORDS), *([0] * 11)]) + WORDS),
        "restart": segment(0xDD, b"\0\0" + WORDS),
    }
    for name, content in unread.items():
        yield f"unread-{name}", data[:first] + content + data[first:]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in variants()])
@pytest.mark.parametrize("as_dicom", [False, True])
def test_no_segment_is_a_place_for_words(tmp_path, data, as_dicom):
    source = tmp_path / "d"
    if as_dicom:
        dataset = pydicom.dcmread(scanner_dicom(source, compressed=True))
        dataset.PixelData = encapsulate([data])
        dataset.save_as(source)
    else:
        source.write_bytes(data)
    try:
        (made,) = convert_capture(source, tmp_path / "out", context_for(CASE), CASE, capture_index=0)
    except CaptureProblem:
        # refused is as good: nothing leaves
        return
    assert WORDS not in made.path.read_bytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}]
)
def test_of_an_ordinary_jpeg_every_byte_stays(mode, options):
    data = jpeg_bytes(mode, **options)
    assert read_jpeg(data).data == data


def test_tables_that_are_defined_anew_between_scans_all_stay():
    data = jpeg_bytes(progressive=True, optimize=True)
    assert data.count(b"\xff\xda") > 3
    shown = Image.open(io.BytesIO(read_jpeg(data).data))
    assert shown.convert("RGB").tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()
