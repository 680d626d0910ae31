"""`sonobridge clarius applications …`: exam applications and the labels that we offer in them (C12–C16)."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from app.accounts import AccountKind
from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.clients.clarius import Annotation, ClariusClient, CustomisedApplication
from app.consoles import clarius as clarius_admin
from app.errors import Misuse
from app.resources import Resources
from app.upstreams.gate import asking

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Exam applications and our annotations for them.")

Application = Annotated[UUID, typer.Argument(metavar="UUID", help="The application.", show_default=False)]


def _show_list(rows: list[dict[str, Any]], *columns: str, as_json: bool, nothing: str) -> None:
    if as_json:
        show_json(rows)
    else:
        show_table(columns, [[row[column] for column in columns] for row in rows], nothing=nothing)


async def _with_clarius(resources: Resources, ask: Callable[[ClariusClient], Awaitable[T]]) -> T:
    async with asking(resources, AccountKind.CLARIUS):
        return await ask(await resources.clarius())


@app.command("list")
def list_applications(as_json: Json = False) -> None:
    """The exam applications on Clarius Cloud.

    Example: sonobridge clarius applications list
    """
    applications = run(lambda resources: _with_clarius(resources, lambda clarius: clarius.applications()))
    shown = [{"uuid": str(application.uuid), "name": application.name} for application in applications]
    _show_list(shown, "uuid", "name", as_json=as_json, nothing="There are no applications.")


@app.command("customised")
def customised(as_json: Json = False) -> None:
    """The applications that we customised.

    Example: sonobridge clarius applications customised
    """
    applications = run(
        lambda resources: _with_clarius(resources, lambda clarius: clarius.customised_applications())
    )
    shown = [_application(application) for application in applications]
    _show_list(shown, "uuid", "name", "annotations", as_json=as_json, nothing="None is customised.")


@app.command("show")
def show(application: Application, as_json: Json = False) -> None:
    """One application with our annotations.

    Example: sonobridge clarius applications show 1b4e…
    """
    customised = run(
        lambda resources: _with_clarius(
            resources, lambda clarius: clarius.customised_application(application)
        )
    )
    show_one(_application(customised), as_json=as_json)


@app.command("set")
def set_(
    application: Application,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help='JSON: [{"title": "Liver", "labels": ["normal"], "linked": false}, …]',
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Replace our annotations for an application by those in a file.

    Example: sonobridge clarius applications set 1b4e… annotations.json
    """
    annotations = _annotations(file)
    run(lambda resources: clarius_admin.set_annotations(resources, application, annotations, by=by_user()))
    done = {"uuid": str(application), "annotations": len(annotations)}
    show_one(done, as_json=as_json, line=f"Clarius has {len(annotations)} annotations for {application}.")


@app.command("remove")
def remove(application: Application, as_json: Json = False) -> None:
    """Remove our annotations for an application.

    Example: sonobridge clarius applications remove 1b4e…
    """
    run(lambda resources: clarius_admin.remove_annotations(resources, application, by=by_user()))
    show_one({"uuid": str(application), "removed": True}, as_json=as_json, line=f"Removed {application}.")


def _application(application: CustomisedApplication) -> dict[str, Any]:
    annotations = [
        {"title": item.title, "labels": item.labels, "linked": item.linked}
        for item in application.annotations
    ]
    return {"uuid": str(application.uuid), "name": application.name, "annotations": annotations}


def _annotations(file: Path) -> list[Annotation]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        items = value["annotations"] if isinstance(value, dict) else value
        if not isinstance(items, list):
            raise TypeError
        return [Annotation.model_validate(item) for item in items]
    except (ValueError, TypeError, KeyError, ValidationError):
        raise Misuse(
            f'{file}: must be JSON, a list of {{"title": …, "labels": […], "linked": true|false}}'
        ) from None
