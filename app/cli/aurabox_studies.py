"""`sonobridge aurabox studies …`: the studies of a patient or case (A11–A15); their fields are each team's own."""

import json
from typing import Annotated, Any

import typer

from app.cli.aurabox_people import Org, on_team_of, show_deleted, show_records
from app.cli.output import Json, show_one
from app.clients.aurabox import AuraboxClient, Study
from app.errors import Misuse

app = typer.Typer(no_args_is_help=True, help="Studies of a patient or case.")

Patient = Annotated[
    str,
    typer.Option("--patient", metavar="P", help="The patient's or case's id in Aurabox.", show_default=False),
]
Id = Annotated[str, typer.Argument(metavar="ID", help="The study's id in Aurabox.", show_default=False)]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="A field as text; NAME:=JSON for anything else."),
]


def _shown(study: Study) -> dict[str, Any]:
    return {"id": study.id, **study.fields}


def _read(options: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` as text, `NAME:=JSON` as what the JSON says."""
    fields: dict[str, Any] = {}
    for text in options or []:
        name, sign, value = text.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not sign or not name:
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
        return [_shown(study) async for study in client.studies(patient)]

    columns = ("id", "study_date", "description", "modality", "number_of_images", "study_instance_uid")
    show_records(on_team_of(organization, "study.list", read, patient), *columns, as_json=as_json)


@app.command("get")
def get(study: Id, organization: Org, patient: Patient, as_json: Json = False) -> None:
    """One study.

    Example: sonobridge aurabox studies get 0199… --org "Harbour Clinic" --patient 0198…
    """
    record = on_team_of(organization, "study.get", lambda client: client.study(patient, study), study)
    show_one(_shown(record), as_json=as_json)


@app.command("create")
def create(organization: Org, patient: Patient, field: FieldOption = None, as_json: Json = False) -> None:
    """Create a study.

    Example: sonobridge aurabox studies create --org O --patient P --field description=Ultrasound --field number_of_images:=3
    """
    fields = _read(field)
    record = on_team_of(
        organization, "study.create", lambda client: client.create_study(patient, fields), patient
    )
    show_one(_shown(record), as_json=as_json)


@app.command("update")
def update(
    study: Id, organization: Org, patient: Patient, field: FieldOption = None, as_json: Json = False
) -> None:
    """Change fields of a study.

    Example: sonobridge aurabox studies update 0199… --org O --patient P --field description="Liver"
    """
    fields = _read(field)
    record = on_team_of(
        organization, "study.update", lambda client: client.update_study(patient, study, fields), study
    )
    show_one(_shown(record), as_json=as_json)


@app.command("delete")
def delete(study: Id, organization: Org, patient: Patient, as_json: Json = False) -> None:
    """Delete a study in Aurabox.

    Example: sonobridge aurabox studies delete 0199… --org O --patient P
    """
    on_team_of(organization, "study.delete", lambda client: client.delete_study(patient, study), study)
    show_deleted(study, as_json=as_json)
