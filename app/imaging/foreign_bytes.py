"""The one place where whatever a library raises over somebody else's bytes becomes the capture's own problem.

A guard stands before what it guards: everything that parses or writes anew what we did not write runs in
`foreign_bytes`. It must not take the disk's troubles for the capture's.
"""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from app.imaging.errors import CaptureProblem


@contextmanager
def foreign_bytes() -> Iterator[None]:
    """Turn any exception into CaptureProblem `capture_truncated` or `capture_unreadable`.

    pydicom says OSError of content that it cannot follow, without an `errno`; and a damaged length makes it seek where
    no file is (EINVAL). An OSError that the host gave is raised as it is. The cause is not kept: it would quote what
    could not be read. Warnings are kept quiet, because they carry values of the file to standard error.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (CaptureProblem, MemoryError):
        raise
    except EOFError:
        raise truncated() from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        raise damaged() from None
    except Exception:  # noqa: BLE001 whatever it is, the content made it
        # hostile content makes pydicom raise all that Python has, RecursionError and NameError too
        raise damaged() from None


def truncated() -> CaptureProblem:
    """The problem of a DICOM file that promises more than it holds."""
    return CaptureProblem("capture_truncated", "The DICOM file ends before it is complete.")


def damaged() -> CaptureProblem:
    """The problem of a file that is no proper DICOM."""
    return CaptureProblem("capture_unreadable", "The DICOM file is damaged and cannot be read.")
