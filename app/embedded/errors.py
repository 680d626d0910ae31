"""The one error of the embedded servers; must carry what to do about it, because a person reads it."""

from pathlib import Path

from app.errors import SonobridgeError

LOG_TAIL_BYTES = 4096


class EmbeddedError(SonobridgeError):
    """An embedded server cannot run here. `remedy` is what the person can do; the command line shows both, exit 1."""

    kind = "embedded"

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.problem = message
        self.remedy = remedy


def last_complaint(log: Path) -> str:
    """The last line of a server's log that says why it stopped, or nothing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    complaints = [line for line in lines if "FATAL" in line or " # " in line or "error" in line.lower()]
    return (complaints or lines or [""])[-1].strip()
