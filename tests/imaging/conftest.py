"""What the tests of conversion share; it must not start a server or a store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.imaging.check import check_file
from app.imaging.convert import convert_capture
from app.imaging.subjects import ConvertedInstance, Subject
from tests.imaging.samples import HUMAN, context_for


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., ConvertedInstance]:
    """Convert one capture that becomes one object, which must pass our own check."""

    def run(source: Path, subject: Subject = HUMAN, **changes) -> ConvertedInstance:
        out = tmp_path / "converted"
        (made,) = convert_capture(source, out, context_for(subject, **changes), subject, capture_index=0)
        assert check_file(made.path) == []
        assert {path.suffix for path in out.iterdir()} == {".dcm"}
        return made

    return run
