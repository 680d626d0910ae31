"""What the commands for patients and for cases in Aurabox share: options, the audited call, showing records."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from app.cli.output import show_json, show_table
from app.cli.running import by_user, run
from app.clients.aurabox import AuraboxClient, Sex
from app.clients.aurabox.client import Direction
from app.clients.aurabox.models import Fields
from app.clients.record import Record
from app.consoles.aurabox import on_team
from app.errors import Misuse

T = TypeVar("T")
F = TypeVar("F", bound=Fields)


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


def on_team_of(
    organization: str,
    action: str,
    call: Callable[[AuraboxClient], Awaitable[T]],
    subject: str | None = None,
) -> T:
    """Make an audited call with the organisation's client; `action` without its prefix."""
    return run(
        lambda resources: on_team(
            resources, organization, call, action=f"aurabox.{action}", subject=subject, by=by_user()
        )
    )


def read_sort(known: dict[str, T], name: str | None) -> T | None:
    """The order to list in. Raises Misuse for one that Aurabox does not know."""
    if name is None:
        return None
    if name not in known:
        raise Misuse(f"sort: must be one of {', '.join(known)}")
    return known[name]


def direction(descending: bool) -> Direction | None:
    """Aurabox's word for it; its own choice when nothing was said."""
    return "desc" if descending else None


def read_fields(model: type[F], **given: Any) -> F:
    """What was said, as the fields to write. Raises Misuse."""
    said = {name: value for name, value in given.items() if value is not None}
    if not said:
        raise Misuse("nothing to write was given")
    try:
        return model.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Misuse(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None


def shown(record: Record) -> dict[str, Any]:
    """Everything that Aurabox told of it."""
    value: dict[str, Any] = record.model_dump(mode="json", exclude_none=True)
    return value


def show_records(records: list[Any], *columns: str, as_json: bool) -> None:
    """A list of records: all of it as JSON, or some columns."""
    found = [shown(one) for one in records]
    if as_json:
        show_json(found)
    else:
        show_table(columns, [[one.get(name) for name in columns] for one in found], nothing="There are none.")
