"""Aurabox's documented field rules, complaining in Laravel's words; pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

NAME_LIMIT = 255
POSTCODE_LIMIT = 20
COUNTRY_LIMIT = 2
SEXES = ("male", "female", "other", "unknown")
PATIENT_REQUIRED = ("given_names", "family_name", "date_of_birth", "sex")
CASE_REQUIRED = ("label",)
ADDRESS_LIMITS = {
    "street": NAME_LIMIT,
    "city": NAME_LIMIT,
    "region": NAME_LIMIT,
    "postcode": POSTCODE_LIMIT,
    "country": COUNTRY_LIMIT,
}
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Errors = dict[str, list[str]]
Rule = Callable[[str, Any], str]


def check_patient(body: Mapping[str, Any], *, creating: bool) -> Errors:
    """Errors of a patient's fields, by field; empty when all is well."""
    rules = {"given_names": _string, "family_name": _string, "date_of_birth": _birth_date, "sex": _sex}
    errors = _check(body, required=PATIENT_REQUIRED, rules=rules, creating=creating)
    address = body.get("address")
    if address is not None and not isinstance(address, dict):
        errors["address"] = ["The address field must be an array."]
    elif address is not None:
        for name, limit in ADDRESS_LIMITS.items():
            if (value := address.get(name)) is not None and (
                text := _string(f"address.{name}", value, limit=limit)
            ):
                errors[f"address.{name}"] = [text]
    return errors


def check_case(body: Mapping[str, Any], *, creating: bool) -> Errors:
    """Errors of a case's fields, by field; empty when all is well."""
    rules = {"label": _string, "date_of_birth": _birth_date, "sex": _sex}
    return _check(body, required=CASE_REQUIRED, rules=rules, creating=creating)


def check_list(query: Mapping[str, str], *, sorts: tuple[str, ...]) -> Errors:
    """Errors of a list's query parameters."""
    errors: Errors = {}
    per_page = query.get("per_page", "25")
    if not per_page.isascii() or not per_page.isdigit():
        errors["per_page"] = ["The per page field must be an integer."]
    elif not 1 <= int(per_page) <= 100:
        bound = "at least 1" if int(per_page) < 1 else "less than or equal to 100"
        errors["per_page"] = [f"The per page field must be {bound}."]
    page = query.get("page", "1")
    if not page.isascii() or not page.isdigit() or int(page) < 1:
        errors["page"] = ["The page field must be at least 1."]
    if len(query.get("search", "")) > NAME_LIMIT:
        errors["search"] = [f"The search field must not be greater than {NAME_LIMIT} characters."]
    if query.get("sort", sorts[0]) not in sorts:
        errors["sort"] = ["The selected sort is invalid."]
    if query.get("direction", "asc") not in ("asc", "desc"):
        errors["direction"] = ["The selected direction is invalid."]
    if query.get("archived", "0") not in ("true", "false", "1", "0"):
        errors["archived"] = ["The archived field must be true or false."]
    return errors


def _check(
    body: Mapping[str, Any], *, required: tuple[str, ...], rules: Mapping[str, Rule], creating: bool
) -> Errors:
    errors: Errors = {}
    for name, rule in rules.items():
        value = body.get(name)
        # Laravel trims strings and turns empty ones into null before it validates.
        empty = value is None or (isinstance(value, str) and not value.strip())
        if empty:
            if name in required and (creating or name in body):
                errors[name] = [f"The {_spoken(name)} field is required."]
        elif text := rule(name, value):
            errors[name] = [text]
    return errors


def _string(name: str, value: Any, *, limit: int = NAME_LIMIT) -> str:
    if not isinstance(value, str):
        return f"The {_spoken(name)} field must be a string."
    if len(value) > limit:
        return f"The {_spoken(name)} field must not be greater than {limit} characters."
    return ""


def _birth_date(name: str, value: Any) -> str:
    if not isinstance(value, str) or not ISO_DATE.fullmatch(value):
        return f"The {_spoken(name)} field must be a valid date."
    try:
        given = date.fromisoformat(value)
    except ValueError:
        return f"The {_spoken(name)} field must be a valid date."
    return (
        "" if given < datetime.now(UTC).date() else f"The {_spoken(name)} field must be a date before today."
    )


def _sex(name: str, value: Any) -> str:
    return "" if value in SEXES else f"The selected {_spoken(name)} is invalid."


def _spoken(name: str) -> str:
    return name.replace("_", " ")
