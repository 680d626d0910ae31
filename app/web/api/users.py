"""Users over the admin API: list, add or invite, read, change, disable."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import ConfigDict, Field, SecretStr

from app.errors import Misuse
from app.people.users import (
    UserItem,
    add_user,
    change_role,
    describe_user,
    disable_user,
    enable_user,
    invite,
    list_users,
    reset_password,
)
from app.resources import Resources
from app.store.users import Role
from app.web.api.bodies import Body, IdOrName, Page
from app.web.api.documents import problems
from app.web.api.paging import DEFAULT, Cursor, Limit, slice_page
from app.web.api.routing import ApiRoute, CallerDep
from app.web.dependencies import ResourcesDep

NO_SUCH_USER = {404: "`no_such_user`"}
TAKEN = {409: "`email_taken`: another user has this address"}

EmailOrId = Annotated[str, Path(min_length=1, max_length=254, description="The user's id or e-mail address.")]

router = APIRouter(route_class=ApiRoute, tags=["users"])


Email = Annotated[str, Field(min_length=3, max_length=254, examples=["ana.novak@example.org"])]


Password = Annotated[
    SecretStr, Field(min_length=1, max_length=1024, examples=["correct horse battery staple"])
]


class UserCreate(Body):
    """A new user: with a password, or `invite: true` for a link to set one."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "example": {
                "email": "ana.novak@example.org",
                "organization": "Harbour Clinic",
                "role": "clinician",
                "invite": True,
            }
        },
    )
    email: Email
    organization: IdOrName
    role: Role = Role.CLINICIAN
    password: Password | None = None
    invite: bool = False


class UserChange(Body):
    """What to change."""

    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None


class NewUser(UserItem):
    """A user just made; `invitation_url` works once, within 7 days, and is not shown again."""

    invitation_url: str | None = Field(None, examples=["https://bridge.example.org/invite/example"])
    invitation_mailed: bool = False


@router.get("/users", responses=problems())
async def all_users(
    resources: ResourcesDep, _: CallerDep, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Page[UserItem]:
    """Users, by address."""
    rows = await list_users(resources)
    page, following = slice_page(rows, key=lambda row: row[0].email, limit=limit, cursor=cursor)
    return Page(items=[describe_user(*row) for row in page], next_cursor=following)


@router.post("/users", status_code=201, responses=problems(TAKEN, writes=True))
async def create(resources: ResourcesDep, caller: CallerDep, body: UserCreate) -> NewUser:
    """Add a user with a password, or invite one (`invite: true`): then the answer holds the link to pass on."""
    fields: dict[str, Any] = {
        "email": body.email,
        "organization": body.organization,
        "role": body.role.value,
        "by": caller.by,
    }
    if body.invite == (body.password is not None):
        raise Misuse("password: give either a password or invite: true", code="password_or_invite")
    if body.password is not None:
        user = await add_user(resources, password=body.password.get_secret_value(), **fields)
        return NewUser.model_validate((await _described(resources, str(user.id))).model_dump())
    invitation = await invite(resources, **fields)
    shown = await _described(resources, str(invitation.user.id))
    return NewUser.model_validate(
        shown.model_dump() | {"invitation_url": invitation.url, "invitation_mailed": invitation.mailed}
    )


@router.get("/users/{user}", responses=problems(NO_SUCH_USER))
async def show(resources: ResourcesDep, _: CallerDep, user: EmailOrId) -> UserItem:
    """One user."""
    return await _described(resources, user)


@router.patch("/users/{user}", responses=problems(NO_SUCH_USER, writes=True))
async def change(resources: ResourcesDep, caller: CallerDep, user: EmailOrId, body: UserChange) -> UserItem:
    """Give a user another role or password, or disable or enable them; each signs them out everywhere."""
    if body.role is not None:
        await change_role(resources, user, role=body.role.value, by=caller.by)
    if body.password is not None:
        await reset_password(resources, user, password=body.password.get_secret_value(), by=caller.by)
    if body.disabled is not None:
        await (disable_user if body.disabled else enable_user)(resources, user, by=caller.by)
    return await _described(resources, user)


@router.delete("/users/{user}", status_code=204, responses=problems(NO_SUCH_USER, writes=True))
async def remove(resources: ResourcesDep, caller: CallerDep, user: EmailOrId) -> Response:
    """Disable a user for good or until enabled again; the row stays, because links and the audit trail name it."""
    await disable_user(resources, user, by=caller.by)
    return Response(status_code=204)


async def _described(resources: Resources, email_or_id: str) -> UserItem:
    address = email_or_id.strip().lower()
    for user, organization in await list_users(resources):
        if address in {user.email.lower(), str(user.id)}:
            return describe_user(user, organization)
    raise Misuse("there is no user with this address", code="no_such_user")
