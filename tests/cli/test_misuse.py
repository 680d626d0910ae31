"""Bad input gets one readable line for each mistake and exit status 2; what fails gets one line and 1."""

import pytest

from tests.cli.conftest import Cli


def test_wrong_settings_are_all_named_at_once(cli: Cli) -> None:
    done = cli(
        "org", "list", SONOBRIDGE_LEASE_SECONDS="soon", SONOBRIDGE_PUBLIC_URL="ftp://x", SONOBRIDGE_LEAS="1"
    )
    assert done.status == 2
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert any("SONOBRIDGE_LEAS: is not a setting; did you mean" in line for line in lines)
    assert any("SONOBRIDGE_LEASE_SECONDS: " in line for line in lines)
    assert any("SONOBRIDGE_PUBLIC_URL: " in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("frobnicate",), "No such command"),
        (("exam", "list", "--state", "nonsense"), "'queued', 'running'"),
        (("exam", "list", "--limit", "0"), "--limit"),
        (("exam", "list", "--since", "yesterday"), "since: must be a date or time"),
        (("exam", "list", "--cursor", "abc"), "cursor: "),
        (("exam", "show", "1"), "REQUEST_UUID"),
        (("exam", "show", "00000000-0000-0000-0000-000000000000"), "there is no exam"),
        (("exam", "retry"), "name one request UUID, or a filter"),
        (("exam", "retry", "00000000-0000-0000-0000-000000000000", "--all"), "name one request UUID"),
        (("exam", "cancel", "--organization", "Nowhere"), "there is no organisation"),
        (("exam", "release", "--identity", "same"), "one exam at a time"),
        (("link", "revoke", "00000000-0000-0000-0000-000000000000"), "there is no such link"),
        (("user", "disable", "nobody@clinic.example"), "there is no user"),
        (("token", "revoke", "x"), "there is no token"),
        (("org", "add", "--name", "A"), "aurabox_key: give it on standard input"),
        (("org", "add", "--name", "A", "--aurabox-key-stdin"), "standard input holds no line"),
        (("user", "add", "--email", "a@b.example", "--org", "A"), "password: give it on standard input"),
        (("aurabox", "studies", "create", "--org", "A", "--patient", "P"), "field: give at least one"),
        (
            ("aurabox", "studies", "create", "--org", "A", "--patient", "P", "--field", "x"),
            "must be NAME=VALUE",
        ),
        (("aurabox", "cases", "create", "--org", "A"), "nothing to write"),
        (("clarius", "research", "login"), "CLARIUS_RESEARCH_USERNAME"),
        (("demo", "--exams", "0"), "--exams"),
    ],
)
def test_misuse_is_one_line(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    assert told in cli.wrong(*arguments)


def test_a_missing_schema_says_what_to_run(cli: Cli, empty_database_url: str) -> None:
    done = cli("exam", "list", DATABASE_URL=empty_database_url)
    assert done.status == 1
    assert "run `sonobridge migrate` first" in done.err
    assert cli("migrate", DATABASE_URL=empty_database_url).status == 0
    assert cli.right("exam", "list", DATABASE_URL=empty_database_url) == {"items": [], "next_cursor": None}
    assert cli("migrate", DATABASE_URL=empty_database_url).status == 0, "twice is once"


def test_a_database_that_is_not_there_is_one_line(cli: Cli) -> None:
    done = cli("org", "list", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none")
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "noun", [(), ("org",), ("user",), ("exam",), ("clarius",), ("aurabox", "studies"), ("keys",)]
)
def test_help_names_the_commands(cli: Cli, noun: tuple[str, ...]) -> None:
    done = cli(*noun, "--help")
    assert done.status == 0
    assert "Commands:" in done.out


def test_every_command_has_an_example(cli: Cli) -> None:
    for command in (("exam", "retry"), ("org", "add"), ("up",), ("clarius", "keys", "rotate"), ("purge",)):
        assert "Example: sonobridge " in cli(*command, "--help").out, command


def test_shell_completion_is_offered(cli: Cli) -> None:
    assert (
        "complete" in cli("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").out
    )
