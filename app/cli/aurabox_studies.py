"""`sonobridge aurabox studies …`: the studies of a patient or case (A11–A15); their fields are each team's own."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.clients.aurabox import AuraboxClient, Study
from app.consoles.aurabox import on_team
from app.errors import Misuse

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Studies of a patient or case.")

Org = Annotated[str, typer.Option("--org", metavar="ID|NAME", help="The organisation.", show_default=False)]
Patient = Annotated[
    str,
    typer.Option("--patient", metavar="P", help="The patient's or case's id in Aurabox.", show_default=False),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The study's id in Aurabox.", show_default=False)]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="A field as text; NAME:=JSON for anything else."),
]


def _on(
    organization: str, action: str, call: Callable[[AuraboxClient], Awaitable[T]], subject: str | None
) -> T:
    return run(
        lambda resources: on_team(
            resources, organization, call, action=f"aurabox.study.{action}", subject=subject, by=by_user()
        )
    )


def _shown(study: Study) -> dict[str, Any]:
    return {"id": study.id, **study.fields}


def _read(given: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` as text, `NAME:=JSON` as what the JSON says."""
    fields: dict[str, Any] = {}
    for text in given or []:
        name, found, value = text.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not found or not name:
            raise Misuse("field: must be NAME=VALUE, or NAME:=JSON")
        try:
            fields[name] = json.loads(value) if typed else value
        except ValueError:
            raise Misuse(f"field {name}: what follows := must be JSON") from None
    if not fields:
        raise Misuse("field: give at least one --field NAME=VALUE")
    return fields


@app.command("list")
def list_(organization: Org, patient: Patient, as_json: Json = False) -> None:
    """The studies of a patient or case.

    Example: sonobridge aurabox studies list --org "Harbour Clinic" --patient 0198…
    """

    async def read(client: AuraboxClient) -> list[dict[str, Any]]:
        return [_shown(one) async for one in client.studies(patient)]

    found = _on(organization, "list", read, patient)
    if as_json:
        show_json(found)
        return
    columns = ("id", "study_date", "description", "modality", "number_of_images", "study_instance_uid")
    show_table(columns, [[one.get(name) for name in columns] for one in found], nothing="There are none.")


@app.command("get")
def get(study: Id, organization: Org, patient: Patient, as_json: Json = False) -> None:
    """One study.

    Example: sonobridge aurabox studies get 0199… --org "Harbour Clinic" --patient 0198…
    """
    one = _on(organization, "get", lambda client: client.study(patient, study), study)
    show_one(_shown(one), as_json=as_json)


@app.command("create")
def create(organization: Org, patient: Patient, field: FieldOption = None, as_json: Json = False) -> None:
    """Create a study.

    Example: sonobridge aurabox studies create --org O --patient P --field description=Ultrasound --field number_of_images:=3
    """
    fields = _read(field)
    one = _on(organization, "create", lambda client: client.create_study(patient, fields), patient)
    show_one(_shown(one), as_json=as_json)


@app.command("update")
def update(
    study: Id, organization: Org, patient: Patient, field: FieldOption = None, as_json: Json = False
) -> None:
    """Change fields of a study.

    Example: sonobridge aurabox studies update 0199… --org O --patient P --field description="Liver"
    """
    fields = _read(field)
    one = _on(organization, "update", lambda client: client.update_study(patient, study, fields), study)
    show_one(_shown(one), as_json=as_json)


@app.command("delete")
def delete(study: Id, organization: Org, patient: Patient, as_json: Json = False) -> None:
    """Delete a study in Aurabox.

    Example: sonobridge aurabox studies delete 0199… --org O --patient P
    """
    _on(organization, "delete", lambda client: client.delete_study(patient, study), study)
    show_one({"id": study, "deleted": True}, as_json=as_json, said=f"Deleted {study}.")
