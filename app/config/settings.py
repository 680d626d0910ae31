"""Reads the environment once into one frozen value; must not open, start or look up anything.

Every variable of the public interface is a field here. A field's name is the variable's in lower case without
the `SONOBRIDGE_` prefix, so `SONOBRIDGE_LEASE_SECONDS` is `settings.lease_seconds`.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from sqlalchemy.engine import URL, make_url

from app.config import rules
from app.errors import SettingsError

PREFIX = "SONOBRIDGE_"
UNPREFIXED = ("database_url", "redis_url", "clarius_", "aurabox_", "aura_")
"""Beginnings of the fields whose variable has no prefix."""

OTHER_VARIABLES = ("SONOBRIDGE_FAULT_POINT", "SONOBRIDGE_REQUIRE_", "SONOBRIDGE_TEST_")
"""Beginnings of variables that tests and tools read, and that are therefore no typing mistakes."""


HttpBase = Annotated[str, AfterValidator(rules.http_base)]
Seconds = Annotated[float, Field(gt=0, le=31 * 24 * 3600, allow_inf_nan=False)]


class Settings(BaseModel):
    """Everything the environment decides. Built by `load_settings`, or directly (with the same checks) by tests."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    database_url: Annotated[str, AfterValidator(rules.database_url)] = Field("", repr=False)
    """Empty: the embedded PostgreSQL."""
    redis_url: Annotated[str, AfterValidator(rules.redis_url)] = Field("", repr=False)
    """Empty: the embedded Redis."""
    data_dir: Path = Path("data")
    env: Literal["production", "development"] = "production"
    public_url: Annotated[str, AfterValidator(rules.public_url)] = "http://127.0.0.1:8000"
    secret_keys: Annotated[
        list[SecretStr], BeforeValidator(rules.comma_list), AfterValidator(rules.fernet_keys)
    ] = []
    """Newest first. Empty: `app.config.sealing.load_or_create_keys(data_dir)`, where `may_generate_keys` allows it."""
    trusted_proxies: Annotated[
        frozenset[str], BeforeValidator(rules.comma_list), AfterValidator(rules.networks)
    ] = frozenset(rules.LOOPBACK)
    """Networks whose X-Forwarded-For and X-Forwarded-Proto count."""
    ca_file: Path | None = None
    """Certificates (PEM) of further authorities that outgoing connections trust (app/config/trust.py); not the exporter of traces, which has a setting of its own."""
    webhook_secret: Annotated[SecretStr, AfterValidator(rules.path_segment)] | None = None
    webhook_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Requests per second per API process; None: no limit."""
    max_unverified: Annotated[int, Field(ge=0)] = 1_000_000
    allowed_upstreams: Annotated[
        frozenset[str], BeforeValidator(rules.comma_list), AfterValidator(rules.upstreams)
    ] = frozenset()
    """Lower-case `host` or `host:port` that may be private or plain http."""
    staging_url: Annotated[str, AfterValidator(rules.staging_url)] = ""
    """Empty: a folder in the data folder."""
    max_capture_bytes: Annotated[int, Field(gt=0)] = 2_147_483_648
    least_free_bytes: Annotated[int, Field(ge=0)] = 536_870_912
    """With less free disk in the data folder no exam is taken: a capture may be gigabytes, and a full disk stops a
    database too."""
    lease_seconds: Seconds = 60
    sweep_seconds: Seconds = 15
    retry_base_seconds: Seconds = 5
    retry_cap_seconds: Seconds = 3600
    retry_budget_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 72
    request_seconds: Seconds = 30
    """Longest silence of an upstream within one call; a create needs at least so much lease left."""
    settle_seconds: Seconds = 60
    """How long a create whose answer was lost is looked for before it counts as surely absent."""
    credentials_probe_seconds: Seconds = 900
    """How often a paused account is tried with one call."""
    worker_concurrency: Annotated[int, Field(ge=1, le=1000)] = 20
    conversion_seconds: Seconds = 1_800
    """Longest that one capture is converted; what takes longer is that capture's problem (docs/imaging.md)."""
    capture_retention_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 24
    """How long a capture is kept once delivered and confirmed."""
    exam_retention_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30
    """How long exam data are kept, and the captures of an exam that failed."""
    review_retention_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 90
    """How long both are kept of an exam that waits for a person's decision."""
    event_retention_years: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 7
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    placeholder_identifiers: Annotated[frozenset[str], BeforeValidator(rules.comma_list)] = frozenset()
    """What people here write where there is no patient identifier, beside the words that everybody writes."""

    clarius_base_url: HttpBase = "https://cloud.clarius.com"
    clarius_api_key: SecretStr | None = None
    clarius_poll_interval: Seconds = 300
    clarius_verify_window: Seconds = 900
    clarius_research_username: str | None = None
    clarius_research_password: SecretStr | None = None
    aurabox_base_url: HttpBase = "https://au.aurabox.cloud"
    aurabox_study_fields: Annotated[
        dict[str, str | None], BeforeValidator(rules.study_fields), AfterValidator(rules.known_study_fields)
    ] = {name: name for name in rules.AURABOX_STUDY_FIELD_NAMES}
    """Our name → Aurabox's name. A name that is absent or None is not sent."""
    aurabox_image_count_field: str = ""
    """The field in which the team's studies show how many images they hold; empty: they show none."""
    aura_app_id: str | None = None
    aura_app_secret: SecretStr | None = None

    oidc_issuer: HttpBase | None = None
    oidc_client_id: str | None = None
    oidc_client_secret: SecretStr | None = None
    oidc_email_claim: str = "email"
    """In which claim the issuer names the address; Microsoft Entra ID may name it in `preferred_username` only."""
    oidc_trust_email: bool = False
    """Take e-mail addresses of which the issuer does not say whether it verified them (Microsoft Entra ID)."""
    smtp_url: Annotated[SecretStr, AfterValidator(rules.smtp_url)] | None = None
    smtp_helo: Annotated[str, AfterValidator(rules.helo)] | None = None
    """Our name in EHLO where the public URL's host is not the right one."""
    alert_url: Annotated[str, AfterValidator(rules.web_hook_target)] | None = Field(None, repr=False)
    alert_email: Annotated[str, AfterValidator(rules.email)] | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        mistakes = [*_incomplete_sets(self), *_refused_upstreams(self)]
        if self.aurabox_image_count_field in {*self.aurabox_study_fields.values()} - {None}:
            mistakes.append(
                "AURABOX_IMAGE_COUNT_FIELD: must not be a field that we write (AURABOX_STUDY_FIELDS); it would count nothing"
            )
        if self.retry_cap_seconds < self.retry_base_seconds:
            mistakes.append(
                "SONOBRIDGE_RETRY_CAP_SECONDS: must not be less than SONOBRIDGE_RETRY_BASE_SECONDS"
            )
        if not self.secret_keys and not self.may_generate_keys:
            mistakes.append(
                "SONOBRIDGE_SECRET_KEYS: missing; with DATABASE_URL set, production needs a key from "
                "`sonobridge keys new`, the same on every host"
            )
        if self.alert_email and not self.smtp_url:
            mistakes.append("SONOBRIDGE_ALERT_EMAIL: needs SONOBRIDGE_SMTP_URL to send by")
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    @property
    def may_generate_keys(self) -> bool:
        """Whether a missing sealing key may be made in the data folder: a key made on one host of many loses data."""
        return not self.database_url or self.env == "development"

    @property
    def is_production(self) -> bool:
        """Production refuses plain http and private addresses upstream."""
        return self.env == "production"

    def with_stores(self, *, database_url: str, redis_url: str) -> "Settings":
        """The same settings with the stores named that `app.embedded.embedded_stores` gave.

        Keys that were generated stay allowed, so this copies without checking again.
        """
        return self.model_copy(update={"database_url": database_url, "redis_url": redis_url})


def _incomplete_sets(settings: Settings) -> list[str]:
    """One line for each field that is missing while others of its set are given."""
    sets = (
        ("aura_app_id", "aura_app_secret"),
        ("clarius_research_username", "clarius_research_password"),
        ("oidc_issuer", "oidc_client_id", "oidc_client_secret"),
    )
    mistakes = []
    for names in sets:
        present = [name for name in names if getattr(settings, name) is not None]
        missing = [name for name in names if getattr(settings, name) is None]
        if present and missing:
            mistakes += [
                f"{variable(name)}: missing; it belongs to {variable(present[0])}" for name in missing
            ]
    return mistakes


def _refused_upstreams(settings: Settings) -> list[str]:
    """One line for each upstream that production refuses by its scheme or its literal address."""
    if not settings.is_production:
        return []
    mistakes = []
    for name in ("clarius_base_url", "aurabox_base_url", "oidc_issuer"):
        url = getattr(settings, name)
        if url is None or rules.is_allowed_upstream(url, settings.allowed_upstreams):
            continue
        parts = urlsplit(url)
        if parts.scheme != "https":
            mistakes.append(
                f"{variable(name)}: must begin with https://, or name its host in SONOBRIDGE_ALLOWED_UPSTREAMS"
            )
        elif rules.is_private_literal(parts.hostname or ""):
            mistakes.append(
                f"{variable(name)}: is a private address; name it in SONOBRIDGE_ALLOWED_UPSTREAMS if it is meant"
            )
    return mistakes


def variable(field: str) -> str:
    """The environment variable of a field."""
    return field.upper() if field.startswith(UNPREFIXED) else PREFIX + field.upper()


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment (`os.environ` when none is given); an empty value counts as not set.

    Raises SettingsError with every mistake found, not only the first.
    """
    environ = os.environ if environ is None else environ
    by_variable = {variable(field): field for field in Settings.model_fields}
    values = {
        field: environ[name].strip() for name, field in by_variable.items() if environ.get(name, "").strip()
    }
    mistakes = _unknown_variables(environ, variables=sorted(by_variable))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(mistakes + _mistakes(values, error)) from None
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def _unknown_variables(environ: Mapping[str, str], *, variables: list[str]) -> list[str]:
    mistakes = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in variables or name.startswith(OTHER_VARIABLES):
            continue
        close = difflib.get_close_matches(name, variables, n=1)
        mistakes.append(f"{name}: is not a setting" + (f"; did you mean {close[0]}?" if close else ""))
    return mistakes


def _mistakes(values: dict[str, str], error: ValidationError) -> list[str]:
    """Lines for wrong values, then for values that do not agree with each other.

    Pydantic checks agreement only once every field is right, so the wrong ones are put aside for a second look.
    """
    lines: dict[str, str] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        text = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if not item["loc"]:
            return text.split("\n")
        name = variable(str(item["loc"][0]))
        lines.setdefault(name, f"{name}: {text}")
    rest = {field: value for field, value in values.items() if variable(field) not in lines}
    try:
        Settings.model_validate(rest)
    except ValidationError as second:
        for line in _mistakes(rest, second):
            lines.setdefault(line.partition(":")[0], line)
    return list(lines.values())


def sqlalchemy_url(database_url: str) -> URL:
    """The URL for `create_async_engine`, whatever driver it named; libpq's `sslmode` becomes asyncpg's `ssl`."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    options = {rules.DATABASE_OPTIONS[name]: value for name, value in url.query.items()}
    return url.set(query={name: value for name, value in options.items() if name is not None})


def asyncpg_dsn(database_url: str) -> str:
    """The URL for a plain `asyncpg.connect`, which reads libpq's options itself."""
    url = make_url(database_url).set(drivername="postgresql")
    query = {("sslmode" if name == "ssl" else name): value for name, value in url.query.items()}
    for name in ("prepared_statement_cache_size", "sslrootcert", "channel_binding"):
        query.pop(name, None)
    return url.set(query=query).render_as_string(hide_password=False)
