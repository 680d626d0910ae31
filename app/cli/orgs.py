"""`sonobridge org …`: organisations, the policy by which their exams are filed, and whether their keys work."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from app.cli.ending import FAILED
from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.cli.secret_input import SecretSource, read_secrets
from app.errors import Misuse
from app.organizations.asking import Kind, Option
from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
    wanted_organization,
)
from app.organizations.options import OPTIONS
from app.resources import Resources
from app.store.organizations import Organization, list_organizations
from app.upkeep.doctor import Check, check_organization

app = typer.Typer(no_args_is_help=True, help="Organisations: whose exams go to which Aurabox team, and how.")

Org = Annotated[str, typer.Argument(metavar="ID|NAME", help="The organisation.", show_default=False)]


def _stdin(option: Option) -> str:
    return f"{option.name}_stdin"


def _parameter(option: Option) -> inspect.Parameter:
    """An option as the command takes it: None, or an empty list, when it was not said."""
    prompt, flag = option.prompt, option.name.replace("_", "-")
    name, declared, kind, unsaid = option.name, [], option.type | None, None
    help_text = prompt.help
    if option.kind is Kind.SECRET:
        name, kind, unsaid = _stdin(option), bool, False
        declared = [f"--{flag}-stdin"]
        help_text = f"{prompt.help} Read from standard input (else {prompt.variable})."
    elif option.kind is Kind.LIST:
        declared, kind = [f"--{prompt.each}"], list[str] | None
    elif option.kind is Kind.FLAG:
        declared = [f"--{flag}/--no-{flag}"]
    usual = prompt.usual or ("no" if option.default is False else option.default)
    if usual:
        help_text = f"{help_text} [{usual}]"
    parameter = typer.Option(*declared, metavar=prompt.metavar, help=help_text)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=unsaid, annotation=Annotated[kind, parameter]
    )


C = TypeVar("C", bound=Callable[..., None])


def _takes_options(command: C) -> C:
    """Give a command that takes `**values` a parameter for each option of an organisation."""
    own = [
        parameter
        for parameter in inspect.signature(command).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    named = {parameter.name for parameter in own}
    *before, last = own
    options = [_parameter(option) for option in OPTIONS if option.name not in named]
    setattr(command, "__signature__", inspect.Signature([*before, *options, last]))  # noqa: B010 - not mypy's to know
    return command


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was said; what was not keeps its default, or what is stored."""
    sources = [
        SecretSource(option.name, option.prompt.variable or "", bool(values.get(_stdin(option))))
        for option in OPTIONS
        if option.kind is Kind.SECRET
    ]
    plain = {
        option.name: values[option.name]
        for option in OPTIONS
        if option.kind is not Kind.SECRET and values.get(option.name) not in (None, [])
    }
    return plain | read_secrets(sources)


@app.command("add")
@_takes_options
def add(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What people call it.", show_default=False)],
    as_json: Json = False,
    **values: Any,
) -> None:
    """Add an organisation. Several secrets on standard input are one per line: Aurabox key, DICOMweb token, service key.

    Example: sonobridge org add --name "Harbour Clinic" --aurabox-key-stdin --timezone Australia/Melbourne < key.txt
    """
    options = _read(values | {"name": name})
    if "aurabox_key" not in options:
        raise Misuse("aurabox_key: give it on standard input (--aurabox-key-stdin) or in AURABOX_KEY")
    added = run(lambda resources: add_organization(resources, options, by=by_user()))
    _show(added, as_json=as_json, line=f"Added {added.name} ({added.id}).")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All organisations in use.

    Example: sonobridge org list --json
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        async with resources.sessions() as session:
            return [describe_organization(row).model_dump() for row in await list_organizations(session)]

    rows = run(read)
    if as_json:
        show_json(rows)
        return
    columns = ("id", "name", "identity", "images", "source", "timezone", "created_at")
    show_table(
        columns,
        [[row[column] for column in columns] for row in rows],
        nothing="There are no organisations; `sonobridge org add --help` shows how to add one.",
    )


@app.command("show")
def show(organization: Org, as_json: Json = False) -> None:
    """One organisation with its policy; secrets only as whether they are there.

    Example: sonobridge org show "Harbour Clinic"
    """

    async def read(resources: Resources) -> Organization:
        async with resources.sessions() as session:
            return await wanted_organization(session, organization)

    _show(run(read), as_json=as_json)


@app.command("set")
@_takes_options
def set_(*, organization: Org, as_json: Json = False, **values: Any) -> None:
    """Change what is said and leave the rest. New credentials resume an account that was paused, at once.

    Example: sonobridge org set "Harbour Clinic" --images dicomweb --dicomweb-url https://pacs.example/dicom-web
    """
    changed = run(lambda resources: set_organization(resources, organization, _read(values), by=by_user()))
    _show(changed, as_json=as_json, line=f"Changed {changed.name}.")


def _show(organization: Organization, *, as_json: bool, line: str | None = None) -> None:
    show_one(describe_organization(organization).model_dump(), as_json=as_json, line=line)


@app.command("test")
def try_(organization: Org, as_json: Json = False) -> None:
    """Try its Aurabox key and its image transport, changing nothing. Exit status 1 when one does not work.

    Example: sonobridge org test "Harbour Clinic"
    """

    async def try_connections(resources: Resources) -> list[Check]:
        async with resources.sessions() as session:
            row = await wanted_organization(session, organization)
        return await check_organization(resources, row)

    checks = run(try_connections)
    if as_json:
        show_json({"ok": all(check.ok for check in checks), "checks": [check.as_json() for check in checks]})
    else:
        for check in checks:
            typer.echo(check.line())
    if not all(check.ok for check in checks):
        raise typer.Exit(FAILED)


@app.command("remove")
def remove(organization: Org, as_json: Json = False) -> None:
    """Take an organisation out of use: links end, users are disabled, keys are forgotten; its history stays.

    Refused while exams of it are under way.

    Example: sonobridge org remove "Harbour Clinic"
    """
    removed = run(lambda resources: remove_organization(resources, organization, by=by_user()))
    show_one(
        {"id": str(removed.id), "name": removed.name, "removed": True},
        as_json=as_json,
        line=f"Removed {organization}.",
    )
