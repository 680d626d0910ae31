"""Between the bridge and PostgreSQL stands a real PgBouncer: served where it can be, refused in one sentence where not."""

import ssl
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from app.config.settings import Settings
from app.errors import Misuse
from app.infrastructure.database import POOLER, database_tls, pooler_problem
from app.opening import check_database
from app.resources import open_resources
from app.states import ExamState
from app.upkeep.doctor import examine
from tests.support.bridge import open_bridge, settings_for
from tests.support.certificates import make_certificate
from tests.support.clarius import Sandbox
from tests.support.peers.pgbouncer import running_pgbouncer

pytestmark = pytest.mark.peers


def through(settings: Settings, url: str) -> Settings:
    """The same settings with another way to the database."""
    return settings.model_copy(update={"database_url": url})


async def test_a_pooler_as_it_is_installed_carries_exams(settings: Settings, tmp_path: Path) -> None:
    with running_pgbouncer(settings.database_url, tmp_path / "pooler") as url:
        async with (
            Sandbox() as sandbox,
            open_bridge(settings_for(through(settings, url), sandbox), sandbox) as bridge,
        ):
            customer = await bridge.customer(await bridge.organization(images="none"))
            for _ in range(8):
                submitted = await sandbox.submit_exam(customer=customer, captures=())
                await bridge.reaches(submitted.request_uuid, ExamState.DELIVERED)


@pytest.mark.parametrize("pool_mode", ["transaction", "statement"])
async def test_a_pooler_that_gives_each_transaction_another_server_is_refused_in_one_sentence(
    settings: Settings, tmp_path: Path, pool_mode: str
) -> None:
    with running_pgbouncer(settings.database_url, tmp_path / "pooler", pool_mode=pool_mode) as url:
        async with open_resources(through(settings, url)) as resources:
            with pytest.raises(Misuse) as refused:
                await check_database(resources)
            assert refused.value.message == POOLER
            [database] = [check for check in await examine(resources) if check.name == "database"]
            assert (database.ok, database.detail) == (False, POOLER)


async def test_the_server_itself_is_no_pooler(settings: Settings) -> None:
    assert await pooler_problem(settings) is None


async def test_a_server_that_refuses_us_is_reported_by_whoever_asks_it(
    settings: Settings, tmp_path: Path
) -> None:
    with running_pgbouncer(settings.database_url, tmp_path / "pooler") as url:
        elsewhere = through(settings, f"{url}_not")
        assert await pooler_problem(elsewhere) is None
        async with open_resources(elsewhere) as resources:
            with pytest.raises((DBAPIError, OSError)):
                await check_database(resources)


@pytest.mark.parametrize("options", ["sslmode=verify-full", "channel_binding=require&sslmode=require"])
async def test_the_houses_own_authority_vouches_for_the_database(
    settings: Settings, tmp_path: Path, options: str
) -> None:
    both, alone = make_certificate(tmp_path, "127.0.0.1")
    with running_pgbouncer(settings.database_url, tmp_path / "pooler", certificate=both) as url:
        stranger = through(settings, f"{url}?{options}")
        async with open_resources(stranger) as resources:
            with pytest.raises(OSError, match="certificate verify failed"):
                await check_database(resources)
        async with open_resources(stranger.model_copy(update={"ca_file": alone})) as resources:
            await check_database(resources)
        async with open_resources(through(settings, f"{url}?{options}&sslrootcert={alone}")) as resources:
            await check_database(resources)


async def test_a_certificate_of_another_host_is_refused_where_the_name_counts(
    settings: Settings, tmp_path: Path
) -> None:
    both, alone = make_certificate(tmp_path, "database.example.org")
    with running_pgbouncer(settings.database_url, tmp_path / "pooler", certificate=both) as url:
        trusting = settings.model_copy(update={"ca_file": alone})
        async with open_resources(through(trusting, f"{url}?sslmode=verify-full")) as resources:
            with pytest.raises(OSError, match="certificate verify failed"):
                await check_database(resources)
        async with open_resources(through(trusting, f"{url}?sslmode=verify-ca")) as resources:
            await check_database(resources)


@pytest.mark.parametrize("made", [None, "no certificate\n"])
def test_a_root_certificate_of_no_use_is_said_with_its_setting(
    settings: Settings, tmp_path: Path, made: str | None
) -> None:
    file = tmp_path / "root.pem"
    if made is not None:
        file.write_text(made, "ascii")
    url = f"{settings.database_url}{'&' if '?' in settings.database_url else '?'}sslmode=verify-ca&sslrootcert={file}"
    with pytest.raises(Misuse, match="DATABASE_URL: its sslrootcert can't be read, or holds no certificates"):
        database_tls(through(settings, url))
    with pytest.raises(Misuse, match=r"SONOBRIDGE_CA_FILE: (can't be read|holds no certificates in PEM)"):
        database_tls(settings.model_copy(update={"ca_file": file, "database_url": url}))


URL = "postgresql://ann@db.example.org/sonobridge"


@pytest.mark.parametrize(
    ("options", "verifies", "to_the_name"),
    [
        ("", False, False),
        ("?sslmode=require", False, False),
        ("?sslmode=require&channel_binding=prefer", False, False),
        ("?sslmode=require&channel_binding=require", True, True),
        ("?channel_binding=require", True, True),
        ("?sslmode=require&sslrootcert=system", True, True),
        ("?sslmode=require&sslrootcert={file}", True, False),
        ("?sslmode=verify-ca&sslrootcert={file}", True, False),
        ("?sslmode=verify-full&sslrootcert={file}", True, True),
    ],
)
@pytest.mark.parametrize("has_own_roots", [False, True])
def test_what_a_url_demands_of_the_certificate(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
    options: str,
    verifies: bool,
    to_the_name: bool,
    has_own_roots: bool,
) -> None:
    _, file = make_certificate(tmp_path, "db.example.org")
    monkeypatch.setenv("PGSSLROOTCERT", str(file) if has_own_roots else str(tmp_path / "none"))
    tls = database_tls(through(settings, URL + options.format(file=file)))
    assert (tls is not None) is verifies
    assert tls is None or (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, to_the_name)


def test_roots_that_the_driver_finds_by_itself_are_left_to_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    _, file = make_certificate(tmp_path, "db.example.org")
    monkeypatch.setenv("PGSSLROOTCERT", str(file))
    wanted = through(settings, f"{URL}?sslmode=verify-full")
    assert database_tls(wanted) is None
    assert database_tls(wanted.model_copy(update={"ca_file": file})) is not None
