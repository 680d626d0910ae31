"""What becomes of pydicom's own files: each is shown as dcmtk shows its source, or refused with a sentence."""

import pytest

from tests.corpus.fetched import pydicom_files
from tests.corpus.samples import MODES, SHOWN, try_files
from tests.support.peers import require_program
from tests.support.peers.orthanc import running_orthanc

# what pydicom remarks on files that it keeps for their faults
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("part", range(3))
def test_no_file_of_pydicom_is_shown_wrong(tmp_path, part):
    require_program("dcm2pnm")
    files = pydicom_files()[part::3]
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        outcomes = list(try_files(orthanc, files))
    assert [one for one in outcomes if one.wrong] == []
    assert len(outcomes) == len(files) * len(MODES)
    assert any(one.result == SHOWN for one in outcomes)
