"""Named places where a test may kill the process; nothing at all unless one is armed.

Every outside effect of a delivery step has a point before and one after it. The registry below is
the list of those effects: `app.delivery.work` refuses an effect that is not in it, and the tests
kill a worker at every point of it.
"""

import os
import signal
from functools import cache

ARMED_VARIABLE = "SONOBRIDGE_FAULT_POINT"

EFFECTS: dict[str, str] = {
    "verify:poll": "the poll API is read for a customer (C1)",
    "fetch:read_exam_data": "exam data is read (C2)",
    "fetch:look_again": "the poll API is read for an exam whose data is not there (C1)",
    "download:read_capture": "one capture is downloaded",
    "match:search_subject": "patients or cases are searched (A1, A6)",
    "match:create_patient": "a patient is created (A2)",
    "match:create_case": "a case is created (A7)",
    "match:update_patient": "a patient's corrected details are written (A4)",
    "study:read_subject": "a patient or case on record is read (A3, A8)",
    "study:read_study": "a study on record is read before it is used (A13)",
    "study:search_study": "studies of a patient are listed (A11)",
    "study:create_study": "a study is created (A12)",
    "download:request_dicom": "Clarius is asked for the exam as DICOM (C17, C19)",
    "send:announce_upload": "an upload is announced (init)",
    "send:start_upload": "an upload is begun (start)",
    "send:upload_archive": "the archive is sent (Tus)",
    "send:complete_upload": "an upload is completed (complete)",
    "send:look_for_images": "the study's images are counted after an answer was lost (A13)",
    "send:fail_upload": "Aurabox is told that an upload failed (error)",
    "send:store_instances": "a batch of instances is stored (STOW-RS)",
    "confirm:read_back": "the study is read back (A13)",
    "confirm:search_instances": "the study's instances are listed (QIDO-RS)",
    "close:end_upload": "Aurabox is told that an upload is called off or failed (cancel, error)",
    "report:upload_receipt": "a receipt is put onto the Clarius exam (C5)",
    "reconcile:poll": "the poll API is read for everybody (C1)",
    "probe:ask_account": "a neutral call asks whether an account's credentials work (C6, C17, A1, configuration, QIDO-RS)",
    "link:confirm_customer": "a customer is confirmed (C3)",
}

POINTS: frozenset[str] = frozenset(
    {
        f"{step}:{side}_{effect}"
        for step, effect in (name.split(":") for name in EFFECTS)
        for side in ("before", "after")
    }
    | {
        "inbox:before_commit",
        "inbox:between_commit_and_ring",
        "runner:after_claim",
        "create:after_intent",
        "create:before_record",
        "download:between_captures",
    }
)

ROTATION_POINTS = frozenset(
    {"keys:after_create", "keys:after_store", "keys:after_verify", "keys:after_revoke"}
)
"""Of the key rotation, which a person starts and no worker: killed in a test of its own."""

STOPPING = "stop:"


class _Countdown:
    """How many more times an armed point is passed before it acts (`name`, `name@N`, `stop:name`, `stop:name@N`)."""

    def __init__(self) -> None:
        setting = os.environ.get(ARMED_VARIABLE, "")
        self.signal = signal.SIGSTOP if setting.startswith(STOPPING) else signal.SIGKILL
        armed, _, nth = setting.removeprefix(STOPPING).partition("@")
        if armed and armed not in POINTS | ROTATION_POINTS:
            raise ValueError(f"{ARMED_VARIABLE} names an unknown point: {armed}")
        self.armed = armed
        self.left = int(nth or 1)


@cache
def _countdown() -> _Countdown:
    # at the first point and not at import, so that a process that was forked reads its own environment
    return _Countdown()


def fault_point(name: str) -> None:
    """Die by SIGKILL here if a test armed this point, as a power cut would; else do nothing.

    `stop:` freezes the process once instead (SIGSTOP), as a host does that is suspended.
    """
    countdown = _countdown()
    if countdown.armed != name:
        return
    countdown.left -= 1
    if countdown.left == 0:
        os.kill(os.getpid(), countdown.signal)
