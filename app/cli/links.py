"""`sonobridge link …`: which Clarius accounts are linked to which organisation."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.cli.secret_input import SecretSource, read_secret
from app.errors import Misuse
from app.linking.links import (
    WHAT_BECOMES,
    UnderWay,
    describe_links,
    exams_under_way,
    list_links,
    move_link,
    retry_link,
    start_link,
    unlink,
)
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.links import Link

app = typer.Typer(no_args_is_help=True, help="Links between Clarius accounts and organisations.")

LinkId = Annotated[UUID, typer.Argument(metavar="ID", help="The link's id.", show_default=False)]


async def _all(resources: Resources) -> list[dict[str, Any]]:
    return [link.model_dump() for link in await describe_links(resources, await list_links(resources))]


async def _link_item(resources: Resources, link_id: UUID) -> dict[str, Any]:
    for link in await _all(resources):
        if link["id"] == link_id:
            return link
    raise Misuse("there is no such link", code="no_such_link")


@app.command("add")
def add(
    organization: Annotated[
        str, typer.Option("--org", metavar="ID|NAME", help="The organisation.", show_default=False)
    ],
    token_stdin: Annotated[
        bool,
        typer.Option("--token-stdin", help="Read the Clarius token from stdin (else CUSTOMER_TOKEN)."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Link a Clarius account by hand, with the token that Clarius sent the clinician's browser with.

    A worker then asks Clarius to confirm it. Clinicians do this in the browser, without any command.

    Example: sonobridge link add --org "Harbour Clinic" --token-stdin < token
    """
    token = read_secret(SecretSource("token", "CUSTOMER_TOKEN", token_stdin))

    async def act(resources: Resources) -> dict[str, Any]:
        async with resources.sessions() as session:
            owner = await wanted_organization(session, organization)
        link = await start_link(resources, token=token, organization_id=owner.id, user_id=None, by=by_user())
        return await _link_item(resources, link.id)

    item = run(act)
    show_one(item, as_json=as_json, line=f"Link {item['id']} is {item['state']}.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All links, newest first; a Clarius account is shown by the last characters of its token.

    Example: sonobridge link list
    """
    rows = run(_all)
    if as_json:
        show_json(rows)
        return
    columns = ("id", "organization", "user", "customer_hint", "state", "created_at", "confirmed_at", "error")
    show_table(columns, [[row[column] for column in columns] for row in rows], nothing="There are no links.")


@app.command("show")
def show(link: LinkId, as_json: Json = False) -> None:
    """One link.

    Example: sonobridge link show 7f2c…
    """
    show_one(run(lambda resources: _link_item(resources, link)), as_json=as_json)


def _change(change: Callable[..., Awaitable[Link]], link: UUID, *, as_json: bool) -> None:
    async def act(resources: Resources) -> dict[str, Any]:
        await change(resources, link, by=by_user())
        return await _link_item(resources, link)

    row = run(act)
    show_one(row, as_json=as_json, line=f"Link {row['id']} is {row['state']}.")


@app.command("confirm")
def confirm(link: LinkId, as_json: Json = False) -> None:
    """Have Clarius asked again, now, about a pending or refused link.

    Example: sonobridge link confirm 7f2c…
    """
    _change(retry_link, link, as_json=as_json)


@app.command("revoke")
def revoke(link: LinkId, as_json: Json = False) -> None:
    """End a link: new exams of this Clarius account wait; what was delivered stays.

    Example: sonobridge link revoke 7f2c…
    """
    _change(unlink, link, as_json=as_json)


@app.command("move")
def move(
    link: LinkId,
    organization: Annotated[
        str, typer.Option("--org", metavar="ID|NAME", help="To which organisation.", show_default=False)
    ],
    under_way: Annotated[
        UnderWay, typer.Option(help="What becomes of exams of the account that are not delivered yet.")
    ] = UnderWay.HOLD,
    as_json: Json = False,
) -> None:
    """Give a Clarius account to another organisation: the old link ends, a new one takes over.

    What was delivered stays where it is. Exams that are under way are held for a decision (`hold`), filed for the new
    organisation unless images of them were sent (`refile`), or cancelled (`cancel`; `exam retry` takes that back).

    Example: sonobridge link move 7f2c… --org "Lakeside Clinic" --under-way refile
    """

    async def act(resources: Resources) -> dict[str, Any]:
        count = await exams_under_way(resources, link)
        says = f": {WHAT_BECOMES[under_way]}" if count else ""
        typer.echo(f"{count} exam{'' if count == 1 else 's'} under way{says}.", err=as_json)
        moved = await move_link(resources, link, organization=organization, under_way=under_way, by=by_user())
        return await _link_item(resources, moved.id)

    done = run(act)
    owner = done["organization"]["name"]
    show_one(done, as_json=as_json, line=f"Link {done['id']} to {owner} is {done['state']}.")
