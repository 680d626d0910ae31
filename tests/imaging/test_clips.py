"""MP4 captures as US Multi-frame objects: frames, times, profiles and refusals."""

import io
import struct

import av
import pydicom
import pytest
from pydicom.encaps import generate_frames, parse_basic_offsets

from app.imaging.errors import CaptureProblem
from tests.imaging.reading import mean_difference, pictures, video_pictures
from tests.imaging.samples import CANARY, clip, sound_only

BASELINE = "1.2.840.10008.1.2.4.50"
HIGH_41 = "1.2.840.10008.1.2.4.102"
HIGH_42 = "1.2.840.10008.1.2.4.104"


def inner_mp4(path):
    (stream,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    return stream


def test_cine_shows_every_frame_of_the_clip(convert, tmp_path):
    source = clip(tmp_path / "c")
    made = convert(source)
    shown, expected = pictures(made.path), video_pictures(source)
    assert made.frames == len(shown) == len(expected) == 8
    assert all(mean_difference(one, other) <= 2 for one, other in zip(shown, expected, strict=True))
    assert mean_difference(shown[0], shown[7]) > 2
    dataset = pydicom.dcmread(made.path)
    assert made.transfer_syntax == BASELINE
    assert made.sop_class_uid == "1.2.840.10008.5.1.4.1.1.3.1"
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    assert dataset.FrameIncrementPointer == 0x00181063
    assert (dataset.FrameTime, dataset.CineRate) == (50, 20)
    assert list(dataset.ImageType) == ["DERIVED", "PRIMARY"]
    assert list(dataset.LossyImageCompressionMethod) == ["ISO_14496_10", "ISO_10918_1"]


def test_the_offset_table_points_at_every_frame(convert, tmp_path):
    dataset = pydicom.dcmread(convert(clip(tmp_path / "c")).path)
    offsets = parse_basic_offsets(dataset.PixelData)
    assert len(offsets) == 8
    first = dataset.PixelData.index(b"\xff\xd8\xff") - 8
    for offset in offsets:
        assert dataset.PixelData[first + offset : first + offset + 4] == b"\xfe\xff\x00\xe0"
        assert dataset.PixelData[first + offset + 8 : first + offset + 11] == b"\xff\xd8\xff"


def test_variable_times_become_their_mean(convert, tmp_path):
    source = clip(tmp_path / "v", frames=5, rate=20, times=[0, 1, 2, 10, 20])
    dataset = pydicom.dcmread(convert(source).path)
    assert dataset.NumberOfFrames == 5
    assert dataset.FrameTime == 250
    assert dataset.CineRate == 4


def test_one_frame_has_the_time_of_its_rate(convert, tmp_path):
    dataset = pydicom.dcmread(convert(clip(tmp_path / "one", frames=1)).path)
    assert (dataset.NumberOfFrames, dataset.FrameTime) == (1, 50)


@pytest.mark.parametrize(
    "kind",
    [
        {"codec": "mpeg4"},
        {"profile": "baseline"},
        {"profile": "high444", "pixel_format": "yuv444p", "size": (161, 121)},
    ],
)
def test_cine_takes_any_codec_and_size(convert, tmp_path, kind):
    source = clip(tmp_path / "k", **kind)
    shown, expected = pictures(convert(source).path), video_pictures(source)
    assert all(mean_difference(one, other) <= 2 for one, other in zip(shown, expected, strict=True))


def test_high_profile_is_carried_over_picture_by_picture(convert, tmp_path):
    source = clip(tmp_path / "h", title=CANARY, sound=True)
    made = convert(source, video="h264")
    assert made.transfer_syntax == HIGH_41
    assert [one.tobytes() for one in pictures(made.path)] == [one.tobytes() for one in video_pictures(source)]
    dataset = pydicom.dcmread(made.path)
    assert dataset.PhotometricInterpretation == "YBR_PARTIAL_420"
    assert list(dataset.ImageType) == ["ORIGINAL", "PRIMARY"]
    assert dataset.PixelData[:8] == b"\xfe\xff\x00\xe0\x00\x00\x00\x00", "an empty offset table"
    with av.open(io.BytesIO(inner_mp4(made.path))) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_tags_and_encoder_messages_do_not_survive(convert, tmp_path):
    source = clip(tmp_path / "t", title=CANARY)
    held = source.read_bytes()
    assert CANARY.encode() in held
    assert b"x264" in held
    for mode in ("cine", "h264"):
        sent = convert(source, video=mode).path.read_bytes()
        assert CANARY.encode() not in sent
        assert b"x264" not in sent


def test_level_42_has_its_own_transfer_syntax(convert, tmp_path):
    source = clip(tmp_path / "l", frames=3, options={"level": "4.2"})
    assert convert(source, video="h264").transfer_syntax == HIGH_42


@pytest.mark.parametrize("kind", [{"profile": "baseline"}, {"codec": "mpeg4"}, {"options": {"level": "5.0"}}])
def test_other_streams_are_transcoded_to_high_profile(convert, tmp_path, kind):
    source = clip(tmp_path / "b", **kind)
    made = convert(source, video="h264")
    assert made.transfer_syntax == HIGH_41
    stream = inner_mp4(made.path)
    position = stream.index(b"avcC") + 4
    assert stream[position + 1] == 100
    assert stream[position + 3] <= 41
    shown, expected = pictures(made.path), video_pictures(source)
    assert all(mean_difference(one, other) <= 3 for one, other in zip(shown, expected, strict=True))
    assert pydicom.dcmread(made.path).ImageType[0] == "DERIVED"


def test_a_size_that_h264_cannot_hold_becomes_cine(convert, tmp_path):
    source = clip(tmp_path / "odd", profile="high444", pixel_format="yuv444p", size=(161, 121))
    assert convert(source, video="h264").transfer_syntax == BASELINE


@pytest.mark.parametrize("mode", ["cine", "h264"])
def test_masks_blank_every_frame(convert, tmp_path, mode):
    source = clip(tmp_path / "m", frames=4)
    made = convert(source, video=mode, burned_in="mask", masks=((16, 16, 48, 32),))
    assert made.transfer_syntax == (BASELINE if mode == "cine" else HIGH_41)
    for shown, original in zip(pictures(made.path), video_pictures(source), strict=True):
        inside = (20, 20, 60, 44)
        assert max(high for _, high in shown.crop(inside).getextrema()) <= 8
        assert mean_difference(shown.crop((80, 0, 160, 120)), original.crop((80, 0, 160, 120))) <= 3
    assert pydicom.dcmread(made.path).BurnedInAnnotation == "NO"


def test_a_turned_clip_is_shown_upright(convert, tmp_path):
    plain = clip(tmp_path / "plain", frames=2)
    turned = tmp_path / "turned"
    with av.open(str(plain)) as container, av.open(str(turned), "w", format="mp4") as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        stream.set_display_rotation(90)
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                output.mux(packet)
    upright = pictures(convert(plain).path)[0]
    for mode in ("cine", "h264"):
        made = convert(turned, video=mode)
        assert (made.width, made.height) == (120, 160)
        shown = pictures(made.path)[0]
        with av.open(str(turned)) as container:
            rotation = next(container.decode(video=0)).rotation
        assert mean_difference(shown, upright.rotate(rotation, expand=True)) <= 3


@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("front", [True, False])
def test_a_cut_clip_is_truncated(convert, tmp_path, share, front):
    whole = clip(tmp_path / "whole", frames=6)
    source = tmp_path / "cut"
    if front:
        with (
            av.open(str(whole)) as container,
            av.open(str(source), "w", format="mp4", options={"movflags": "+faststart"}) as output,
        ):
            stream = output.add_stream_from_template(container.streams.video[0])
            for packet in container.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        data = source.read_bytes()
    else:
        data = whole.read_bytes()
    source.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_truncated"


def test_sound_alone_is_the_wrong_kind(convert, tmp_path):
    source = sound_only(tmp_path / "sound")
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code == "capture_wrong_kind"


def test_a_clip_of_boxes_without_pictures_is_unreadable(convert, tmp_path):
    source = tmp_path / "empty-boxes"
    source.write_bytes(struct.pack(">L4s4sL", 16, b"ftyp", b"isom", 0) + struct.pack(">L4s", 8, b"moov"))
    with pytest.raises(CaptureProblem) as caught:
        convert(source)
    assert caught.value.code in ("capture_unreadable", "capture_wrong_kind")


def test_what_the_container_claims_is_not_believed(convert, tmp_path):
    source = clip(tmp_path / "liar", frames=6)
    data = bytearray(source.read_bytes())
    # The movie header's duration (ISO 14496-12 8.2.2), at 24 bytes after the box's name.
    at = data.index(b"mvhd") + 4 + 16
    data[at : at + 4] = struct.pack(">L", 0x7FFFFFFF)
    source.write_bytes(data)
    made = convert(source)
    assert made.frames == 6
    assert pydicom.dcmread(made.path).FrameTime == 50
