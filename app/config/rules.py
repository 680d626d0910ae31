"""The rules one environment value obeys, each with a text for the person who typed it; must not read anything.

Each function takes the value as typed and gives it back tidied, or raises ValueError whose text follows the
variable's name in a message and holds nothing of the value (it may be a secret).
"""

import ipaddress
import json
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

AURABOX_STUDY_FIELD_NAMES = (
    "study_instance_uid",
    "accession_number",
    "description",
    "modality",
    "study_date",
    "number_of_images",
    "source",
    "source_exam_uuid",
    "source_request_uuid",
)
"""Our names of a study's fields (A12); `aurabox_study_fields` maps each to the team's own name."""

LOOPBACK = ("127.0.0.1/32", "::1/128")
"""Where a proxy on this very host comes from."""

DATABASE_OPTIONS = {
    "host": "host",
    "port": "port",
    "ssl": "ssl",
    "sslmode": "ssl",
    "passfile": "passfile",
    "target_session_attrs": "target_session_attrs",
    "prepared_statement_cache_size": "prepared_statement_cache_size",
    "sslrootcert": None,
    "channel_binding": None,
}
"""Query options a database URL may carry → what asyncpg calls them; None: `app.infrastructure.database` sees to it."""


def url_parts(value: str) -> SplitResult:
    """The parts of a URL with a host; raises ValueError with a text for the person who typed it."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not parts.hostname:
        raise ValueError("is not a URL with a host, such as https://example.org")
    return parts


def http_base(value: str) -> str:
    """The base URL of an HTTP service, without its last slash."""
    parts = url_parts(value)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with https:// (or http:// where that is allowed)")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not carry a query or fragment")
    return value.rstrip("/")


def public_url(value: str) -> str:
    """What browsers see: https, or http on this machine itself."""
    value = http_base(value)
    parts = urlsplit(value)
    if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise ValueError("must begin with https://; plain http is for loopback hosts only")
    if parts.path:
        raise ValueError("must not carry a path: we are served from the root of a host of our own")
    return value


def web_hook_target(value: str) -> str:
    """A URL we post to; its path and query may be secret."""
    if url_parts(value).scheme not in {"http", "https"}:
        raise ValueError("must begin with https:// or http://")
    return value


def database_url(value: str) -> str:
    """A PostgreSQL URL with a database's name and options asyncpg knows; empty stays empty."""
    if not value:
        return value
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError("is not a URL such as postgresql://user@host/database") from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql://; no other database is served")
    if not url.database:
        raise ValueError("names no database; end it with /name")
    unknown = sorted(set(url.query) - set(DATABASE_OPTIONS))
    if unknown:
        raise ValueError(
            f"has options that are not served: {', '.join(unknown)}; known: {', '.join(DATABASE_OPTIONS)}"
        )
    if url.query.get("channel_binding") == "require" and url.query.get("sslmode") == "disable":
        raise ValueError("asks for channel_binding=require, which needs TLS, and for sslmode=disable")
    return value


def redis_url(value: str) -> str:
    """A Redis URL by network or by socket; empty stays empty."""
    if not value:
        return value
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if scheme == "unix" and not urlsplit(value).path.startswith("/"):
        raise ValueError("must name the socket by its whole path: unix:///run/redis.sock")
    if scheme != "unix":
        url_parts(f"{scheme}://{rest}")
    return value


def staging_url(value: str) -> str:
    """An S3 bucket with an optional prefix; empty stays empty."""
    if value and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#\s]*)?", value):
        raise ValueError("must be s3://bucket or s3://bucket/prefix")
    return value.rstrip("/")


def smtp_url(value: SecretStr) -> SecretStr:
    """A mail server; the URL may hold a password."""
    if url_parts(value.get_secret_value()).scheme not in {"smtp", "smtps"}:
        raise ValueError("must begin with smtp:// (STARTTLS) or smtps://")
    return value


def helo(value: str) -> str:
    """A name for EHLO: a host, or an address in brackets."""
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", value):
        raise ValueError("is no name of a host")
    return value


def path_segment(value: SecretStr) -> SecretStr:
    """A secret that is one segment of a path."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", value.get_secret_value()):
        raise ValueError("becomes part of a path: letters, digits and . _ ~ - only")
    return value


def email(value: str) -> str:
    """An address; whether it exists shows when mail is sent."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise ValueError("is not an e-mail address")
    return value


def comma_list(value: Any) -> Any:
    """Text with commas as a list; anything else as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def fernet_keys(keys: list[SecretStr]) -> list[SecretStr]:
    """Sealing keys that can be used."""
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key.get_secret_value())
        except ValueError:
            raise ValueError(
                f"entry {position} is not a sealing key; `sonobridge keys new` makes one"
            ) from None
    return keys


def upstreams(values: frozenset[str]) -> frozenset[str]:
    """Hosts, with or without a port, in lower case."""
    for value in values:
        if "/" in value or "@" in value:
            raise ValueError("takes host or host:port, comma between; no scheme, no path")
        try:
            host = url_parts(f"//{value}").hostname
        except ValueError:
            host = None
        if host is None:
            raise ValueError("takes host or host:port, comma between")
    return frozenset(value.lower() for value in values)


def networks(values: frozenset[str]) -> frozenset[str]:
    """Addresses and networks of proxies, spelled as networks."""
    spelled = set()
    for value in values:
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            raise ValueError(
                "takes addresses or networks, comma between, such as 10.0.0.5,172.18.0.0/16 (no bits after the mask)"
            ) from None
        if network.prefixlen == 0:
            raise ValueError("would trust everybody: name the proxy's address or network")
        spelled.add(str(network))
    return frozenset(spelled)


def study_fields(value: Any) -> Any:
    """JSON text as what it says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        raise ValueError('is not JSON, such as {"modality": "modality", "source": null}') from None


def known_study_fields(value: dict[str, str | None]) -> dict[str, str | None]:
    """A mapping of our names to different names of Aurabox's."""
    unknown = sorted(set(value) - set(AURABOX_STUDY_FIELD_NAMES))
    if unknown:
        raise ValueError(
            f"unknown names {', '.join(unknown)}; ours are {', '.join(AURABOX_STUDY_FIELD_NAMES)}"
        )
    sent = [name for name in value.values() if name is not None]
    if "" in sent or len(set(sent)) != len(sent):
        raise ValueError("Aurabox's names must be different from each other and not empty")
    return value


def is_loopback_host(host: str) -> bool:
    """Whether a host as written in a URL is this machine by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_allowed_upstream(url: str, allowed: frozenset[str]) -> bool:
    """Whether the URL's host, alone or with its port, is named in SONOBRIDGE_ALLOWED_UPSTREAMS."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    written = f"[{host}]" if ":" in host else host
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return written in allowed or f"{written}:{port}" in allowed


def is_private_literal(host: str) -> bool:
    """Whether a host is written as an address (or name) that is not on the internet."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return is_loopback_host(host)
