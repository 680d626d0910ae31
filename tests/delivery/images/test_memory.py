"""One worker carries an exam of large clips in little memory, whatever their size; bench/exam_memory.py has the whole."""

from pathlib import Path

import pytest

from app.config.settings import Settings
from bench.exam_memory import carry
from bench.imaging_memory import MEGABYTE, in_own_process, make_captures

CAPTURES, CAPTURE_MEGABYTES = 2, 40


@pytest.mark.row(15)
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("images", ["uploader", "dicomweb"])
async def test_memory_does_not_follow_the_size_of_the_clips(
    settings: Settings, tmp_path: Path, images: str
) -> None:
    captures = in_own_process(make_captures, tmp_path, CAPTURES, CAPTURE_MEGABYTES)
    memory = await carry(settings, captures, tmp_path, video="h264", images=images)
    assert memory.peaks
    # the pool process by itself is some 90 MB; a single clip held in memory would show
    assert memory.above < 125 * MEGABYTE
