"""The table of commands: what its lines say is what the commands say of themselves."""

import pytest
import typer.core
import typer.main

from app.cli import COMMANDS, cli, loaded

WIDE = 10_000


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_is_the_first_sentence_of_the_commands_own_help(name: str):
    command = loaded(name)
    assert command.name == name
    assert command.get_short_help_str(WIDE) == COMMANDS[name].help


def test_the_group_offers_the_table_in_its_order():
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    assert list(group.commands) == list(COMMANDS)
    assert [one.get_short_help_str(WIDE) for one in group.commands.values()] == [
        line.help for line in COMMANDS.values()
    ]


def test_completion_goes_into_a_command_that_is_imported_only_then():
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    with group.make_context("sonobridge", ["exam"], resilient_parsing=True) as context:
        name, command, others = group.resolve_command(context, ["exam", "list", "--state"])
    assert (name, others) == ("exam", ["list", "--state"])
    assert isinstance(command, typer.core.TyperGroup)
    assert "list" in command.commands
