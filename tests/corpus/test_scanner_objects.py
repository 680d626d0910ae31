"""DICOM objects of other makers: what their makers left out or did their own way costs no picture, and tells nothing."""

import io
import struct
from pathlib import Path

import pydicom
import pytest
from PIL import Image, ImageChops, ImageStat
from pydicom.data import get_testdata_file
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from app.imaging.check import check_file
from app.imaging.convert import convert_capture
from app.imaging.errors import CaptureProblem
from tests.imaging.samples import CANARY, CASE, HUMAN, context_for, picture, scanner_dicom

MASK = {"burned_in": "mask", "masks": ((0, 0, 8, 8),)}


@pytest.fixture
def convert(tmp_path):
    """Convert one file; the object that came of it, read, which has passed our own check."""

    def run(source, subject=HUMAN, **changes):
        context = context_for(subject, **changes)
        (made,) = convert_capture(source, tmp_path / "made", context, subject, capture_index=0)
        assert check_file(made.path) == []
        return pydicom.dcmread(made.path)

    return run


def of_pydicom(name):
    """A file that comes with pydicom."""
    found = get_testdata_file(name, download=False)
    assert found, f"pydicom does not ship {name} any more"
    return Path(found)


def samples(dataset):
    """The decoded samples of all frames."""
    return bytes(get_decoder(dataset.file_meta.TransferSyntaxUID).as_buffer(dataset)[0])


def changed(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def jpeg_of(image, *, adobe=True, **options):
    """JPEG bytes; without the header in which encoders say whether the samples are RGB."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    data = buffer.getvalue()
    start = data.find(b"\xff\xee")
    if adobe or start < 0:
        return data
    (length,) = struct.unpack_from(">H", data, start + 2)
    return data[:start] + data[start + 2 + length :]


@pytest.mark.parametrize("name", ["examples_palette.dcm", "examples_ybr_color.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_a_file_cut_anywhere_is_the_captures_problem(tmp_path, name):
    whole = of_pydicom(name).read_bytes()
    source = tmp_path / "cut"
    for length in [*range(140, min(3_400, len(whole) - 3), 97), len(whole) // 2, len(whole) - 3]:
        source.write_bytes(whole[:length])
        with pytest.raises(CaptureProblem) as caught:
            convert_capture(source, tmp_path / "out", context_for(HUMAN), HUMAN, capture_index=0)
        assert caught.value.code in ("capture_truncated", "capture_unreadable", "missing_attribute")
        assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "name",
    [
        "examples_ybr_color.dcm",
        "examples_palette.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_rle_2frame.dcm",
        "SC_rgb_jpeg.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "MR_small_bigendian.dcm",
        "liver_1frame.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore:Expected explicit VR")
@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
def test_what_a_maker_left_out_costs_no_picture(convert, name, subject):
    """A method of compression, an increment pointer, a modality, a preamble that fits: none of it shows a picture."""
    source, made = pydicom.dcmread(of_pydicom(name)), convert(of_pydicom(name), subject)
    assert (made.Rows, made.Columns) == (source.Rows, source.Columns)
    assert made.get("NumberOfFrames", 1) == source.get("NumberOfFrames", 1)
    assert made.Modality == (source.get("Modality") or "US")
    syntax = source.file_meta.TransferSyntaxUID
    if syntax not in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"):
        assert samples(made) == samples(source)


@pytest.mark.parametrize(
    "said",
    [
        {"LossyImageCompression": "01", "LossyImageCompressionMethod": None},
        {"FrameIncrementPointer": None, "FrameTime": None},
        {"FrameIncrementPointer": None},
        {"Modality": "us", "PhotometricInterpretation": "ybr_full_422"},
        {"FrameIncrementPointer": 0x00181065},
        {"FrameTimeVector": [0, 20, 20, 20, 20], "FrameIncrementPointer": 0x00181065},
        {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"},
        {"ImageType": None, "PlanarConfiguration": None, "HighBit": None, "BitsStored": None},
        {"SeriesInstanceUID": None, "Manufacturer": None, "Modality": None},
        {"ContentDate": "2026.03.04", "ContentTime": "05:06:07.5", "AcquisitionDate": "yesterday"},
        {"MechanicalIndex": None, "SeriesNumber": None, "InstanceNumber": None},
    ],
    ids=lambda said: "-".join(said)[:40],
)
@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
def test_nothing_that_shows_no_picture_is_asked_of_others(convert, tmp_path, said, subject):
    def say(dataset):
        with pydicom.config.disable_value_validation():
            for keyword, value in said.items():
                if value is not None:
                    setattr(dataset, keyword, value)
                elif keyword in dataset:
                    delattr(dataset, keyword)

    made = convert(changed(scanner_dicom(tmp_path / "d", compressed=True, frames=3), say), subject)
    assert len(list(generate_frames(made.PixelData, number_of_frames=3))) == 3
    if subject is HUMAN:
        # the object has an identity again, and must not say that it was removed
        assert "PatientIdentityRemoved" not in made
        assert "DeidentificationMethod" not in made
        assert "yesterday" not in str(made)
        assert ("FrameIncrementPointer" in made) == ("FrameTime" in made or "FrameTimeVector" in made)
        if "ContentDate" in said:
            assert (made.ContentDate, made.ContentTime) == ("20260304", "050607.5")


@pytest.mark.parametrize("said", [None, 0])
def test_no_number_of_frames_is_one_frame(convert, tmp_path, said):
    source = changed(scanner_dicom(tmp_path / "d"), lambda dataset: setattr(dataset, "NumberOfFrames", said))
    for subject in (HUMAN, CASE):
        assert convert(source, subject).get("NumberOfFrames", 1) == 1


def test_a_value_that_is_none_in_a_side_matter_costs_no_picture(convert, tmp_path):
    source = scanner_dicom(tmp_path / "d")
    source.write_bytes(source.read_bytes().replace(b"DS\x04\x000.7 ", b"DS\x04\x000,7 "))
    assert "MechanicalIndex" not in convert(source)


@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
@pytest.mark.parametrize("implicit", [False, True])
def test_what_stands_behind_the_last_pixel_is_left_behind(convert, tmp_path, subject, implicit):
    source = scanner_dicom(tmp_path / "d", frames=3)

    def append(dataset):
        if implicit:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        dataset.PixelData += CANARY.encode() + b"\0"

    before = pydicom.dcmread(source).PixelData
    made = convert(changed(source, append), subject)
    assert made.PixelData == before


def test_masked_pixels_end_where_the_picture_ends(convert, tmp_path):
    source = changed(
        scanner_dicom(tmp_path / "d"),
        lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + b"AB" * 9),
    )
    assert len(convert(source, **MASK).PixelData) == 48 * 64 * 3


@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
@pytest.mark.parametrize(
    "changes", [{}, {"burned_in": "mask", "masks": ((0, 1, 1, 1), (2, 2, 1, 1))}], ids=["plain", "masked"]
)
def test_bytes_that_lie_in_big_endian_words_are_read_in_their_order(convert, changes, subject):
    # the last of an odd number lies behind the pad byte
    swapped = convert(of_pydicom("SC_rgb_small_odd_big_endian.dcm"), subject, **changes)
    plain = convert(of_pydicom("SC_rgb_small_odd.dcm"), subject, **changes)
    assert swapped["PixelData"].VR == "OB"
    assert swapped.PixelData == plain.PixelData
    assert len(set(plain.PixelData[:-1])) > 3


def test_text_behind_the_runs_of_rle_is_left_behind(convert, tmp_path):
    def append(dataset):
        frames = list(generate_frames(dataset.PixelData, number_of_frames=2))
        dataset.PixelData = encapsulate([frame + CANARY.encode() for frame in frames])

    source = tmp_path / "d"
    source.write_bytes(of_pydicom("SC_rgb_rle_2frame.dcm").read_bytes())
    before = samples(pydicom.dcmread(source))
    made = convert(changed(source, append), CASE)
    assert CANARY.encode() not in made.PixelData
    assert samples(made) == before


@pytest.mark.parametrize(
    ("photometric", "declared"),
    [("RGB", {"keep_rgb": True, "adobe": False}), ("RGB", {"keep_rgb": True}), ("YBR_FULL_422", {})],
    ids=["rgb-nothing-said", "rgb", "ybr"],
)
def test_a_mask_leaves_the_colours_that_the_object_declares(convert, tmp_path, photometric, declared):
    """pydicom#826 and its like: RGB samples whose JPEG has no Adobe header, which decoders take for YCbCr."""
    image = picture("RGB", (64, 48))

    def say(dataset):
        dataset.PhotometricInterpretation = photometric
        dataset.PixelData = encapsulate([jpeg_of(image, **declared)])

    made = convert(changed(scanner_dicom(tmp_path / "d", compressed=True), say), **MASK)
    (frame,) = generate_frames(made.PixelData, number_of_frames=1)
    shown = Image.open(io.BytesIO(frame)).convert("RGB")
    outside = (16, 16, 64, 48)
    difference = ImageChops.difference(shown.crop(outside), image.crop(outside))
    assert max(ImageStat.Stat(difference).mean) < 4
    assert max(high for _, high in shown.crop((0, 0, 6, 6)).getextrema()) <= 12


def test_a_masked_grey_frame_keeps_which_end_is_black(convert, tmp_path):
    def say(dataset):
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
        del dataset.PlanarConfiguration
        dataset.PixelData = encapsulate([jpeg_of(picture("L", (64, 48)))])

    made = convert(changed(scanner_dicom(tmp_path / "d", compressed=True), say), **MASK)
    (frame,) = generate_frames(made.PixelData, number_of_frames=1)
    assert Image.open(io.BytesIO(frame)).crop((0, 0, 6, 6)).getextrema()[0] >= 243


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
@pytest.mark.parametrize("changes", [{}, MASK], ids=["plain", "masked"])
@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
def test_frames_of_several_fragments_are_found(convert, tmp_path, table, changes, subject):
    """pydicom#1774, dcm4che#1598, fo-dicom#992: the offset table tells, or each frame's own beginning."""
    frames = [jpeg_of(picture("RGB", (64, 48), turn=20 * n), comment=CANARY.encode()) for n in range(3)]

    def say(dataset):
        dataset.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=table == "basic")
        if table == "extended":
            dataset.ExtendedOffsetTable = struct.pack("<3Q", *_starts(dataset.PixelData))
            dataset.ExtendedOffsetTableLengths = struct.pack("<3Q", *map(len, frames))

    source = changed(scanner_dicom(tmp_path / "d", compressed=True, frames=3), say)
    assert CANARY.encode() in source.read_bytes()
    made = convert(source, subject, **changes)
    found = list(generate_frames(made.PixelData, number_of_frames=3))
    assert CANARY.encode() not in b"".join(found)
    assert "ExtendedOffsetTable" not in made
    for frame, before in zip(found, frames, strict=True):
        shown, original = (Image.open(io.BytesIO(one)).convert("RGB") for one in (frame, before))
        difference = ImageChops.difference(shown.crop((16, 16, 64, 48)), original.crop((16, 16, 64, 48)))
        assert max(ImageStat.Stat(difference).mean) < (4 if changes else 0.001)


def _starts(pixel_data):
    """Offsets of the fragments in which a JPEG begins, counted from the first fragment."""
    base = 8 + int.from_bytes(pixel_data[4:8], "little")
    position, starts = base, []
    while pixel_data[position : position + 4] == b"\xfe\xff\x00\xe0":
        length = int.from_bytes(pixel_data[position + 4 : position + 8], "little")
        if pixel_data[position + 8 : position + 11] == b"\xff\xd8\xff":
            starts.append(position - base)
        position += 8 + length
    return starts


def palette_dicom(path, *, segmented, entries=16):
    """A palette image as ultrasound scanners write it, its tables plain or in segments, with text behind each table."""
    dataset = pydicom.dcmread(scanner_dicom(path))
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "PALETTE COLOR"
    del dataset.PlanarConfiguration
    dataset.PixelData = bytes(value % entries for value in range(64 * 48))
    for number, colour in enumerate(("Red", "Green", "Blue")):
        table = [4_096 * ((index + 5 * number) % entries) for index in range(entries)]
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [entries, 0, 16])
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        if segmented:
            # half of it number by number, then a line to the last
            words = [0, 8, *table[:8], 1, 8, table[15]]
            name = f"Segmented{colour}PaletteColorLookupTableData"
        else:
            words, name = table, f"{colour}PaletteColorLookupTableData"
        setattr(dataset, name, struct.pack(f"<{len(words)}H", *words) + CANARY.encode() + b"\0")
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("subject", [HUMAN, CASE], ids=["identified", "deidentified"])
def test_a_palette_stays_whole_where_the_pixels_need_it(convert, tmp_path, segmented, subject):
    source = palette_dicom(tmp_path / "d", segmented=segmented)
    before, made = pydicom.dcmread(source), convert(source, subject)
    tables = [element for element in before if element.keyword.endswith("TableData")]
    assert len(tables) == 3
    for element in tables:
        whole = element.value[: 2 * (13 if segmented else 16)]
        assert made[element.keyword].value == whole
    assert made.BluePaletteColorLookupTableDescriptor == [16, 0, 16]


def test_a_palette_that_nothing_needs_is_no_place_for_words(convert, tmp_path):
    def say(dataset):
        dataset.RedPaletteColorLookupTableDescriptor = [16, 0, 16]
        dataset["RedPaletteColorLookupTableDescriptor"].VR = "US"
        dataset.RedPaletteColorLookupTableData = CANARY.encode() * 4
        dataset["RedPaletteColorLookupTableData"].VR = "OW"

    made = convert(changed(scanner_dicom(tmp_path / "d"), say), CASE)
    assert not [element for element in made if "Palette" in element.keyword]


def test_a_palette_that_is_missing_is_said(tmp_path):
    source = palette_dicom(tmp_path / "d", segmented=True)
    changed(source, lambda dataset: delattr(dataset, "SegmentedGreenPaletteColorLookupTableData"))
    for subject in (HUMAN, CASE):
        with pytest.raises(CaptureProblem, match="Palette"):
            convert_capture(source, tmp_path / "out", context_for(subject), subject, capture_index=0)


WORDS = [
    ("ImageType", "CS", [CANARY, "PRIMARY"]),
    ("CineRate", "LO", CANARY),
    ("CineRate", "IS", CANARY),
    ("FrameTime", "LT", CANARY),
    ("FrameTime", "UT", f"50 {CANARY}"),
    ("LossyImageCompressionMethod", "CS", CANARY),
    ("LossyImageCompression", "LO", CANARY),
    ("ConversionType", "CS", CANARY),
    ("WindowWidth", "OB", CANARY.encode() + b"\0"),
    ("TransducerFrequency", "UL", [0x5A4E415A, 0x42415249, 0x4F555152, 0x4C4C4C4C]),
    ("PixelAspectRatio", "ST", CANARY),
    ("UltrasoundColorDataPresent", "SH", CANARY),
]
"""A keyword of the allow-list, the representation in which a maker could write it, and words in that."""


@pytest.mark.parametrize(("keyword", "vr", "value"), WORDS, ids=lambda one: str(one)[:20])
@pytest.mark.parametrize("nested", [False, True], ids=["object", "region"])
def test_a_numbers_name_carries_no_words(convert, tmp_path, keyword, vr, value, nested):
    def say(dataset):
        place = dataset.SequenceOfUltrasoundRegions[0] if nested else dataset
        tag = pydicom.datadict.tag_for_keyword(keyword)
        plain = "LO" if vr == "IS" else vr
        with pydicom.config.disable_value_validation():
            place[tag] = DataElement(tag, plain, value)

    made = convert(changed(scanner_dicom(tmp_path / "d", compressed=True), say), CASE)
    assert CANARY not in str(made)
    assert CANARY.encode()[:8] not in Path(made.filename).read_bytes()
    assert made.ImageType == ["ORIGINAL", "PRIMARY"]


def test_an_object_of_a_class_that_nobody_knows_has_no_place_among_the_nameless(tmp_path):
    source = scanner_dicom(tmp_path / "d", SOPClassUID="1.2.826.0.1.3680043.1.1.77")
    with pytest.raises(CaptureProblem) as caught:
        convert_capture(source, tmp_path / "out", context_for(CASE), CASE, capture_index=0)
    assert caught.value.code == "capture_not_cleanable"


def test_a_small_copy_of_what_was_blanked_goes(convert, tmp_path):
    icon = Dataset()
    icon.Rows = icon.Columns = 8
    icon.PixelData = CANARY.encode() * 5
    icon["PixelData"].VR = "OB"
    source = scanner_dicom(tmp_path / "d", IconImageSequence=[icon])
    assert "IconImageSequence" in convert(source)
    assert "IconImageSequence" not in convert(source, **MASK)


def test_the_scanners_word_for_burned_in_text_stands(convert, tmp_path):
    source = scanner_dicom(tmp_path / "d", BurnedInAnnotation="YES")
    assert convert(source).BurnedInAnnotation == "YES"
    assert convert(source, **MASK).BurnedInAnnotation == "NO"


def test_an_object_without_preamble_is_read(convert, tmp_path):
    source = scanner_dicom(tmp_path / "d")
    whole = source.read_bytes()
    meta_length = 12 + int.from_bytes(whole[140:144], "little")
    for start in (128 + 4, 128 + 4 + meta_length):
        source.write_bytes(whole[start:])
        made = convert(source)
        assert made.PixelData == pydicom.dcmread(source, force=True).PixelData
