"""`sonobridge aurabox patients …`: patients of an organisation's team (A1–A5)."""

from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli.aurabox_people import Born, Id, Org, SexOption, commands_of, read_fields, write
from app.cli.output import Json
from app.clients.aurabox import Address, Sex
from app.consoles.aurabox import PATIENTS

GivenNames = Annotated[str | None, typer.Option(metavar="NAMES", help="Given names.")]
FamilyName = Annotated[str | None, typer.Option(metavar="NAME", help="Family name.")]
Street = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: street.")]
City = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: city.")]
Region = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: region.")]
Postcode = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: postcode.")]
Country = Annotated[str | None, typer.Option(metavar="XX", help="Address: country, two letters.")]


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
    fields = _fields(given_names, family_name, date_of_birth, sex, address)
    write(PATIENTS, organization, None, fields, as_json=as_json)


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
    fields = _fields(given_names, family_name, date_of_birth, sex, address)
    write(PATIENTS, organization, patient, fields, as_json=as_json)


def _fields(
    given_names: str | None,
    family_name: str | None,
    date_of_birth: datetime | None,
    sex: Sex | None,
    address: dict[str, str | None],
) -> dict[str, Any]:
    """What is written: an address as a whole, or none."""
    return {
        "given_names": given_names,
        "family_name": family_name,
        "date_of_birth": date_of_birth,
        "sex": sex,
        "address": read_fields(Address, **address)
        if any(part is not None for part in address.values())
        else None,
    }


app = commands_of(
    PATIENTS,
    create=create_patient,
    update=update_patient,
    example=" --search ashgrove",
    about="Patients of an organisation's team.",
)
