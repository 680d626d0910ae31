"""How much of a capture we are willing to decode: the bounds that keep a worker's memory flat.

A legitimate Clarius capture is around one megapixel and at most a few minutes long; each bound
leaves at least an order of magnitude above that.
"""

COPY_CHUNK_BYTES = 256 * 1024
"""The piece in which files are read and written, everywhere."""

MAX_IMAGE_PIXELS = 32_000_000
"""Largest still that is decoded, in pixels (width times height): 96 MB as RGB."""

MAX_STILL_BYTES = 128 * 1024**2
"""Largest JPEG or PNG file; a still is read whole before it is decoded."""

MAX_JPEG_SCANS = 100
"""Most passes over a picture in one JPEG. Encoders write about ten; a small file of thousands takes hours."""

MAX_FRAME_PIXELS = 9_000_000
"""Largest frame of a clip, in pixels: 4096 x 2160, the most that H.264 level 5.2 holds."""

MAX_CLIP_FRAMES = 40_000
"""Longest clip, in frames: more than 20 minutes at 30 frames a second."""

MAX_CLIP_SECONDS = 1_800
"""Longest clip, in seconds of presentation time."""

MAX_CLIP_PIXELS = 20_000_000_000
"""Most pixels of a clip in all (width times height times frames): some 11 minutes of work on one core."""

MAX_ITEM_BYTES = 2**32 - 2
"""The most that one item of encapsulated pixel data can hold (PS3.5 A.4)."""

MAX_BUNDLE_MEMBERS = 2_000
"""Most files in a zip of DICOM."""

MAX_BUNDLE_BYTES = 8 * 1024**3
"""Most bytes that a zip of DICOM may unfold to."""

MAX_DICOM_HEADER_BYTES = 64 * 1024**2
"""Most bytes of a DICOM file before its pixel data."""

MAX_BUNDLE_DEPTH = 3
"""Zips within zips that are opened; a deeper one is named and left out."""

MAX_BUNDLE_RATIO = 200
"""How many times its own size a zip of DICOM may unfold to."""

SMALL_BUNDLE_BYTES = 256 * 1024**2
"""A zip may unfold to as much whatever its ratio: pictures that are mostly black pack well."""
