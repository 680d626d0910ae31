"""The receipt as a PDF of one page; must not choose what it says. The same delivery gives the same bytes."""

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from app.imaging.receipt import Receipt, rows_of, sentence_of
from app.imaging.uids import IMPLEMENTATION_VERSION_NAME

LEFT_COLUMN_MM = 55
LINE_MM = 8


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
    pdf.cell(0, 14, receipt.title, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_font("helvetica", "", 11)
    pdf.multi_cell(
        0,
        6,
        sentence_of(receipt),
        new_x=XPos.LMARGIN,
        new_y=YPos.NEXT,
    )
    pdf.ln(6)
    for label, value in rows_of(receipt):
        pdf.set_font("helvetica", "B", 11)
        pdf.cell(LEFT_COLUMN_MM, LINE_MM, label)
        pdf.set_font("helvetica", "", 11)
        pdf.multi_cell(0, LINE_MM, value, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    if receipt.study_link:
        pdf.set_font("helvetica", "U", 11)
        pdf.cell(0, LINE_MM, "Open the study in Aurabox", link=receipt.study_link)
    return bytes(pdf.output())
