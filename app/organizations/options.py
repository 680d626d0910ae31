"""What may be said of an organisation, and which of it goes together; must not read or write anything.

The names are those of the command's options in snake_case, and those of the admin API's bodies.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from app.config import rules
from app.config.settings import Settings
from app.errors import Misuse
from app.store.organizations import (
    Animals,
    BurnedIn,
    CaptureSource,
    Corrections,
    IdentityPolicy,
    Images,
    Incomplete,
    MatchExisting,
    Organization,
    Video,
)

NAME_CHARACTERS = 200
MOST_MASKS = 16


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


class OrganizationOptions(BaseModel):
    """What was said of an organisation; what was not said is not in `model_fields_set`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(organization_name)] = ""
    aurabox_key: Secret | None = None
    aurabox_url: Url | None = None
    identity: IdentityPolicy = IdentityPolicy.IDENTIFIED
    incomplete: Incomplete = Incomplete.CASE
    animals: Animals = Animals.CASE
    match_existing: MatchExisting = MatchExisting.EXACT
    keep_birth_date: bool = False
    source: CaptureSource = CaptureSource.CAPTURES
    images: Images = Images.NONE
    video: Video = Video.CINE
    burned_in: BurnedIn = BurnedIn.UNKNOWN
    masks: Annotated[list[Rectangle], Field(max_length=MOST_MASKS)] = []
    dicomweb_url: Url | None = None
    dicomweb_user: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^:\s]+$")] | None = None
    dicomweb_token: Secret | None = None
    service_key: Secret | None = None
    report: bool = False
    timezone: Annotated[str, AfterValidator(time_zone)] = "UTC"
    corrections: Corrections = Corrections.REVIEW
    concurrency: Annotated[int, Field(ge=1, le=200)] = 8


SECRETS = ("aurabox_key", "service_key", "dicomweb_token")
PLAIN = tuple(name for name in OrganizationOptions.model_fields if name not in SECRETS)


def read_options(given: Mapping[str, Any]) -> OrganizationOptions:
    """The options, or Misuse with one line for the first mistake; the line never repeats the value."""
    try:
        return OrganizationOptions.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if first["type"] == "extra_forbidden":
            text = "is not an option of an organisation"
        raise Misuse(f"{field}: {text}") from None


def check_agreement(organization: Organization, said: frozenset[str], settings: Settings) -> None:
    """Raise Misuse when the options of an organisation, as it would be, do not go together.

    `said` are the options given now.
    """
    images = organization.images != Images.NONE
    if (
        organization.identity == IdentityPolicy.DEIDENTIFIED
        and images
        and not _burned_in_known(organization, said)
    ):
        raise Misuse(
            "burned_in: say no, mask or unknown when de-identified images are sent "
            "(unknown sends every exam with images to review)"
        )
    if organization.burned_in == BurnedIn.MASK and not organization.masks:
        raise Misuse("masks: burned_in mask needs at least one rectangle X,Y,W,H")
    if "masks" in said and organization.masks and organization.burned_in != BurnedIn.MASK:
        raise Misuse("masks: rectangles are only blanked with burned_in mask")
    if organization.images == Images.DICOMWEB and not organization.dicomweb_url:
        raise Misuse("dicomweb_url: images dicomweb needs the address of the DICOMweb service")
    if organization.dicomweb_user and not organization.dicomweb_token_sealed:
        raise Misuse("dicomweb_token: dicomweb_user needs a token, which is then its password")
    if "images" in said and organization.images == Images.UPLOADER and settings.aura_app_id is None:
        raise Misuse("images: uploader needs AURA_APP_ID and AURA_APP_SECRET to be set")
    for field in ("aurabox_url", "dicomweb_url"):
        check_address(field, getattr(organization, field), settings)


def _burned_in_known(organization: Organization, said: frozenset[str]) -> bool:
    asked = said & {"identity", "images", "burned_in"}
    return not asked or "burned_in" in said or organization.burned_in != BurnedIn.UNKNOWN


def check_address(field: str, url: str | None, settings: Settings) -> None:
    """Raise Misuse for an upstream that the egress rules would refuse in production."""
    if (
        url is None
        or not settings.is_production
        or rules.is_allowed_upstream(url, settings.allowed_upstreams)
    ):
        return
    parts = rules.url_parts(url)
    if parts.scheme != "https":
        raise Misuse(f"{field}: must begin with https://, or its host be in SONOBRIDGE_ALLOWED_UPSTREAMS")
    if rules.is_private_literal(parts.hostname or ""):
        raise Misuse(f"{field}: is a private address, which SONOBRIDGE_ALLOWED_UPSTREAMS does not name")
