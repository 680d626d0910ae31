"""`sonobridge token …`: tokens of the admin API."""

from typing import Annotated, Any

import typer

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.errors import Misuse
from app.people.tokens import create_token, describe_token, list_tokens, revoke_token
from app.resources import Resources
from app.store.tokens import Scope

app = typer.Typer(no_args_is_help=True, help="Tokens of the admin API.")


@app.command("create")
def create(
    name: Annotated[str, typer.Option(metavar="NAME", help="What it is for.", show_default=False)],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.WRITE,
    as_json: Json = False,
) -> None:
    """Make a token. Its secret is shown now and never again.

    Example: sonobridge token create --name monitoring --scope read
    """

    async def act(resources: Resources) -> dict[str, Any]:
        token, secret = await create_token(resources, name=name, scope=scope.value, by=by_user())
        return {"id": str(token.id), "name": token.name, "scope": token.scope, "token": secret}

    item = run(act)
    show_one(item, as_json=as_json, line=f"{item['token']}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The tokens in force, without their secrets.

    Example: sonobridge token list
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        return [describe_token(token).model_dump() for token in await list_tokens(resources)]

    rows = run(read)
    if as_json:
        show_json(rows)
        return
    columns = tuple(rows[0]) if rows else ()
    show_table(columns, [[row[column] for column in columns] for row in rows], nothing="There are no tokens.")


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID|NAME", help="The token.", show_default=False)],
    as_json: Json = False,
) -> None:
    """The token opens nothing any more, from the next call on.

    Example: sonobridge token revoke monitoring
    """

    async def act(resources: Resources) -> dict[str, Any]:
        for row in await list_tokens(resources):
            if token in {str(row.id), row.name}:
                return describe_token(await revoke_token(resources, row.id, by=by_user())).model_dump()
        raise Misuse("there is no token with this id or name", code="no_such_token")

    done = run(act)
    show_one(done, as_json=as_json, line=f"Revoked {done['name']}.")
