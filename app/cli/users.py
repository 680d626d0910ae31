"""`sonobridge user …`: who may sign in."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.cli.secret_input import SecretSource, read_secret, read_secrets
from app.people.users import (
    add_user,
    describe_user,
    disable_user,
    enable_user,
    invite,
    list_users,
    reset_link,
    reset_password,
)
from app.resources import Resources
from app.store.organizations import Organization
from app.store.users import Role, User

app = typer.Typer(no_args_is_help=True, help="Users: clinicians who link their Clarius account, and admins.")

Email = Annotated[str, typer.Option(metavar="ADDRESS", help="The e-mail address.", show_default=False)]
Org = Annotated[str, typer.Option("--org", metavar="ID|NAME", help="The organisation.", show_default=False)]
RoleOption = Annotated[Role, typer.Option(help="What the user may do.")]
Who = Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The user.", show_default=False)]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input (else USER_PASSWORD).")
]


async def _described(resources: Resources, user: User) -> dict[str, Any]:
    """Read again: what the database itself filled in (times) is not known before."""
    async with resources.sessions() as session:
        row = await session.get_one(User, user.id)
        return describe_user(row, await session.get_one(Organization, row.organization_id)).model_dump()


@app.command("add")
def add(
    email: Email,
    organization: Org,
    role: RoleOption = Role.CLINICIAN,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Add a user who can sign in at once.

    Example: sonobridge user add --email a.ashgrove@clinic.example --org "Harbour Clinic" --password-stdin < password
    """
    password = read_secret(SecretSource("password", "USER_PASSWORD", password_stdin))

    async def add_one(resources: Resources) -> dict[str, Any]:
        user = await add_user(
            resources,
            email=email,
            organization=organization,
            role=role.value,
            password=password,
            by=by_user(),
        )
        return await _described(resources, user)

    row = run(add_one)
    show_one(row, as_json=as_json, line=f"Added {row['email']} ({row['role']}).")


@app.command("invite")
def invite_(
    email: Email, organization: Org, role: RoleOption = Role.CLINICIAN, as_json: Json = False
) -> None:
    """Invite a user by a link that works once, for 7 days; it is mailed too when SONOBRIDGE_SMTP_URL is set.

    Example: sonobridge user invite --email a.ashgrove@clinic.example --org "Harbour Clinic"
    """

    async def invite_one(resources: Resources) -> dict[str, Any]:
        invitation = await invite(
            resources, email=email, organization=organization, role=role.value, by=by_user()
        )
        return await _described(resources, invitation.user) | {
            "url": invitation.url,
            "mailed": invitation.mailed,
        }

    invitation = run(invite_one)
    mailed = "was mailed" if invitation["mailed"] else "was not mailed"
    show_one(
        invitation, as_json=as_json, line=f"The invitation {mailed}; it is a secret:\n{invitation['url']}"
    )


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All users.

    Example: sonobridge user list
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        return [
            describe_user(user, organization).model_dump()
            for user, organization in await list_users(resources)
        ]

    rows = run(read)
    if as_json:
        show_json(rows)
        return
    columns = ("email", "organization", "role", "invited", "disabled", "created_at")
    show_table(columns, [[row[column] for column in columns] for row in rows], nothing="There are no users.")


def _change(change: Callable[..., Awaitable[User]], user: str, done: str, *, as_json: bool) -> None:
    async def act(resources: Resources) -> dict[str, Any]:
        return await _described(resources, await change(resources, user, by=by_user()))

    row = run(act)
    show_one(row, as_json=as_json, line=f"{done} {row['email']}.")


@app.command("disable")
def disable(user: Who, as_json: Json = False) -> None:
    """The user is signed out everywhere and can't sign in any more.

    Example: sonobridge user disable a.ashgrove@clinic.example
    """
    _change(disable_user, user, "Disabled", as_json=as_json)


@app.command("enable")
def enable(user: Who, as_json: Json = False) -> None:
    """The user can sign in again, with the same password.

    Example: sonobridge user enable a.ashgrove@clinic.example
    """
    _change(enable_user, user, "Enabled", as_json=as_json)


@app.command("reset-password")
def reset(user: Who, password_stdin: PasswordStdin = False, as_json: Json = False) -> None:
    """Set a password, or print a link (one use, one hour) by which the user chooses one.

    Example: sonobridge user reset-password a.ashgrove@clinic.example
    """
    password = read_secrets([SecretSource("password", "USER_PASSWORD", password_stdin)]).get("password")

    async def act(resources: Resources) -> dict[str, Any]:
        if password is None:
            return {"url": await reset_link(resources, user, by=by_user())}
        changed = await reset_password(resources, user, password=password, by=by_user())
        return await _described(resources, changed)

    done = run(act)
    line = (
        f"The link is a secret:\n{done['url']}" if "url" in done else f"{done['email']} has a new password."
    )
    show_one(done, as_json=as_json, line=line)
