"""`Retry-After` in every spelling, and Laravel's and Django's ways to say no."""

import json

import pytest

from app.clients.http import Call
from app.clients.http.classify import error_for_status, redact, retry_after
from app.clients.http.intake import Pace, TooSlow
from app.errors import GiveUp, LookFirst, NotAllowed, Rejected, SlowDown, SonobridgeError, TryLater

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 23:59:59 GMT", 3600.0),
        ("Tue, 14 Nov 2023 22:13:19 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٧", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after({"retry-after": text}, now=NOW) == seconds


def test_retry_after_as_a_date_counts_from_the_answers_own_clock():
    headers = {"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT", "date": "Tue, 14 Nov 2023 22:14:10 GMT"}
    assert retry_after(headers, now=NOW - 86_400) == 10
    assert retry_after({**headers, "date": "nonsense"}, now=NOW) == 60


def test_no_retry_after():
    assert retry_after({}, now=NOW) is None


def error(body, status=422, **more):
    call = Call(
        upstream="aurabox", operation="create patient", method="POST", url="https://x.example/", **more
    )
    return error_for_status(call, status, headers={}, body=body, now=NOW)


@pytest.mark.parametrize(
    ("body", "said", "fields"),
    [
        ({"message": "No.", "errors": {"sex": ["Wrong."]}}, "No.", {"sex": ["Wrong."]}),
        ({"message": "No.", "errors": {"sex": "Wrong."}}, "No.", {"sex": ["Wrong."]}),
        ({"error": {"message": "No."}}, "No.", {}),
        ({"error": "No."}, "No.", {}),
        ({"detail": "No."}, "No.", {}),
        ({"name": ["Too long."]}, "", {"name": ["Too long."]}),
        (
            {"errors": [{"source": {"pointer": "/data/attributes/sex"}, "detail": "Wrong."}, 3]},
            "",
            {"sex": ["Wrong."]},
        ),
        (["No."], "No.", {}),
        ({"message": {"odd": 1}, "errors": [3]}, "", {}),
        (3, "", {}),
    ],
)
def test_what_the_upstream_said(body, said, fields):
    found = error(json.dumps(body).encode())
    assert isinstance(found, Rejected)
    assert found.upstream_message == said
    assert found.words == "; ".join(
        [*([said] if said else []), *(f"{name}: {texts[0]}" for name, texts in fields.items())]
    )
    assert "No." not in str(found) + repr(found)
    assert {name: texts for name, texts in found.fields.items() if texts} == fields


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("The date of birth field is required.", "is required"),
        ("This field may not be blank.", "is required"),
        (
            "The date of birth field must be a date after 1900-01-01.",
            "is not a date in the range that is taken",
        ),
        ("Lí is not a valid date.", "is not a date as it is taken"),
        ("The selected sex is invalid.", "is none of the known values"),
        ("The label may not be greater than 255 characters.", "is too long"),
        ("The MRN 4711 has already been taken by Anna Lí.", "is taken already"),
        ("The n must be an integer.", "is of a wrong type"),
        ("Lí, Anna (14.06.1985) has no consent.", "is not accepted"),
    ],
)
def test_a_remark_on_a_field_is_told_in_words_of_ours(text: str, told: str) -> None:
    found = error(
        json.dumps({"message": "The data of Lí was invalid.", "errors": {"patient.dob": [text]}}).encode()
    )
    assert str(found) == f"create patient: Aurabox answered 422 (patient.dob {told})"
    assert text in found.words


@pytest.mark.parametrize("name", ["Anna Lí", "anna", "patient.anna", "x" * 61, "1985-06-14", ""])
def test_what_may_be_a_value_is_no_name_of_a_field(name: str) -> None:
    found = error(json.dumps({"errors": {name: ["is required"]}}).encode(), json={"given_names": "Anna"})
    assert str(found) == "create patient: Aurabox answered 422 (another field is required)"


def test_many_fields_are_counted() -> None:
    found = error(
        json.dumps({"errors": {f"field_{letter}": ["required"] for letter in "abcdefghijkl"}}).encode()
    )
    assert str(found).endswith("field_h is required; and 4 more)")


@pytest.mark.parametrize("body", [b"<html>Jessica</html>", b"\xff", b"[" * 50_000])
def test_what_is_not_json_is_not_repeated(body):
    assert str(error(body)) == "create patient: Aurabox answered 422"


def test_redaction_is_blind_to_case_and_cuts_every_sent_value():
    call = Call(
        upstream="aurabox",
        operation="create patient",
        method="POST",
        url="https://x.example/",
        json={"given_names": "Ada Quill", "address": {"city": "Invented"}, "tags": ["Alpha"]},
        params={"search": "Quillsson"},
    )
    assert redact("ADA QUILL of invented, alpha, quillsson", call) == "… of …, …, …"


def test_codes_are_stable_and_name_the_upstream():
    assert TryLater("x", upstream="clarius").code == "clarius_unavailable"
    assert LookFirst("x", upstream="aurabox").code == "aurabox_unclear"
    assert SlowDown("x", upstream="aurabox").code == "aurabox_throttled"
    assert Rejected("x", upstream="aurabox").code == "aurabox_rejected"
    assert GiveUp("x", upstream="media", code="capture_too_large").code == "capture_too_large"
    assert NotAllowed("x").code == "not_allowed"
    assert issubclass(NotAllowed, SonobridgeError)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def pace(clock):
    return Pace(least_bytes_per_second=10, window_seconds=30, clock=clock)


def drip(slow, clock, *, count, seconds):
    for second in range(1, seconds):
        clock.now = float(second)
        slow.took(count)


@pytest.mark.row(15)
def test_a_slow_drip_is_cut_after_one_window():
    clock = Clock()
    slow = pace(clock)
    with pytest.raises(TooSlow):
        drip(slow, clock, count=1, seconds=60)
    assert clock.now == 30


def test_a_fast_start_does_not_pay_for_a_slow_rest():
    clock = Clock()
    slow = pace(clock)
    slow.took(10_000_000)
    with pytest.raises(TooSlow):
        drip(slow, clock, count=1, seconds=120)
    assert clock.now < 62


def test_the_least_speed_is_enough_for_ever():
    clock = Clock()
    steady = pace(clock)
    drip(steady, clock, count=10, seconds=300)
    assert clock.now == 299
