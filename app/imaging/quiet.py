"""Keeps pydicom quiet about the values that it finds odd: it quotes them in warnings and log lines, and they are patient data.

Turned off for the whole process. Whatever here imports pydicom imports this too, itself or by what it imports
(`tests/imaging/test_quiet.py`).
"""

import logging

import pydicom.config

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
