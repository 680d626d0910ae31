"""What the page says that goes onto the Clarius exam after delivery; it holds no patient data.

It must not say more than when, how many of how many, why the others are missing, and where; nor of any image more than
is known: that it was counted, accepted, or never meant to be sent.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

MOST_REASONS = 6
REASON_CHARACTERS = 200

Evidence = Literal["seen", "accepted", "not_sent"]
SENTENCES: dict[Evidence, str] = {
    "seen": "The images of this exam were sent to Aurabox and counted there afterwards.",
    "accepted": "Aurabox accepted the images of this exam. It offers no way to count them afterwards.",
    "not_sent": "This exam is filed in Aurabox. Its images are not sent there.",
}
NO_IMAGES = "This exam is filed in Aurabox. It has no images."


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says. `delivered_at` is aware, in the organisation's time zone.

    `stills` and `clips` are those that are there, as far as the `evidence` goes; `wanted_count` is how many there
    should be (None: as many), `missing` says of the others why they are not. `study_link` is a page that opens the
    study, when the organisation's Aurabox has one.
    """

    delivered_at: datetime
    stills: int
    clips: int
    study_uid: str
    study_link: str = ""
    evidence: Evidence = "accepted"
    wanted_count: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def there(self) -> int:
        """How many images there are."""
        return self.stills + self.clips

    @property
    def title(self) -> str:
        """What it is called, also at Clarius: filed is not delivered."""
        return "Filed in Aurabox" if self.evidence == "not_sent" or not self.there else "Delivered to Aurabox"

    def __post_init__(self) -> None:
        if self.delivered_at.tzinfo is None:
            raise ValueError("delivered_at must carry its time zone")


def rows_of(receipt: Receipt) -> list[tuple[str, str]]:
    """What the page has line by line: a label and what is said of it."""
    offset = receipt.delivered_at.strftime("%z")
    when = f"{receipt.delivered_at:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"
    rows = [("Filed" if receipt.evidence == "not_sent" else "Delivered", when)]
    if receipt.evidence != "not_sent":
        expected = receipt.there if receipt.wanted_count is None else receipt.wanted_count
        if expected != receipt.there:
            rows.append(("Images", f"{receipt.there} of {expected}"))
        rows += [("Still images", str(receipt.stills)), ("Clips", str(receipt.clips))]
        rows += [("Missing", _printable(reason)) for reason in receipt.missing[:MOST_REASONS]]
        if more := len(receipt.missing) - MOST_REASONS:
            rows += [("Missing", f"and {more} more")] if more > 0 else []
    return [*rows, ("Study UID", receipt.study_uid)]


def sentence_of(receipt: Receipt) -> str:
    """What the page says in one sentence."""
    expected = receipt.there if receipt.wanted_count is None else receipt.wanted_count
    if receipt.evidence == "not_sent":
        return SENTENCES["not_sent"]
    if not expected:
        return NO_IMAGES
    if receipt.there == expected:
        return SENTENCES[receipt.evidence]
    verb = "counted" if receipt.evidence == "seen" else "accepted"
    return f"This exam is filed in Aurabox. {receipt.there} of its {expected} images were {verb} there."


def _printable(text: str) -> str:
    """The fonts that every reader has know Latin letters only."""
    return text[:REASON_CHARACTERS].encode("latin-1", "replace").decode("latin-1")
