"""The one-page PDF that goes onto the Clarius exam after delivery; it holds no patient data.

It must not say more than when, how many and where, and the same delivery gives the same bytes.
"""

from dataclasses import dataclass
from datetime import datetime

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from app.imaging.uids import IMPLEMENTATION_VERSION_NAME

LEFT_COLUMN_MM = 55
LINE_MM = 8


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says. `delivered_at` is aware, in the organisation's time zone.

    `study_link` is a page that opens the study, when the organisation's Aurabox has one.
    """

    delivered_at: datetime
    stills: int
    clips: int
    study_uid: str
    study_link: str = ""

    def __post_init__(self) -> None:
        if self.delivered_at.tzinfo is None:
            raise ValueError("delivered_at must carry its time zone")


def render_receipt(receipt: Receipt) -> bytes:
    """The PDF file, one A4 page, with the fonts that every reader has (no font is embedded)."""
    pdf = FPDF(format="A4")
    # Compressed streams would depend on the zlib of the host.
    pdf.set_compression(False)
    pdf.set_creation_date(receipt.delivered_at)
    pdf.set_producer(IMPLEMENTATION_VERSION_NAME)
    pdf.set_title("Delivery receipt")
    pdf.set_lang("en")
    pdf.set_auto_page_break(auto=False)
    pdf.add_page()
    pdf.set_font("helvetica", "B", 20)
    pdf.cell(0, 14, "Delivered to Aurabox", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_font("helvetica", "", 11)
    pdf.multi_cell(
        0,
        6,
        "The images of this exam were received by Aurabox and read back to confirm that they arrived.",
        new_x=XPos.LMARGIN,
        new_y=YPos.NEXT,
    )
    pdf.ln(6)
    for label, value in _rows(receipt):
        pdf.set_font("helvetica", "B", 11)
        pdf.cell(LEFT_COLUMN_MM, LINE_MM, label)
        pdf.set_font("helvetica", "", 11)
        pdf.multi_cell(0, LINE_MM, value, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    if receipt.study_link:
        pdf.set_font("helvetica", "U", 11)
        pdf.cell(0, LINE_MM, "Open the study in Aurabox", link=receipt.study_link)
    return bytes(pdf.output())


def _rows(receipt: Receipt) -> list[tuple[str, str]]:
    offset = receipt.delivered_at.strftime("%z")
    when = f"{receipt.delivered_at:%Y-%m-%d %H:%M} (UTC{offset[:3]}:{offset[3:5]})"
    return [
        ("Delivered", when),
        ("Still images", str(receipt.stills)),
        ("Clips", str(receipt.clips)),
        ("Study UID", receipt.study_uid),
    ]
