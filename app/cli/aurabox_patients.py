"""`sonobridge aurabox patients …`: patients of an organisation's team (A1–A5)."""

from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli.aurabox_people import (
    SEXES,
    Archived,
    Born,
    Descending,
    Id,
    Limit,
    Org,
    Search,
    SexName,
    SexOption,
    Sort,
    direction,
    on_team_of,
    read_fields,
    read_sort,
    show_records,
    shown,
)
from app.cli.output import Json, show_one
from app.clients.aurabox import Address, AuraboxClient, PatientFields
from app.clients.aurabox.client import PatientSort

app = typer.Typer(no_args_is_help=True, help="Patients of an organisation's team.")

PATIENT_SORTS: dict[str, PatientSort] = {
    "name": "name",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "date_of_birth": "date_of_birth",
}


@app.command("list")
def list_patients(
    *,
    organization: Org,
    search: Search = None,
    archived: Archived = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """The team's patients.

    Example: sonobridge aurabox patients list --org "Harbour Clinic" --search ashgrove
    """

    async def read(client: AuraboxClient) -> list[Any]:
        found: list[Any] = []
        order = read_sort(PATIENT_SORTS, sort)
        async for one in client.patients(
            search=search, archived=archived, sort=order, direction=direction(descending)
        ):
            found.append(one)
            if len(found) >= limit:
                break
        return found

    columns = ("id", "given_names", "family_name", "date_of_birth", "sex", "status")
    show_records(on_team_of(organization, "patient.list", read), *columns, as_json=as_json)


@app.command("get")
def get_patient(patient: Id, organization: Org, as_json: Json = False) -> None:
    """One patient.

    Example: sonobridge aurabox patients get 0198… --org "Harbour Clinic"
    """
    one = on_team_of(organization, "patient.get", lambda client: client.patient(patient), patient)
    show_one(shown(one), as_json=as_json)


def _patient_fields(
    given_names: str | None,
    family_name: str | None,
    date_of_birth: datetime | None,
    sex: SexName | None,
    address: dict[str, str | None],
) -> PatientFields:
    said = {name: value for name, value in address.items() if value is not None}
    return read_fields(
        PatientFields,
        given_names=given_names,
        family_name=family_name,
        date_of_birth=date_of_birth.date() if date_of_birth else None,
        sex=SEXES[sex] if sex else None,
        address=read_fields(Address, **said) if said else None,
    )


GivenNames = Annotated[str | None, typer.Option(metavar="NAMES", help="Given names.")]
FamilyName = Annotated[str | None, typer.Option(metavar="NAME", help="Family name.")]
Street = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: street.")]
City = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: city.")]
Region = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: region.")]
Postcode = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: postcode.")]
Country = Annotated[str | None, typer.Option(metavar="XX", help="Address: country, two letters.")]


@app.command("create")
def create_patient(
    *,
    organization: Org,
    given_names: GivenNames = None,
    family_name: FamilyName = None,
    date_of_birth: Born = None,
    sex: SexOption = None,
    street: Street = None,
    city: City = None,
    region: Region = None,
    postcode: Postcode = None,
    country: Country = None,
    as_json: Json = False,
) -> None:
    """Create a patient; names, date of birth and sex are needed.

    Example: sonobridge aurabox patients create --org O --given-names Ada --family-name Ashgrove --date-of-birth 1970-01-31 --sex female
    """
    address = {"street": street, "city": city, "region": region, "postcode": postcode, "country": country}
    fields = _patient_fields(given_names, family_name, date_of_birth, sex, address)
    one = on_team_of(organization, "patient.create", lambda client: client.create_patient(fields))
    show_one(shown(one), as_json=as_json)


@app.command("update")
def update_patient(
    *,
    patient: Id,
    organization: Org,
    given_names: GivenNames = None,
    family_name: FamilyName = None,
    date_of_birth: Born = None,
    sex: SexOption = None,
    street: Street = None,
    city: City = None,
    region: Region = None,
    postcode: Postcode = None,
    country: Country = None,
    as_json: Json = False,
) -> None:
    """Change what is said of a patient and leave the rest.

    Example: sonobridge aurabox patients update 0198… --org "Harbour Clinic" --sex other
    """
    address = {"street": street, "city": city, "region": region, "postcode": postcode, "country": country}
    fields = _patient_fields(given_names, family_name, date_of_birth, sex, address)
    one = on_team_of(
        organization, "patient.update", lambda client: client.update_patient(patient, fields), patient
    )
    show_one(shown(one), as_json=as_json)


@app.command("delete")
def delete_patient(patient: Id, organization: Org, as_json: Json = False) -> None:
    """Delete a patient in Aurabox.

    Example: sonobridge aurabox patients delete 0198… --org "Harbour Clinic"
    """
    on_team_of(organization, "patient.delete", lambda client: client.delete_patient(patient), patient)
    show_one({"id": patient, "deleted": True}, as_json=as_json, said=f"Deleted {patient}.")
