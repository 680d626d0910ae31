"""What the commands for patients and for cases in Aurabox share: options, the audited call, and all but the writing."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.clients.aurabox import AuraboxClient, Sex
from app.clients.aurabox.models import Fields
from app.clients.record import Record
from app.consoles.aurabox import SubjectKind, first, on_team
from app.errors import Misuse

T = TypeVar("T")
F = TypeVar("F", bound=Fields)

Org = Annotated[str, typer.Option("--org", metavar="ID|NAME", help="The organisation.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id in Aurabox.", show_default=False)]
Search = Annotated[str | None, typer.Option(metavar="TEXT", help="In names or labels.")]
Archived = Annotated[bool | None, typer.Option("--archived/--active", help="Archived ones or active ones.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]
Sort = Annotated[
    str | None, typer.Option(metavar="FIELD", help="created_at, updated_at, date_of_birth, name (label).")
]
Descending = Annotated[bool, typer.Option("--descending", help="The last first.")]
SexOption = Annotated[Sex | None, typer.Option(help="The sex.")]
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


def commands_of(
    kind: SubjectKind, *, create: Callable[..., None], update: Callable[..., None], example: str, about: str
) -> typer.Typer:
    """The commands of a kind; `create` and `update` are its own. `example`: options of the example of `list`."""
    app = typer.Typer(no_args_is_help=True, help=about)
    sample = f"Example: sonobridge aurabox {kind.plural}"

    def list_(
        *,
        organization: Org,
        search: Search = None,
        archived: Archived = None,
        sort: Sort = None,
        descending: Descending = False,
        limit: Limit = 100,
        as_json: Json = False,
    ) -> None:
        if sort is not None and sort not in kind.sorts:
            raise Misuse(f"sort: must be one of {', '.join(kind.sorts)}")
        order = {"sort": sort, "direction": "desc" if descending else None}
        records = on_team_of(
            organization,
            f"{kind.word}.list",
            lambda client: first(kind.listing(client, search=search, archived=archived, **order), limit),
        )
        show_records([_shown(record) for record in records], "id", *kind.fields, "status", as_json=as_json)

    def get(subject: Id, organization: Org, as_json: Json = False) -> None:
        record = on_team_of(
            organization, f"{kind.word}.get", lambda client: kind.get(client, subject), subject
        )
        show_one(_shown(record), as_json=as_json)

    def delete(subject: Id, organization: Org, as_json: Json = False) -> None:
        on_team_of(organization, f"{kind.word}.delete", lambda client: kind.delete(client, subject), subject)
        show_deleted(subject, as_json=as_json)

    clinic = '--org "Harbour Clinic"'
    app.command("list", help=f"The team's {kind.plural}.\n\n{sample} list {clinic}{example}")(list_)
    app.command("get", help=f"One {kind.word}.\n\n{sample} get 0198… {clinic}")(get)
    app.command("create")(create)
    app.command("update")(update)
    app.command("delete", help=f"Delete a {kind.word} in Aurabox.\n\n{sample} delete 0198… {clinic}")(delete)
    return app


def write(
    kind: SubjectKind, organization: str, subject: str | None, fields: dict[str, Any], *, as_json: bool
) -> None:
    """Create one with these fields (those that are None are left out), or update `subject`. Raises Misuse."""
    body = read_fields(kind.model, **fields)
    if subject is None:
        record = on_team_of(organization, f"{kind.word}.create", lambda client: kind.create(client, body))
    else:
        record = on_team_of(
            organization, f"{kind.word}.update", lambda client: kind.update(client, subject, body), subject
        )
    show_one(_shown(record), as_json=as_json)


def read_fields(model: type[F], **options: Any) -> F:
    """The options that were given, as the fields to write. Raises Misuse."""
    options = {name: value for name, value in options.items() if value is not None}
    if not options:
        raise Misuse("nothing to write was given")
    try:
        return model.model_validate(options)
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Misuse(f"{'.'.join(str(part) for part in mistake['loc'])}: {mistake['msg']}") from None


def show_records(records: list[dict[str, Any]], *columns: str, as_json: bool) -> None:
    """A list of records: all of it as JSON, or some columns."""
    if as_json:
        show_json(records)
    else:
        rows = [[record.get(name) for name in columns] for record in records]
        show_table(columns, rows, nothing="There are none.")


def show_deleted(record_id: str, *, as_json: bool) -> None:
    """That Aurabox has deleted it."""
    show_one({"id": record_id, "deleted": True}, as_json=as_json, line=f"Deleted {record_id}.")


def _shown(record: Record) -> dict[str, Any]:
    """Everything that Aurabox told of it."""
    value: dict[str, Any] = record.model_dump(mode="json", exclude_none=True)
    return value
