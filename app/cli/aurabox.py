"""`sonobridge aurabox patients|cases …`: an organisation's Aurabox team by hand (A1–A10). Shows patients; audited."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from app.accounts.aurabox_admin import on_team
from app.cli import aurabox_studies
from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import actor, run
from app.clients.aurabox import Address, AuraboxClient, CaseFields, PatientFields, Sex
from app.clients.aurabox.client import CaseSort, Direction, PatientSort
from app.clients.aurabox.models import Fields
from app.errors import Misuse

T = TypeVar("T")
F = TypeVar("F", bound=Fields)

app = typer.Typer(
    no_args_is_help=True, help="Aurabox: patients, cases and studies of an organisation's team."
)
patients = typer.Typer(no_args_is_help=True, help="Patients (A1–A5).")
cases = typer.Typer(no_args_is_help=True, help="Cases: patients without a name (A6–A10).")
app.add_typer(patients, name="patients")
app.add_typer(cases, name="cases")
app.add_typer(aurabox_studies.app, name="studies")


class SexName(StrEnum):
    """As Aurabox spells it."""

    MALE = "male"
    FEMALE = "female"
    OTHER = "other"
    UNKNOWN = "unknown"


SEXES: dict[SexName, Sex] = {
    SexName.MALE: "male",
    SexName.FEMALE: "female",
    SexName.OTHER: "other",
    SexName.UNKNOWN: "unknown",
}

Org = Annotated[str, typer.Option("--org", metavar="ID|NAME", help="The organisation.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id in Aurabox.", show_default=False)]
Search = Annotated[str | None, typer.Option(metavar="TEXT", help="In names or labels.")]
Archived = Annotated[bool | None, typer.Option("--archived/--active", help="Archived ones or active ones.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
Sort = Annotated[
    str | None, typer.Option(metavar="FIELD", help="created_at, updated_at, date_of_birth, name (label).")
]
Descending = Annotated[bool, typer.Option("--descending", help="The last first.")]
SexOption = Annotated[SexName | None, typer.Option(help="The sex.")]
Born = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Date of birth.")]
PATIENT_SORTS: dict[str, PatientSort] = {
    "name": "name",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "date_of_birth": "date_of_birth",
}
CASE_SORTS: dict[str, CaseSort] = {
    "label": "label",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "date_of_birth": "date_of_birth",
}


def _on(
    organization: str,
    action: str,
    call: Callable[[AuraboxClient], Awaitable[T]],
    subject: str | None = None,
) -> T:
    return run(
        lambda resources: on_team(
            resources, organization, call, action=f"aurabox.{action}", subject=subject, actor=actor()
        )
    )


def _sort(known: dict[str, T], name: str | None) -> T | None:
    if name is None:
        return None
    if name not in known:
        raise Misuse(f"sort: must be one of {', '.join(known)}")
    return known[name]


def _direction(descending: bool) -> Direction | None:
    return "desc" if descending else None


def _fields(model: type[F], **given: Any) -> F:
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        raise Misuse("nothing to write was given")
    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Misuse(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def _shown(record: Any) -> dict[str, Any]:
    value: dict[str, Any] = record.model_dump(mode="json", exclude_none=True)
    return value


def _show_list(records: list[Any], *columns: str, as_json: bool) -> None:
    found = [_shown(one) for one in records]
    if as_json:
        show_json(found)
    else:
        show_table(columns, [[one.get(name) for name in columns] for one in found], nothing="There are none.")


@patients.command("list")
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
        order = _sort(PATIENT_SORTS, sort)
        async for one in client.patients(
            search=search, archived=archived, sort=order, direction=_direction(descending)
        ):
            found.append(one)
            if len(found) >= limit:
                break
        return found

    columns = ("id", "given_names", "family_name", "date_of_birth", "sex", "status")
    _show_list(_on(organization, "patient.list", read), *columns, as_json=as_json)


@patients.command("get")
def get_patient(patient: Id, organization: Org, as_json: Json = False) -> None:
    """One patient.

    Example: sonobridge aurabox patients get 0198… --org "Harbour Clinic"
    """
    one = _on(organization, "patient.get", lambda client: client.patient(patient), patient)
    show_one(_shown(one), as_json=as_json)


def _patient_fields(
    given_names: str | None,
    family_name: str | None,
    date_of_birth: datetime | None,
    sex: SexName | None,
    address: dict[str, str | None],
) -> PatientFields:
    said = {name: value for name, value in address.items() if value is not None}
    return _fields(
        PatientFields,
        given_names=given_names,
        family_name=family_name,
        date_of_birth=date_of_birth.date() if date_of_birth else None,
        sex=SEXES[sex] if sex else None,
        address=_fields(Address, **said) if said else None,
    )


GivenNames = Annotated[str | None, typer.Option(metavar="NAMES", help="Given names.")]
FamilyName = Annotated[str | None, typer.Option(metavar="NAME", help="Family name.")]
Street = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: street.")]
City = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: city.")]
Region = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: region.")]
Postcode = Annotated[str | None, typer.Option(metavar="TEXT", help="Address: postcode.")]
Country = Annotated[str | None, typer.Option(metavar="XX", help="Address: country, two letters.")]


@patients.command("create")
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
    one = _on(organization, "patient.create", lambda client: client.create_patient(fields))
    show_one(_shown(one), as_json=as_json)


@patients.command("update")
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
    one = _on(organization, "patient.update", lambda client: client.update_patient(patient, fields), patient)
    show_one(_shown(one), as_json=as_json)


@patients.command("delete")
def delete_patient(patient: Id, organization: Org, as_json: Json = False) -> None:
    """Delete a patient in Aurabox.

    Example: sonobridge aurabox patients delete 0198… --org "Harbour Clinic"
    """
    _on(organization, "patient.delete", lambda client: client.delete_patient(patient), patient)
    show_one({"id": patient, "deleted": True}, as_json=as_json, said=f"Deleted {patient}.")


@cases.command("list")
def list_cases(
    *,
    organization: Org,
    search: Search = None,
    archived: Archived = None,
    sort: Sort = None,
    descending: Descending = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """The team's cases.

    Example: sonobridge aurabox cases list --org "Harbour Clinic"
    """

    async def read(client: AuraboxClient) -> list[Any]:
        found: list[Any] = []
        order = _sort(CASE_SORTS, sort)
        async for one in client.cases(
            search=search, archived=archived, sort=order, direction=_direction(descending)
        ):
            found.append(one)
            if len(found) >= limit:
                break
        return found

    columns = ("id", "label", "date_of_birth", "sex", "status")
    _show_list(_on(organization, "case.list", read), *columns, as_json=as_json)


@cases.command("get")
def get_case(case: Id, organization: Org, as_json: Json = False) -> None:
    """One case.

    Example: sonobridge aurabox cases get 0198… --org "Harbour Clinic"
    """
    show_one(_shown(_on(organization, "case.get", lambda client: client.case(case), case)), as_json=as_json)


def _case_fields(label: str | None, date_of_birth: datetime | None, sex: SexName | None) -> CaseFields:
    return _fields(
        CaseFields,
        label=label,
        date_of_birth=date_of_birth.date() if date_of_birth else None,
        sex=SEXES[sex] if sex else None,
    )


Label = Annotated[str | None, typer.Option(metavar="TEXT", help="The label.")]


@cases.command("create")
def create_case(
    organization: Org,
    label: Label = None,
    date_of_birth: Born = None,
    sex: SexOption = None,
    as_json: Json = False,
) -> None:
    """Create a case; a label is needed.

    Example: sonobridge aurabox cases create --org "Harbour Clinic" --label "Case 17"
    """
    fields = _case_fields(label, date_of_birth, sex)
    one = _on(organization, "case.create", lambda client: client.create_case(fields))
    show_one(_shown(one), as_json=as_json)


@cases.command("update")
def update_case(
    case: Id,
    organization: Org,
    label: Label = None,
    date_of_birth: Born = None,
    sex: SexOption = None,
    as_json: Json = False,
) -> None:
    """Change what is said of a case and leave the rest.

    Example: sonobridge aurabox cases update 0198… --org "Harbour Clinic" --label "Case 18"
    """
    fields = _case_fields(label, date_of_birth, sex)
    one = _on(organization, "case.update", lambda client: client.update_case(case, fields), case)
    show_one(_shown(one), as_json=as_json)


@cases.command("delete")
def delete_case(case: Id, organization: Org, as_json: Json = False) -> None:
    """Delete a case in Aurabox.

    Example: sonobridge aurabox cases delete 0198… --org "Harbour Clinic"
    """
    _on(organization, "case.delete", lambda client: client.delete_case(case), case)
    show_one({"id": case, "deleted": True}, as_json=as_json, said=f"Deleted {case}.")
