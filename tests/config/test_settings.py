"""The environment as people write it: what is understood, what is refused and in which words."""

import base64
import json
import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.config.rules import AURABOX_STUDY_FIELD_NAMES, is_allowed_upstream
from app.config.settings import Settings, asyncpg_dsn, load_settings, sqlalchemy_url, variable
from app.errors import SettingsError

# the same in every run, because they stand in the names of tests that run in several processes
KEY = base64.urlsafe_b64encode(b"newer invented sealing key bytes").decode()
OLDER_KEY = base64.urlsafe_b64encode(b"older invented sealing key bytes").decode()


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return caught.value.mistakes


def test_nothing_set_gives_the_documented_defaults():
    settings = load_settings({})
    assert settings.database_url == settings.redis_url == settings.staging_url == ""
    assert settings.data_dir == Path("data")
    assert settings.is_production
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.webhook_secret, settings.webhook_rate, settings.max_unverified) == (
        None,
        None,
        1_000_000,
    )
    assert settings.max_capture_bytes == 2147483648
    assert (settings.lease_seconds, settings.sweep_seconds) == (60, 15)
    assert (settings.retry_base_seconds, settings.retry_cap_seconds, settings.retry_budget_hours) == (
        5,
        3600,
        72,
    )
    assert settings.worker_concurrency == 20
    assert settings.clarius_base_url == "https://cloud.clarius.com"
    assert (settings.clarius_poll_interval, settings.clarius_verify_window) == (300, 900)
    assert settings.aurabox_base_url == "https://au.aurabox.cloud"
    assert settings.aurabox_study_fields == {name: name for name in AURABOX_STUDY_FIELD_NAMES}
    assert settings.may_generate_keys


def test_every_variable_is_read():
    environ = {
        "DATABASE_URL": "postgresql+psycopg://u:p@db/sonobridge",
        "REDIS_URL": "rediss://cache:6380/3",
        "SONOBRIDGE_DATA_DIR": "/srv/data",
        "SONOBRIDGE_ENV": "production",
        "SONOBRIDGE_PUBLIC_URL": "https://bridge.example.org/",
        "SONOBRIDGE_SECRET_KEYS": f"{KEY} , {OLDER_KEY}",
        "SONOBRIDGE_CA_FILE": "/etc/house.pem",
        "SONOBRIDGE_WEBHOOK_SECRET": "hook-1",
        "SONOBRIDGE_TRUSTED_PROXIES": "10.0.0.5, 172.18.0.0/16,::1",
        "SONOBRIDGE_WEBHOOK_RATE": "12.5",
        "SONOBRIDGE_MAX_UNVERIFIED": "7",
        "SONOBRIDGE_ALLOWED_UPSTREAMS": "Orthanc.Local:8042, 10.0.0.7,[::1]:9",
        "SONOBRIDGE_STAGING_URL": "s3://bucket/prefix/",
        "SONOBRIDGE_MAX_CAPTURE_BYTES": "1000",
        "SONOBRIDGE_LEAST_FREE_BYTES": "1001",
        "SONOBRIDGE_LEASE_SECONDS": "61",
        "SONOBRIDGE_SWEEP_SECONDS": "16",
        "SONOBRIDGE_RETRY_BASE_SECONDS": "6",
        "SONOBRIDGE_RETRY_CAP_SECONDS": "3601",
        "SONOBRIDGE_RETRY_BUDGET_HOURS": "73",
        "SONOBRIDGE_WORKER_CONCURRENCY": "21",
        "SONOBRIDGE_REQUEST_SECONDS": "17",
        "SONOBRIDGE_SETTLE_SECONDS": "18",
        "SONOBRIDGE_CREDENTIALS_PROBE_SECONDS": "19",
        "SONOBRIDGE_CONVERSION_SECONDS": "1801",
        "SONOBRIDGE_CAPTURE_RETENTION_HOURS": "25",
        "SONOBRIDGE_EXAM_RETENTION_DAYS": "31",
        "SONOBRIDGE_REVIEW_RETENTION_DAYS": "91",
        "SONOBRIDGE_EVENT_RETENTION_YEARS": "8",
        "SONOBRIDGE_LOG_LEVEL": "DEBUG",
        "SONOBRIDGE_PLACEHOLDER_IDENTIFIERS": "Walk In, -1,sin  ficha",
        "CLARIUS_BASE_URL": "https://cloud.example.org",
        "CLARIUS_API_KEY": "clarius-key",
        "CLARIUS_POLL_INTERVAL": "301",
        "CLARIUS_VERIFY_WINDOW": "901",
        "CLARIUS_RESEARCH_USERNAME": "research",
        "CLARIUS_RESEARCH_PASSWORD": "research-password",
        "AURABOX_BASE_URL": "https://eu.example.org",
        "AURABOX_IMAGE_COUNT_FIELD": "images_held",
        "AURABOX_STUDY_FIELDS": '{"modality": "mod", "source": null}',
        "AURA_APP_ID": "app",
        "AURA_APP_SECRET": "app-secret",
        "SONOBRIDGE_OIDC_ISSUER": "https://sso.example.org",
        "SONOBRIDGE_OIDC_CLIENT_ID": "client",
        "SONOBRIDGE_OIDC_CLIENT_SECRET": "client-secret",
        "SONOBRIDGE_OIDC_TRUST_EMAIL": "true",
        "SONOBRIDGE_OIDC_EMAIL_CLAIM": "preferred_username",
        "SONOBRIDGE_SMTP_HELO": "bridge.example.org",
        "SONOBRIDGE_SMTP_URL": "smtp://user:mail-password@mail.example.org:587",
        "SONOBRIDGE_ALERT_URL": "https://chat.example.org/hook/alert-token",
        "SONOBRIDGE_ALERT_EMAIL": "ops@example.org",
    }
    assert set(environ) == {variable(field) for field in Settings.model_fields}, (
        "the list above misses a variable"
    )
    settings = load_settings(environ)
    defaults = load_settings({})
    same = [name for name in Settings.model_fields if getattr(settings, name) == getattr(defaults, name)]
    assert same == ["env"]
    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY, OLDER_KEY]
    assert settings.allowed_upstreams == {"orthanc.local:8042", "10.0.0.7", "[::1]:9"}
    assert settings.public_url == "https://bridge.example.org"
    assert settings.trusted_proxies == {"10.0.0.5/32", "172.18.0.0/16", "::1/128"}
    assert settings.aurabox_study_fields == {"modality": "mod", "source": None}
    for secret in (
        KEY,
        "hook-1",
        "clarius-key",
        "research-password",
        "app-secret",
        "client-secret",
        "mail-password",
    ):
        assert secret not in repr(settings)
    assert "alert-token" not in repr(settings)
    assert "u:p@" not in repr(settings)


def test_an_empty_variable_counts_as_not_set():
    assert load_settings({"CLARIUS_API_KEY": "", "SONOBRIDGE_WEBHOOK_RATE": "  "}).clarius_api_key is None


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        load_settings({}).lease_seconds = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DATABASE_URL", "mysql://h/d", "must begin with postgresql://"),
        ("DATABASE_URL", "sqlite:///x", "must begin with postgresql://"),
        ("DATABASE_URL", "nonsense", "is not a URL"),
        ("DATABASE_URL", "postgresql://host", "names no database"),
        (
            "DATABASE_URL",
            "postgresql://host/d?gssencmode=require",
            "options that are not served: gssencmode",
        ),
        (
            "DATABASE_URL",
            "postgresql://host/d?sslmode=disable&channel_binding=require",
            "which needs TLS, and for sslmode=disable",
        ),
        ("REDIS_URL", "http://h", "must begin with redis://, rediss:// or unix://"),
        ("REDIS_URL", "redis://", "is not a URL with a host"),
        ("REDIS_URL", "unix://relative", "must name the socket by its whole path"),
        ("SONOBRIDGE_ENV", "staging", "must be 'production' or 'development'"),
        ("SONOBRIDGE_PUBLIC_URL", "http://bridge.example.org", "plain http is for loopback hosts only"),
        ("SONOBRIDGE_PUBLIC_URL", "bridge.example.org", "is not a URL with a host"),
        ("SONOBRIDGE_PUBLIC_URL", "https://u:p@bridge.example.org", "must not carry a user name"),
        ("SONOBRIDGE_PUBLIC_URL", "https://bridge.example.org:port", "is not a URL"),
        ("SONOBRIDGE_PUBLIC_URL", "https://bridge.example.org/bridge/", "must not carry a path"),
        ("SONOBRIDGE_PUBLIC_URL", "https://bridge.example.org?a=1", "must not carry a query"),
        ("SONOBRIDGE_SECRET_KEYS", f"{KEY},short", "entry 2 is not a sealing key"),
        ("SONOBRIDGE_WEBHOOK_SECRET", "a/b", "becomes part of a path"),
        ("SONOBRIDGE_TRUSTED_PROXIES", "proxy.example", "takes addresses or networks"),
        ("SONOBRIDGE_TRUSTED_PROXIES", "*", "takes addresses or networks"),
        ("SONOBRIDGE_TRUSTED_PROXIES", "10.0.0.5/8", "no bits after the mask"),
        ("SONOBRIDGE_TRUSTED_PROXIES", "10.0.0.5,0.0.0.0/0", "would trust everybody"),
        ("SONOBRIDGE_WEBHOOK_RATE", "0", "greater than 0"),
        ("SONOBRIDGE_WEBHOOK_RATE", "inf", "finite"),
        ("SONOBRIDGE_MAX_UNVERIFIED", "-1", "greater than or equal to 0"),
        ("SONOBRIDGE_ALLOWED_UPSTREAMS", "http://10.0.0.1", "no scheme, no path"),
        ("SONOBRIDGE_ALLOWED_UPSTREAMS", "host:port", "takes host or host:port"),
        ("SONOBRIDGE_STAGING_URL", "gs://bucket", "must be s3://bucket"),
        ("SONOBRIDGE_MAX_CAPTURE_BYTES", "2 GB", "must be a valid integer"),
        ("SONOBRIDGE_LEAST_FREE_BYTES", "-1", "greater than or equal to 0"),
        ("SONOBRIDGE_LEASE_SECONDS", "0", "greater than 0"),
        ("SONOBRIDGE_SWEEP_SECONDS", "soon", "must be a valid number"),
        ("SONOBRIDGE_RETRY_BASE_SECONDS", "-5", "greater than 0"),
        ("SONOBRIDGE_RETRY_CAP_SECONDS", "1", "must not be less than SONOBRIDGE_RETRY_BASE_SECONDS"),
        ("SONOBRIDGE_RETRY_BUDGET_HOURS", "nan", "must be"),
        ("SONOBRIDGE_WORKER_CONCURRENCY", "0", "greater than or equal to 1"),
        ("CLARIUS_BASE_URL", "http://cloud.example.org", "must begin with https://"),
        ("CLARIUS_BASE_URL", "https://10.0.0.1", "is a private address"),
        ("CLARIUS_BASE_URL", "https://localhost", "is a private address"),
        ("CLARIUS_BASE_URL", "ftp://cloud.example.org", "must begin with https://"),
        ("AURABOX_BASE_URL", "http://aurabox.example.org", "must begin with https://"),
        ("AURABOX_STUDY_FIELDS", "modality", "is not JSON"),
        ("AURABOX_STUDY_FIELDS", "[]", "must be a valid dictionary"),
        ("AURABOX_STUDY_FIELDS", '{"patient_name": "x"}', "unknown names patient_name"),
        ("AURABOX_STUDY_FIELDS", '{"modality": "a", "source": "a"}', "must be different from each other"),
        ("AURA_APP_SECRET", "x", "AURA_APP_ID: missing; it belongs to AURA_APP_SECRET"),
        ("CLARIUS_RESEARCH_USERNAME", "x", "CLARIUS_RESEARCH_PASSWORD: missing"),
        ("SONOBRIDGE_SMTP_URL", "https://mail.example.org", "must begin with smtp://"),
        ("SONOBRIDGE_ALERT_URL", "mailto:x", "is not a URL with a host"),
        ("SONOBRIDGE_ALERT_EMAIL", "ops@example.org", "needs SONOBRIDGE_SMTP_URL"),
        ("SONOBRIDGE_ALERT_EMAIL", "ops", "is not an e-mail address"),
        ("SONOBRIDGE_LOG_LEVEL", "loud", "must be 'DEBUG'"),
        ("SONOBRIDGE_LEASE_SECOND", "60", "is not a setting; did you mean SONOBRIDGE_LEASE_SECONDS?"),
        ("SONOBRIDGE_XYZZY", "60", "is not a setting"),
    ],
)
def test_a_wrong_value_gives_one_readable_line(name: str, value: str, words: str):
    environ = {name: value}
    lines = mistakes(**environ)
    assert len(lines) == 1, lines
    assert words in lines[0]
    assert re.match(r"[A-Z_]+: ", lines[0])


def test_all_mistakes_are_told_at_once_and_no_secret_with_them():
    lines = mistakes(
        DATABASE_URL="mysql://ann:geheim@db/x",
        SONOBRIDGE_SECRET_KEYS="geheim",
        SONOBRIDGE_SMTP_URL="http://ann:geheim@mail",
        SONOBRIDGE_WEBHOOK_SECRET="geheim/",
        SONOBRIDGE_OIDC_CLIENT_SECRET="geheim",
        SONOBRIDGE_SWEEP="1",
        CLARIUS_BASE_URL="http://x.example.org",
    )
    assert [line.partition(":")[0] for line in lines] == [
        "SONOBRIDGE_SWEEP",
        "DATABASE_URL",
        "SONOBRIDGE_SECRET_KEYS",
        "SONOBRIDGE_WEBHOOK_SECRET",
        "SONOBRIDGE_SMTP_URL",
        "SONOBRIDGE_OIDC_ISSUER",
        "SONOBRIDGE_OIDC_CLIENT_ID",
        "CLARIUS_BASE_URL",
    ]
    assert "geheim" not in "\n".join(lines)


def test_production_with_a_database_of_its_own_needs_a_key():
    environ = {"DATABASE_URL": "postgresql://db/sonobridge"}
    assert "SONOBRIDGE_SECRET_KEYS: missing" in mistakes(**environ)[0]
    assert load_settings(environ | {"SONOBRIDGE_SECRET_KEYS": KEY}).secret_keys == [SecretStr(KEY)]
    assert load_settings(environ | {"SONOBRIDGE_ENV": "development"}).may_generate_keys


def test_upstreams_on_the_premises_can_be_allowed():
    environ = {"AURABOX_BASE_URL": "http://10.0.0.7:9000", "SONOBRIDGE_ALLOWED_UPSTREAMS": "10.0.0.7:9000"}
    assert load_settings(environ).aurabox_base_url == "http://10.0.0.7:9000"
    assert "AURABOX_BASE_URL" in mistakes(**environ | {"AURABOX_BASE_URL": "http://10.0.0.7:9001"})[0]


@pytest.mark.parametrize(
    ("url", "allowed", "expected"),
    [
        ("http://Box:80/x", {"box"}, True),
        ("http://box/x", {"box:80"}, True),
        ("https://box/x", {"box:80"}, False),
        ("https://[::1]:9/x", {"[::1]:9"}, True),
        ("https://box.evil.example/x", {"box"}, False),
    ],
)
def test_an_allowed_upstream_is_a_host_with_or_without_its_port(url: str, allowed: set[str], expected: bool):
    assert is_allowed_upstream(url, frozenset(allowed)) is expected


def test_tools_have_variables_of_their_own():
    load_settings(
        {"SONOBRIDGE_REQUIRE_BROWSER": "1", "SONOBRIDGE_FAULT_POINT": "inbox:before_commit", "HOME": "/"}
    )


@pytest.mark.parametrize("driver", ["", "+asyncpg", "+psycopg", "+psycopg2"])
def test_any_driver_is_accepted_and_ours_is_used(driver: str):
    given = f"postgresql{driver}://ann:p%40ss@db:5433/sonobridge?sslmode=require"
    url = sqlalchemy_url(given)
    assert url.drivername == "postgresql+asyncpg"
    assert (url.password, url.host, url.port, url.database) == ("p@ss", "db", 5433, "sonobridge")
    assert dict(url.query) == {"ssl": "require"}
    assert asyncpg_dsn(given) == "postgresql://ann:p%40ss@db:5433/sonobridge?sslmode=require"


def test_stores_found_later_take_their_place():
    settings = load_settings({}).with_stores(database_url="postgresql://x/y", redis_url="redis://z")
    assert (settings.database_url, settings.redis_url) == ("postgresql://x/y", "redis://z")


def test_all_study_fields_that_we_know_are_sent():
    fields = json.loads(json.dumps(load_settings({}).aurabox_study_fields))
    assert fields["study_instance_uid"] == "study_instance_uid"
    assert len(fields) == 9
