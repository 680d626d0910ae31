"""`sonobridge aurabox cases …`: cases (patients without a name) of an organisation's team (A6–A10)."""

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
from app.clients.aurabox import AuraboxClient, CaseFields
from app.clients.aurabox.client import CaseSort

app = typer.Typer(no_args_is_help=True, help="Cases: patients without a name.")

CASE_SORTS: dict[str, CaseSort] = {
    "label": "label",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "date_of_birth": "date_of_birth",
}


@app.command("list")
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
        order = read_sort(CASE_SORTS, sort)
        async for one in client.cases(
            search=search, archived=archived, sort=order, direction=direction(descending)
        ):
            found.append(one)
            if len(found) >= limit:
                break
        return found

    columns = ("id", "label", "date_of_birth", "sex", "status")
    show_records(on_team_of(organization, "case.list", read), *columns, as_json=as_json)


@app.command("get")
def get_case(case: Id, organization: Org, as_json: Json = False) -> None:
    """One case.

    Example: sonobridge aurabox cases get 0198… --org "Harbour Clinic"
    """
    show_one(
        shown(on_team_of(organization, "case.get", lambda client: client.case(case), case)), as_json=as_json
    )


def _case_fields(label: str | None, date_of_birth: datetime | None, sex: SexName | None) -> CaseFields:
    return read_fields(
        CaseFields,
        label=label,
        date_of_birth=date_of_birth.date() if date_of_birth else None,
        sex=SEXES[sex] if sex else None,
    )


Label = Annotated[str | None, typer.Option(metavar="TEXT", help="The label.")]


@app.command("create")
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
    one = on_team_of(organization, "case.create", lambda client: client.create_case(fields))
    show_one(shown(one), as_json=as_json)


@app.command("update")
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
    one = on_team_of(organization, "case.update", lambda client: client.update_case(case, fields), case)
    show_one(shown(one), as_json=as_json)


@app.command("delete")
def delete_case(case: Id, organization: Org, as_json: Json = False) -> None:
    """Delete a case in Aurabox.

    Example: sonobridge aurabox cases delete 0198… --org "Harbour Clinic"
    """
    on_team_of(organization, "case.delete", lambda client: client.delete_case(case), case)
    show_one({"id": case, "deleted": True}, as_json=as_json, said=f"Deleted {case}.")
