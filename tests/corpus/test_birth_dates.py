"""Dates of birth: placeholders, moments and other ways to write one (sources: README.md)."""

from datetime import date
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from app.delivery.mapping import key_text, read_birth_date, read_identity, why_incomplete

TODAY = date(2026, 3, 1)

NONE = """
0001-01-01|0001-01-01T00:00:00|0001-01-01T00:00:00Z|0001-01-02|0000-00-00|0085-06-15|0026-01-01
1582-10-15|1601-01-01|1753-01-01|1800-01-01|1840-12-31|1858-11-17|1880-01-01|1899-11-30|1899-12-30|1899-12-31|1899-12-30T00:00:00
1900-01-01|1900-01-01T00:00:00|1900-01-01T00:00:00.000Z|19000101|1900-01-02|1901-01-01|1901-12-13|1902-02-02|1903-02-28|1904-01-01
2026-03-01|2026-03-02|2079-06-06|2999-01-01|9999-12-31|9999-12-31T23:59:59Z|9999-12-31T23:59:59-12:00
85-06-15|15/06/1985|06/15/1985|15.06.1985|1985/06/15|1985-6-15|June 15, 1985|15-JUN-1985|1985|1985-06|198506|1985-166|1985-W24-6
1985-02-30|1985-13-01|31/02/1970|479606400|1985-06-15T25:00:00|1985-06-15T|1985-06-15+10:00|١٩٨٥-٠٦-١٥|unknown|N/A|-|0|99999999
"""

DATES = [
    ("1985-06-15", date(1985, 6, 15)),
    (" 1985-06-15 ", date(1985, 6, 15)),
    ("19850615", date(1985, 6, 15)),
    (19850615, date(1985, 6, 15)),
    ("1985-06-15T00:00:00", date(1985, 6, 15)),
    ("1985-06-15 00:00:00", date(1985, 6, 15)),
    ("1985-06-15T00:00:00Z", date(1985, 6, 15)),
    ("1985-06-15T00:00:00.0000000", date(1985, 6, 15)),
    ("1985-06-15T00:00:00+10:00", date(1985, 6, 15)),
    ("1970-01-01", date(1970, 1, 1)),
    ("2000-01-01", date(2000, 1, 1)),
    ("1980-01-01", date(1980, 1, 1)),
    ("1999-12-31", date(1999, 12, 31)),
    ("2024-02-29", date(2024, 2, 29)),
    ("1911-11-11", date(1911, 11, 11)),
    ("1903-03-02", date(1903, 3, 2)),
    ("2026-02-28", date(2026, 2, 28)),
]

MOMENTS = [
    # local midnight, written in UTC (msupply-foundation/mobile#4334, CityOfBoston/digital#368, shopware#4868)
    ("1985-06-14T14:00:00.000Z", "Australia/Sydney", date(1985, 6, 15)),
    ("1985-12-14T13:00:00Z", "Australia/Sydney", date(1985, 12, 15)),
    ("1985-06-14T22:00:00Z", "Europe/Berlin", date(1985, 6, 15)),
    ("1985-06-15T04:00:00Z", "America/New_York", date(1985, 6, 15)),
    ("1985-06-14T18:30:00Z", "Asia/Kolkata", date(1985, 6, 15)),
    ("1985-06-14T12:00:00Z", "Pacific/Auckland", date(1985, 6, 15)),
    ("1985-06-14T16:00:00+02:00", "Australia/Sydney", date(1985, 6, 15)),
    # a plain date, written in UTC: it must not go back a day in the west
    ("1985-06-15T00:00:00Z", "America/New_York", date(1985, 6, 15)),
    ("1985-06-15T00:00:00.000Z", "Australia/Sydney", date(1985, 6, 15)),
    # a clock's time without a zone
    ("1985-06-15T08:30:00", "Australia/Sydney", date(1985, 6, 15)),
    # the zone has a summer time that the writer did not know: an hour late is the day, an hour early is nobody's guess
    ("1985-06-14T15:00:00Z", "Australia/Sydney", date(1985, 6, 15)),
    ("1985-06-14T13:00:00Z", "Australia/Sydney", None),
    # a midnight of further east, in an organisation whose zone nobody set
    ("1985-06-14T14:00:00.000Z", "UTC", None),
    ("1985-06-14T22:00:00Z", "UTC", None),
    ("1985-06-14T14:00:00", "Australia/Sydney", None),
]


@pytest.mark.parametrize("text", [text for line in NONE.strip().splitlines() for text in line.split("|")])
def test_what_is_no_date_of_birth(text):
    assert read_birth_date(text, today=TODAY) is None
    who = read_identity(
        {"first_name": "John", "last_name": "Smith", "date_of_birth": text, "gender": "M"}, today=TODAY
    )
    assert why_incomplete(who) == "there is no valid date of birth"
    assert key_text(who, UUID(int=1)) != key_text(who, UUID(int=2))


@pytest.mark.parametrize(
    "value", [19850615.0, 19850615.5, float("nan"), True, None, [], {}, 10**30, -19850615]
)
def test_what_is_no_text_of_a_date(value):
    assert read_birth_date(value, today=TODAY) is None


@pytest.mark.parametrize(("value", "born"), DATES)
def test_what_is_a_date_of_birth(value, born):
    assert read_birth_date(value, today=TODAY) == born
    # whatever the zone: a plain date is nobody's moment
    assert read_birth_date(value, today=TODAY, zone=ZoneInfo("America/New_York")) == born


@pytest.mark.parametrize(("text", "zone", "born"), MOMENTS)
def test_a_moment_is_the_day_that_it_means_or_none(text, zone, born):
    assert read_birth_date(text, today=TODAY, zone=ZoneInfo(zone)) == born


@pytest.mark.parametrize("text", ["1970-01-01", "1970-01-01T00:00:00Z", "19700101", "1969-12-31"])
def test_day_zero_of_computers_is_a_birthday_but_no_key(text):
    """binary-static#1003, Thessia#204, P.O.T.S#34: written for "none", and many people's birthday."""
    john = {"first_name": "John", "last_name": "Smith", "date_of_birth": text, "gender": "M"}
    who = read_identity(john, today=TODAY)
    assert why_incomplete(who) is None
    assert key_text(who, UUID(int=1)) != key_text(who, UUID(int=2))
    known = read_identity({**john, "identifier": "P-7"}, today=TODAY)
    assert key_text(known, UUID(int=1)) == key_text(known, UUID(int=2))


def test_a_baby_born_yesterday_in_sydney_is_born():
    """At nine in the morning there, UTC is still at yesterday (findings/core, row 36): the day is the organisation's."""
    sydney = ZoneInfo("Australia/Sydney")
    assert read_birth_date("2026-03-02", today=date(2026, 3, 3), zone=sydney) == date(2026, 3, 2)
    baby = read_identity({"date_of_birth": "2026-03-02"}, today=date(2026, 3, 3), zone=sydney)
    assert baby.birth_date == date(2026, 3, 2)


def test_nobody_is_older_than_anybody_ever_was():
    leap_day = date(2028, 2, 29)
    assert read_birth_date("1905-02-28", today=leap_day) is None
    assert read_birth_date("1905-03-01", today=leap_day) == date(1905, 3, 1)
