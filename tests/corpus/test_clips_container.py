"""The container's word counts: mirrors, turns, pixel aspect, edit lists, colours, in both modes (sources: README.md)."""

import io
from fractions import Fraction

import av
import pydicom
import pytest
from pydicom.encaps import generate_frames

from app.imaging.errors import CaptureProblem
from app.imaging.limits import MAX_CLIP_PIXELS
from tests.corpus.clips import MATRICES, make, pictures_in, shown_as, trimmed, turned, with_pixel_aspect
from tests.corpus.jpegs import DAMAGES, samples_at, without
from tests.imaging.reading import mean_difference, pictures, video_pictures
from tests.imaging.samples import HUMAN, clip
from tests.imaging.test_peers import another_study, previews, store
from tests.support.peers.orthanc import running_orthanc

MODES = ("cine", "h264")
CODECS = {
    "H.264 High": {},
    "H.264 Main": {"profile": "main"},
    "MPEG-4": {"codec": "mpeg4", "options": {"qscale": "2"}},
    "motion JPEG": {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": {"qscale": "2"}},
}
SHAPES = {"cine": "1.2.840.10008.1.2.4.50", "h264": "1.2.840.10008.1.2.4.102"}


def inner(path):
    (stream,) = generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    return stream


def aspect_of(path):
    """PixelAspectRatio (PS3.3 C.7.6.3.1.7, vertical over horizontal), None without one."""
    value = pydicom.dcmread(path).get("PixelAspectRatio")
    return None if value is None else tuple(int(part) for part in value)


def near(shown, expected, limit=4):
    assert len(shown) == len(expected)
    return max(mean_difference(one, other) for one, other in zip(shown, expected, strict=True)) <= limit


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", MATRICES)
@pytest.mark.parametrize("codec", CODECS)
def test_a_clip_is_shown_as_its_matrix_says(convert, tmp_path, codec, how, mode):
    source = make(tmp_path / "c", frames=2, **CODECS[codec])
    expected = [shown_as(MATRICES[how], one) for one in video_pictures(source)]
    made = convert(turned(source, MATRICES[how]), video=mode)
    assert made.transfer_syntax == SHAPES[mode]
    assert near(pictures(made.path), expected)
    untouched = mode == "h264" and codec == "H.264 High" and how == "upright"
    assert pydicom.dcmread(made.path).ImageType[0] == ("ORIGINAL" if untouched else "DERIVED")


@pytest.mark.peers
def test_orthanc_shows_mirrored_clips_mirrored(convert, tmp_path, tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        for number, how in enumerate(("left and right", "top and bottom", "along one diagonal")):
            source = make(tmp_path / str(number), frames=1)
            expected = [shown_as(MATRICES[how], one) for one in video_pictures(source)]
            made = convert(turned(source, MATRICES[how]), HUMAN, **another_study())
            assert store(orthanc, made.path).status_code == 200
            assert near(previews(orthanc, made.sop_instance_uid, 1), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", ["upright", "left and right", "by a quarter", "along the other"])
@pytest.mark.parametrize("codec", ["H.264 High", "H.264 Main", "MPEG-4"])
def test_the_pixel_aspect_turns_with_the_clip_and_is_kept(convert, tmp_path, codec, how, mode):
    source = make(tmp_path / "c", frames=2, aspect=Fraction(16, 15), **CODECS[codec])
    made = convert(turned(source, MATRICES[how]), video=mode)
    sideways = MATRICES[how][0] == 0
    assert aspect_of(made.path) == ((16, 15) if sideways else (15, 16))
    if mode == "h264":
        with av.open(io.BytesIO(inner(made.path))) as container:
            told = container.streams.video[0].codec_context.sample_aspect_ratio
        assert told == (Fraction(15, 16) if sideways else Fraction(16, 15))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("container", "expected"), [((1, 1), None), ((4, 3), (3, 4))])
def test_the_containers_pixel_aspect_overrules_the_bit_streams(convert, tmp_path, mode, container, expected):
    source = with_pixel_aspect(make(tmp_path / "c", frames=2, aspect=Fraction(27, 64)), *container)
    made = convert(source, video=mode)
    assert aspect_of(made.path) == expected
    if mode == "h264":
        with av.open(io.BytesIO(inner(made.path))) as inside:
            told = inside.streams.video[0].codec_context.sample_aspect_ratio or Fraction(1)
        assert told == Fraction(*container)


def test_a_clip_of_square_pixels_says_nothing_of_them(convert, tmp_path):
    source = make(tmp_path / "c", frames=2)
    assert [aspect_of(convert(source, video=mode).path) for mode in MODES] == [None, None]


EDITS = {
    "the front is cut away": [(1000, 15)],
    "the end is cut away": [(1500, 0)],
    "both are": [(800, 11)],
    "the middle is": [(500, 0), (500, 20)],
    "the order is another": [(500, 20), (500, 0)],
    "a part is shown twice": [(1000, 0), (1000, 0)],
    "it begins at a key picture": [(1000, 10)],
}
"""Milliseconds shown, and from which picture on."""


@pytest.mark.parametrize("between", ["0", "2"])
@pytest.mark.parametrize("what", EDITS)
def test_what_an_edit_list_hides_does_not_leave(convert, tmp_path, what, between):
    source = make(tmp_path / "c", frames=30, options={"bf": between, "g": "10", "crf": "18"})
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        unit = stream.time_base.denominator // 10
        first = next(container.demux(stream)).dts
    delay = -first
    trimmed(source, *((length, delay + start * unit) for length, start in EDITS[what]))
    expected = video_pictures(source)
    assert 0 < len(expected) < 30
    for mode in MODES:
        made = convert(source, video=mode)
        assert made.frames == len(expected)
        assert near(pictures(made.path), expected)
    assert made.transfer_syntax == SHAPES["h264"]
    assert pictures_in(inner(made.path)) == made.frames, "nothing that is not shown is in the stream"


def test_a_clip_whose_pictures_are_all_shown_is_still_sent_untouched(convert, tmp_path):
    source = make(tmp_path / "c", frames=12, options={"bf": "2"})
    made = convert(source, video="h264")
    assert pydicom.dcmread(made.path).ImageType[0] == "ORIGINAL"
    assert pictures_in(inner(made.path)) == made.frames == 12


LIMITED, FULL = 1, 2
COLOURS = {"BT.709": 1, "BT.601": 5, "SMPTE 170M": 6}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extent", [LIMITED, FULL])
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("codec", ["H.264 High", "H.264 Main"])
def test_colours_arrive_as_ffmpeg_shows_them(convert, tmp_path, codec, colours, extent, mode):
    source = make(tmp_path / "c", frames=1, colours=(COLOURS[colours], extent), **CODECS[codec])
    made = convert(source, video=mode)
    assert near(pictures(made.path), video_pictures(source), 2)


def test_a_transcoded_stream_says_which_colours_it_has(convert, tmp_path):
    source = make(tmp_path / "c", frames=1, size=(1280, 720), colours=(1, FULL), profile="main")
    with av.open(io.BytesIO(inner(convert(source, video="h264").path))) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (6, LIMITED)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_frame_of_motion_jpeg_is_the_captures_problem(convert, tmp_path, damage, mode):
    source = make(tmp_path / "c", size=(320, 240), **CODECS["motion JPEG"])
    data = source.read_bytes()
    start = data.index(b"\xff\xd8\xff", data.index(b"\xff\xd8\xff") + 3)
    end = data.index(b"\xff\xd9", start) + 2
    frame = data[start:end]
    at = samples_at(frame) + 400
    # as long as before: the container's tables say where each frame lies
    hurt = DAMAGES[damage](frame, at)[: len(frame)].ljust(len(frame), b"\0")
    source.write_bytes(data[:start] + hurt + data[end:])
    with pytest.raises(CaptureProblem) as caught:
        convert(source, video=mode)
    assert caught.value.code in ("capture_truncated", "capture_unreadable")


def test_motion_jpeg_without_tables_or_end_marker_is_whole(convert, tmp_path):
    whole = make(tmp_path / "whole", **{**CODECS["motion JPEG"], "options": {"qscale": "2", "huffman": "0"}})
    bare = tmp_path / "bare"
    with av.open(str(whole)) as container, av.open(str(bare), "w", format="mp4") as output:
        copy = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is None:
                continue
            bald = av.Packet(without(bytes(packet), 0xC4).removesuffix(b"\xff\xd9"))
            bald.pts, bald.dts, bald.time_base = packet.pts, packet.dts, packet.time_base
            bald.duration, bald.is_keyframe = packet.duration, True
            bald.stream = copy
            output.mux(bald)
    assert near(pictures(convert(bare).path), video_pictures(whole))


def test_a_clip_of_too_many_pixels_in_all_is_refused_before_work_begins(convert, tmp_path):
    source = clip(tmp_path / "c", frames=2, size=(1920, 1088))
    data = bytearray(source.read_bytes())
    claimed = MAX_CLIP_PIXELS // (1920 * 1088) + 1
    # how many pictures are shown for how long (ISO 14496-12 8.6.1.2): one entry of two
    at = data.index(b"stts") + 12
    assert int.from_bytes(data[at : at + 4], "big") == 2
    data[at : at + 4] = claimed.to_bytes(4, "big")
    source.write_bytes(data)
    for mode in MODES:
        with pytest.raises(CaptureProblem) as caught:
            convert(source, video=mode)
        assert caught.value.code == "capture_too_large"
