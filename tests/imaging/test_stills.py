"""JPEG and PNG captures as US Image objects: pixels, bytes and refusals."""

import io

import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from app.imaging.errors import CaptureProblem
from tests.imaging.reading import mean_difference, pictures
from tests.imaging.samples import CANARY, jpeg, jpeg_with_secrets, picture, png, turned_jpeg, twelve_bit_jpeg


def test_a_baseline_jpeg_is_wrapped_without_touching_a_byte(convert, tmp_path):
    source = jpeg(tmp_path / "a")
    made = convert(source)
    dataset = pydicom.dcmread(made.path)
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    assert frame.rstrip(b"\0") == source.read_bytes()
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    assert made.transfer_syntax == "1.2.840.10008.1.2.4.50"
    assert made.sop_class_uid == "1.2.840.10008.5.1.4.1.1.6.1"
    assert (made.width, made.height, made.frames) == (160, 120, 1)
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert dataset.LossyImageCompression == "01"


def test_one_component_is_monochrome(convert, tmp_path):
    dataset = pydicom.dcmread(convert(jpeg(tmp_path / "g", "L")).path)
    assert (dataset.PhotometricInterpretation, dataset.SamplesPerPixel) == ("MONOCHROME2", 1)
    assert "PlanarConfiguration" not in dataset
    assert (dataset.WindowCenter, dataset.WindowWidth) == (128, 256)


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"progressive": True}), ("RGB", {"keep_rgb": True}), ("CMYK", {}), ("L", {"progressive": True})],
)
def test_other_jpegs_are_decoded_exactly(convert, tmp_path, mode, options):
    source = jpeg(tmp_path / "p", mode, **options)
    made = convert(source)
    dataset = pydicom.dcmread(made.path)
    assert made.transfer_syntax == "1.2.840.10008.1.2.1"
    assert dataset.PhotometricInterpretation == "RGB"
    assert dataset.ImageType[0] == "DERIVED"
    assert dataset.DerivationDescription
    assert pictures(made.path)[0].tobytes() == Image.open(source).convert("RGB").tobytes()


def test_twelve_bits_are_reduced_to_eight(convert, tmp_path):
    made = convert(twelve_bit_jpeg(tmp_path / "twelve"))
    (image,) = pictures(made.path)
    assert image.size == (64, 48)
    for x, y in [(0, 0), (10, 10), (60, 40)]:
        assert abs(image.getpixel((x, y))[0] - (60 * x + 4 * y) / 16) < 2


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_png_pixels_arrive_exactly(convert, tmp_path, mode):
    source = png(tmp_path / "p", mode)
    made = convert(source)
    dataset = pydicom.dcmread(made.path)
    assert pictures(made.path)[0].tobytes() == Image.open(source).convert("RGB").tobytes()
    assert dataset.ImageType[0] == "ORIGINAL"
    assert dataset.LossyImageCompression == "00"
    assert len(dataset.PixelData) % 2 == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_flattened_onto_black(convert, tmp_path, mode):
    source = png(tmp_path / "p", mode)
    expected = Image.new("RGBA", (161, 121), (0, 0, 0, 255))
    expected.alpha_composite(Image.open(source).convert("RGBA"))
    made = convert(source)
    assert mean_difference(pictures(made.path)[0], expected) < 0.5
    assert pydicom.dcmread(made.path).ImageType[0] == "DERIVED"


def test_sixteen_bit_png_keeps_its_high_byte(convert, tmp_path):
    made = convert(png(tmp_path / "p", "I;16"))
    expected = picture("RGB", (161, 121)).convert("L").convert("RGB")
    assert pictures(made.path)[0].tobytes() == expected.tobytes()


def test_exif_orientation_is_applied_before_it_is_lost(convert, tmp_path):
    source = turned_jpeg(tmp_path / "turned")
    made = convert(source)
    assert (made.width, made.height) == (120, 160)
    upright = Image.open(source).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    assert pictures(made.path)[0].tobytes() == upright.tobytes()


def test_metadata_goes_and_samples_stay(convert, tmp_path):
    source = jpeg_with_secrets(tmp_path / "s", CANARY)
    assert source.read_bytes().count(CANARY.encode()) >= 5
    made = convert(source)
    assert CANARY.encode() not in made.path.read_bytes()
    assert pictures(made.path)[0].tobytes() == Image.open(source).convert("RGB").tobytes()


def test_masks_blank_the_rectangles_and_nothing_else(convert, tmp_path):
    source = jpeg(tmp_path / "m")
    made = convert(source, burned_in="mask", masks=((10, 5, 40, 20), (150, 110, 500, 500)))
    (image,) = pictures(made.path)
    original = Image.open(source).convert("RGB")
    assert image.crop((10, 5, 50, 25)).getextrema() == ((0, 0),) * 3
    assert image.crop((150, 110, 160, 120)).getextrema() == ((0, 0),) * 3
    for box in [(0, 0, 160, 5), (0, 25, 160, 110), (50, 5, 160, 25), (0, 5, 10, 25)]:
        assert image.crop(box).tobytes() == original.crop(box).tobytes()
    dataset = pydicom.dcmread(made.path)
    assert dataset.ImageType[0] == "DERIVED"
    assert dataset.BurnedInAnnotation == "NO"
    assert "blanked" in dataset.DerivationDescription


@pytest.mark.parametrize("make", [jpeg, png])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_cut_picture_is_truncated(convert, tmp_path, make, share):
    source = make(tmp_path / "cut")
    data = source.read_bytes()
    source.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_truncated"


def test_nonsense_inside_a_jpeg_is_unreadable(convert, tmp_path):
    source = tmp_path / "bad"
    source.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + b"\x01" * 300)
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_unreadable"


def test_a_picture_that_claims_too_many_pixels_is_refused(convert, tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    source = tmp_path / "bomb"
    source.write_bytes(buffer.getvalue())
    assert source.stat().st_size < 200_000
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_too_large"
