"""`sonobridge aurabox cases …`: cases (patients without a name) of an organisation's team (A6–A10)."""

from typing import Annotated

import typer

from app.cli.aurabox_people import Born, Id, Org, SexOption, commands_of, write
from app.cli.output import Json
from app.consoles.aurabox import CASES

Label = Annotated[str | None, typer.Option(metavar="TEXT", help="The label.")]


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
    fields = {"label": label, "date_of_birth": date_of_birth, "sex": sex}
    write(CASES, organization, None, fields, as_json=as_json)


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
    fields = {"label": label, "date_of_birth": date_of_birth, "sex": sex}
    write(CASES, organization, case, fields, as_json=as_json)


app = commands_of(
    CASES,
    create=create_case,
    update=update_case,
    example="",
    about="Cases: patients without a name.",
)
