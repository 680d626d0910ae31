"""Captures in, DICOM objects and archives out: pure functions over files, no network, no database.

Nothing here imports another part of the application but `app.errors`; every public function can be pickled and run in
a process pool. pydicom quotes the values that it finds odd in warnings and log lines, and values are patient data: both
are turned off for the whole process as soon as anything here is imported.
"""

import logging

import pydicom.config

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
