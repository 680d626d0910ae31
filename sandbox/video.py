"""Makes small H.264 clips with PyAV; large ones repeat an encoded second, so that asking for 60 MB stays quick."""

import io
from collections.abc import Callable
from fractions import Fraction

import av
from PIL import Image

FRAMES = 12
FRAMES_PER_SECOND = 20


def make_mp4(
    frame: Callable[[int], Image.Image], *, profile: str, size_bytes: int | None = None, title: str = ""
) -> bytes:
    """An MP4 of `FRAMES` frames (more, repeated, until `size_bytes`), of H.264 `high` or `baseline` profile."""
    first = frame(0)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        if title:
            container.metadata["title"] = title
            container.metadata["comment"] = title
        # One thread, or the bytes would differ from machine to machine.
        options = {"profile": profile, "preset": "medium", "threads": "1", "crf": "23"}
        if size_bytes is not None:
            options |= {"preset": "superfast", "crf": "12"}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.width, stream.height = first.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
        packets = []
        for index in range(FRAMES):
            packets += stream.encode(_video_frame(first if index == 0 else frame(index)))
        packets += stream.encode()
        base = packets[0].time_base
        step = Fraction(1, FRAMES_PER_SECOND) / base
        coded = [(bytes(p), p.is_keyframe) for p in packets]
        written = position = 0
        while position == 0 or (size_bytes is not None and written < size_bytes):
            for data, is_key in coded:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, base, is_key
                packet.pts = packet.dts = int(position * step)
                packet.duration = int(step)
                container.mux(packet)
                written += len(data)
                position += 1
    return out.getvalue()


def _video_frame(image: Image.Image) -> av.VideoFrame:
    made: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return made
