"""What is no picture in a PNG decides nothing; pictures of other containers are named for what they are (README.md)."""

import io
import struct
import zlib

import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.imaging.errors import CaptureProblem
from tests.imaging.reading import pictures
from tests.imaging.samples import picture

EXIF_ON_ITS_SIDE = b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + bytes(4)


def chunk(kind: bytes, content: bytes, *, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(kind + content) ^ wrong
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", checksum)


def png_with(*chunks: bytes, mode: str = "RGB") -> bytes:
    """A PNG file with chunks put behind its header."""
    buffer = io.BytesIO()
    picture("RGB", (40, 30)).convert(mode).save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(chunks) + data[33:]


ANCILLARY = {
    "checksum of a profile": chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 100), wrong=True),
    "profile that unfolds to 2 MB": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(2_000_000))),
    "text that unfolds to 2 MB": chunk(b"zTXt", b"word\0\0" + zlib.compress(b"a" * 2_000_000)),
    "international text that unfolds to 2 MB": chunk(
        b"iTXt", b"word\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)
    ),
    "text that is no stream": chunk(b"zTXt", b"word\0\0nonsense"),
    "a density cut short": chunk(b"pHYs", b"\0\0"),
    "a gamma of nothing": chunk(b"gAMA", b""),
    "a chromaticity too long": chunk(b"cHRM", bytes(99)),
    "a time with a wrong checksum": chunk(b"tIME", bytes(7), wrong=True),
    "transparency too short": chunk(b"tRNS", b"\0"),
    "transparency with a wrong checksum": chunk(b"tRNS", bytes(6), wrong=True),
    "a chunk that nobody knows": chunk(b"abCd", b"?" * 100, wrong=True),
    "animation that is none": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("in_range", [True, False])
def test_a_grey_that_is_transparent_is_the_one_that_is_written(convert, tmp_path, depth, in_range):
    most = (1 << depth) - 1
    row = b"\0" + bytes([0b01010101 if depth == 1 else 0b00011011 if depth == 2 else 0x17]) * 5
    key = most if depth < 4 else 7 if depth == 4 else 0x17
    header = struct.pack(">LLBBBBB", 5 * 8 // depth, 40, depth, 0, 0, 0, 0)
    source = tmp_path / "p"
    source.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", struct.pack(">H", key if in_range else key + (1 << depth)))
        + chunk(b"IDAT", zlib.compress(row * 40))
        + chunk(b"IEND", b"")
    )
    shown = pictures(convert(source).path)[0].convert("L")
    greys = {value for _, value in shown.getcolors()}
    assert (key * 255 // most in greys) is not in_range


@pytest.mark.parametrize("what", ANCILLARY)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_is_no_picture_never_refuses_the_picture(convert, tmp_path, what, mode):
    source = tmp_path / "p"
    source.write_bytes(png_with(ANCILLARY[what], mode=mode))
    plain = Image.open(io.BytesIO(png_with(mode=mode))).convert("RGB")
    made = convert(source)
    assert pictures(made.path)[0].tobytes() == plain.tobytes()
    assert pydicom.dcmread(made.path).ImageType[0] == "ORIGINAL"


def test_more_than_a_megabyte_of_text_by_another_library(convert, tmp_path):
    info = PngInfo()
    info.add_itxt("word", "a" * 1_100_000, zip=True)
    source = tmp_path / "p"
    picture("RGB", (20, 20)).save(source, "PNG", pnginfo=info, icc_profile=bytes(1_100_000))
    assert (convert(source).width, convert(source).height) == (20, 20)


def test_transparency_is_picture(convert, tmp_path):
    source = tmp_path / "p"
    source.write_bytes(png_with(chunk(b"tRNS", bytes(6))))
    made = convert(source)
    expected = Image.new("RGBA", (40, 30), (0, 0, 0, 255))
    expected.alpha_composite(Image.open(source).convert("RGBA"))
    assert pictures(made.path)[0].tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_the_picture_itself_is_damage(convert, tmp_path, kind):
    data = bytearray(png_with())
    at = data.index(kind) - 4
    (length,) = struct.unpack_from(">L", data, at)
    data[at + 8 + length] ^= 1
    source = tmp_path / "p"
    source.write_bytes(data)
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


def test_the_orientation_of_a_png_is_applied(convert, tmp_path):
    source = tmp_path / "p"
    source.write_bytes(png_with(chunk(b"eXIf", EXIF_ON_ITS_SIDE)))
    upright = picture("RGB", (40, 30)).transpose(Image.Transpose.ROTATE_270)
    made = convert(source)
    assert pictures(made.path)[0].tobytes() == upright.tobytes()
    assert "upright" in pydicom.dcmread(made.path).DerivationDescription


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx "])
def test_pictures_in_the_container_of_mp4_are_named_for_what_they_are(convert, tmp_path, brand):
    source = tmp_path / "p"
    source.write_bytes(box(b"ftyp", brand + bytes(4) + b"mif1") + box(b"mdat", bytes(400)))
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_wrong_kind"
    assert "HEIC or AVIF" in caught.value.message


@pytest.mark.parametrize("animated", [False, True])
def test_a_real_avif_is_the_wrong_kind(convert, tmp_path, animated):
    source = tmp_path / "p"
    more = {"save_all": True, "append_images": [picture(turn=40)]} if animated else {}
    picture().save(source, "AVIF", **more)
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_wrong_kind"


def box(kind: bytes, content: bytes) -> bytes:
    """A box of ISO 14496-12."""
    return struct.pack(">L4s", 8 + len(content), kind) + content
