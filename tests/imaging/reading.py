"""Reads converted objects back, independently of how they were made."""

import io
from pathlib import Path

import av
import pydicom
from PIL import Image, ImageChops, ImageStat
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length


def pictures(path: Path) -> list[Image.Image]:
    """The frames of an object as RGB pictures."""
    dataset = pydicom.dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    count = int(dataset.get("NumberOfFrames", 1))
    if syntax.endswith(".4.50"):
        frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
        assert len(frames) == count
        return [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    if syntax.endswith((".4.102", ".4.104")):
        (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
        with av.open(io.BytesIO(stream)) as container:
            return [frame.to_image() for frame in container.decode(video=0)]
    size = (dataset.Columns, dataset.Rows)
    length = get_expected_length(dataset) // count
    return [
        Image.frombytes("RGB", size, dataset.PixelData[length * index : length * (index + 1)])
        for index in range(count)
    ]


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, over all bands."""
    assert one.size == other.size
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(means) / len(means)


def video_pictures(path: Path) -> list[Image.Image]:
    """The frames of an MP4 as a player shows them."""
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]
