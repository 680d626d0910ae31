"""The one error that a bad capture ends in; it must not carry patient data or a path."""


class CaptureProblem(Exception):
    """A capture that will never become an image, however often it is tried.

    `code` is stable and machine-readable (`capture_empty`, `capture_truncated`,
    `capture_wrong_kind`, `capture_too_large`, `capture_unreadable`, `capture_not_maskable`,
    `capture_not_cleanable`, `missing_attribute`); `message` is one sentence that a clinician understands.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
