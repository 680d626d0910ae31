"""Synthetic captures are what they say they are, the same every time, and different from one another."""

import io
from itertools import islice

import av
import pytest
from PIL import Image

from sandbox.media import GOOD_KINDS, KINDS, endless_chunks, make_capture

CANARY = "CANARY-NAME"
STILLS = [k for k in GOOD_KINDS if not k.startswith("mp4")]
MODES = {
    "jpeg": "RGB",
    "jpeg-grey": "L",
    "jpeg-progressive": "RGB",
    "jpeg-cmyk": "CMYK",
    "png": "RGB",
    "png-rgba": "RGBA",
    "png-palette": "P",
    "png-grey16": "I;16",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes(kind):
    assert make_capture(kind, seed=3) == make_capture(kind, seed=3)
    if kind not in ("empty", "endless"):
        assert make_capture(kind, seed=3).content != make_capture(kind, seed=4).content


@pytest.mark.parametrize("kind", STILLS)
def test_stills_decode_in_the_mode_they_claim(kind):
    content = make_capture(kind, seed=1).content
    image = Image.open(io.BytesIO(content))
    image.load()
    assert (image.mode, image.size) == (MODES[kind], (160, 120))
    assert bool(image.info.get("progressive")) == (kind == "jpeg-progressive")
    assert len(content) < 20_000


@pytest.mark.parametrize(("kind", "profile"), [("mp4", "High"), ("mp4-baseline", "Constrained Baseline")])
def test_clips_are_h264_of_the_profile(kind, profile):
    with av.open(io.BytesIO(make_capture(kind, seed=1).content)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.profile) == ("h264", profile)
        assert sum(1 for _ in container.decode(video=0)) == 12


@pytest.mark.parametrize("kind", GOOD_KINDS)
def test_a_canary_hides_in_the_metadata_and_only_when_asked(kind):
    assert CANARY.encode() in make_capture(kind, seed=1, canary=CANARY).content
    assert CANARY.encode() not in make_capture(kind, seed=1).content


@pytest.mark.parametrize("kind", ["jpeg", "png", "mp4"])
def test_sizes_on_request_are_met_with_things_that_decode(kind):
    content = make_capture(kind, seed=1, size_bytes=2_000_000).content
    assert 2_000_000 <= len(content) < 6_000_000
    if kind == "mp4":
        with av.open(io.BytesIO(content)) as container:
            assert sum(1 for _ in container.decode(video=0)) == container.streams.video[0].frames
    else:
        Image.open(io.BytesIO(content)).load()


def test_bad_kinds_are_bad():
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(make_capture("jpeg-truncated", seed=1).content)).load()
    with pytest.raises(av.error.FFmpegError):
        av.open(io.BytesIO(make_capture("mp4-truncated", seed=1).content))
    assert make_capture("empty", seed=1).content == b""
    assert make_capture("html", seed=1).content.startswith(b"<!DOCTYPE")
    assert make_capture("mislabelled", seed=1).content.startswith(b"\x89PNG")
    assert make_capture("mislabelled", seed=1).content_type == "image/jpeg"
    endless = make_capture("endless", seed=1)
    assert endless.endless
    assert sum(len(c) for c in islice(endless_chunks(), 100)) == 100 * 65_536
