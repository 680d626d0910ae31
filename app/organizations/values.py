"""What a value of an organisation's options may look like, and its usual form; must not know the options."""

import re
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from app.config import rules

NAME_CHARACTERS = 200


def organization_name(value: str) -> str:
    """A name that can be shown and told from an id."""
    value = " ".join(value.split())
    if not value or len(value) > NAME_CHARACTERS:
        raise ValueError(f"must have 1 to {NAME_CHARACTERS} characters")
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    try:
        UUID(value)
    except ValueError:
        return value
    raise ValueError("must not look like an id")


def rectangle(value: Any) -> Any:
    """`X,Y,W,H` as four numbers; anything else as it is."""
    if isinstance(value, str):
        if not re.fullmatch(r"\s*\d{1,6}(\s*,\s*\d{1,6}){3}\s*", value):
            raise ValueError("must be X,Y,W,H in pixels, such as 0,0,640,48")
        return [int(part) for part in value.split(",")]
    return value


def visible_rectangle(value: list[int]) -> list[int]:
    """A rectangle that covers something."""
    if value[2] == 0 or value[3] == 0:
        raise ValueError("must have a width and a height")
    return value


def time_zone(value: str) -> str:
    """A zone of the IANA database."""
    if value != "UTC":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is not a time zone such as Australia/Melbourne") from None
    return value


def secret(value: SecretStr) -> SecretStr:
    """A key as it goes into a header: one line, no blanks around it."""
    plain = value.get_secret_value().strip()
    if not plain:
        raise ValueError("is empty")
    if not plain.isascii() or not plain.isprintable() or " " in plain:
        raise ValueError("must be one line of plain characters")
    return SecretStr(plain)


Secret = Annotated[SecretStr, AfterValidator(secret)]
Url = Annotated[str, AfterValidator(rules.http_base)]
Pixels = Annotated[int, Field(ge=0, le=100_000)]
Rectangle = Annotated[
    list[Pixels],
    Field(min_length=4, max_length=4),
    BeforeValidator(rectangle),
    AfterValidator(visible_rectangle),
]
