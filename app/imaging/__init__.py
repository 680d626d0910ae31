"""Captures in, DICOM objects and archives out: pure functions over files, no network, no database.

Nothing here imports another part of the application but `app.errors`; every public function can be pickled and run in
a process pool. Only there are pydicom, PyAV and Pillow imported: the worker names what it wants done (`app.named`), and
takes from here what is plain (`subjects`, `uids`, `sniff`, `receipt`, …).
"""
