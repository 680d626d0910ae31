"""`make corpus`: what becomes of public samples, counted; exit status 1 when anything is shown wrong."""

# ruff: noqa: T201 - it speaks to the person who runs it
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from tests.corpus.fetched import sets
from tests.corpus.samples import MODES, Outcome, table, try_files
from tests.support.peers import program
from tests.support.peers.orthanc import running_orthanc

NEEDED = ("Orthanc", "dcm2pnm", "djpeg", "pngtopnm")


def main(names: list[str]) -> int:
    """Print the table and each file that is wrong; `names` picks sets by how they begin."""
    missing = [name for name in NEEDED if program(name) is None]
    if missing:
        print(f"corpus: not run, for want of {', '.join(missing)} (make peers installs them)")
        return 2
    try:
        wanted = {
            name: files
            for name, files in sets().items()
            if not names or any(name.startswith(one) for one in names)
        }
    except subprocess.CalledProcessError:
        print("corpus: not run, the packages with the samples could not be fetched")
        return 2
    warnings.simplefilter("ignore")  # what libraries say of foreign files, thousands of times
    by_set: dict[str, list[Outcome]] = {}
    for name, files in wanted.items():
        by_set[name] = []
        with tempfile.TemporaryDirectory() as folder, running_orthanc(Path(folder) / "orthanc") as orthanc:
            for outcome in try_files(orthanc, files):
                by_set[name].append(outcome)
                _tell(f"\r{name}: {len(by_set[name])} of {len(files) * len(MODES)} ")
        _tell("\n")
    print(table(by_set))
    wrong = [(name, one) for name, outcomes in by_set.items() for one in outcomes if one.wrong]
    for name, one in wrong:
        print(f"wrong: {name}, {one.file} ({one.mode}): {one.wrong}")
    return 1 if wrong else 0


def _tell(progress: str) -> None:
    print(progress, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
