"""The receipt: one page, what it must say, nothing that it must not."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.imaging.receipt import Receipt
from app.imaging.receipt_pdf import render_receipt

STUDY = "2.25.329800735698586629295641978511506172918"
WHEN = datetime(2026, 3, 4, 15, 30, tzinfo=timezone(timedelta(hours=10)))


def receipt(**changes):
    return Receipt(**{"delivered_at": WHEN, "stills": 3, "clips": 2, "study_uid": STUDY, **changes})


def test_it_is_one_page_that_says_when_what_and_where():
    pdf = render_receipt(receipt(study_link="https://au.aurabox.example/studies/7"))
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") == 1
    for text in (b"2026-03-04 15:30", b"UTC+10:00", b"(3)", b"(2)", STUDY.encode()):
        assert text in pdf
    assert b"https://au.aurabox.example/studies/7" in pdf


def test_without_a_link_there_is_none():
    assert b"/URI" not in render_receipt(receipt())


def test_the_same_delivery_gives_the_same_bytes():
    assert render_receipt(receipt()) == render_receipt(receipt())
    assert render_receipt(receipt()) != render_receipt(receipt(clips=1))


def test_a_time_without_its_zone_is_a_mistake():
    with pytest.raises(ValueError, match="zone"):
        receipt(delivered_at=WHEN.astimezone(UTC).replace(tzinfo=None))
