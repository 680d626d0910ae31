"""The pages about Clarius: registered URLs, records beside our receipts, tokens beside links, keys, applications."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.accounts import AccountKind
from app.clients.clarius import Annotation
from app.consoles import clarius as clarius_admin
from app.consoles.clarius import describe_key, describe_record
from app.consoles.clarius_keys import rotate_key
from app.consoles.registration import our_urls, register, register_ours, registered_urls
from app.errors import NotThere, SonobridgeError
from app.linking.comparing import describe_pair, pair_tokens
from app.resources import Resources
from app.upstreams.gate import asking
from app.web.admin.common import AdminDep, ByDep, admin_page, attempt, explained
from app.web.browser import CheckedForm
from app.web.dependencies import ResourcesDep
from app.web.rendering import PageError, see_other

BACK = "/admin/clarius"
SHOWN_RECORDS = 100
SHOWN_TOKENS = 200
SPARE_TITLES = 3
DONE = {
    "registered": "Clarius now has this bridge's URLs.",
    "changed": "Clarius has taken the URLs.",
    "rotated": "A new key is in use, and the old one is revoked.",
    "revoked": "The key is revoked.",
    "saved": "Clarius has taken the annotations.",
    "removed": "The annotations are removed.",
}

router = APIRouter(include_in_schema=False)


@router.get("/admin/clarius")
async def settings(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """Registered URLs and API keys."""
    return await _settings(request, resources, done=DONE.get(done))


@router.post("/admin/clarius/register")
async def register_bridge(resources: ResourcesDep, by: ByDep, _form: CheckedForm) -> Response:
    """Register this bridge's two URLs."""
    await attempt(register_ours(resources, by=by), back=BACK)
    return see_other(f"{BACK}?done=registered")


@router.post("/admin/clarius/settings")
async def change_settings(resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Register other URLs; empty clears one."""
    await attempt(
        register(
            resources,
            notification_url=form.get("notification_url", "").strip(),
            token_transfer_url=form.get("token_transfer_url", "").strip(),
            by=by,
        ),
        back=BACK,
    )
    return see_other(f"{BACK}?done=changed")


@router.post("/admin/clarius/keys")
async def create_key(request: Request, resources: ResourcesDep, by: ByDep, form: CheckedForm) -> Response:
    """Make a key beside the one in use; its secret is on the page that answers, once."""
    name = form.get("name", "").strip()
    if not name:
        raise PageError(422, "A key needs a name", "Nothing was done.", action=("Go back", BACK))
    key = await attempt(clarius_admin.create_key(resources, name, by=by), back=BACK)
    return await _settings(request, resources, secret=(key.name, key.key.get_secret_value()))


@router.post("/admin/clarius/keys/rotate")
async def rotate(resources: ResourcesDep, by: ByDep, _form: CheckedForm) -> Response:
    """Put a new key in place of the one in use."""
    await attempt(rotate_key(resources, by=by), back=BACK)
    return see_other(f"{BACK}?done=rotated")


@router.post("/admin/clarius/keys/{prefix}/revoke")
async def revoke_key(resources: ResourcesDep, by: ByDep, _form: CheckedForm, prefix: str) -> Response:
    """Revoke a key that is not in use."""
    await attempt(clarius_admin.revoke_key(resources, prefix, by=by), back=BACK)
    return see_other(f"{BACK}?done=revoked")


@router.get("/admin/clarius/records")
async def records(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """Clarius's records of its webhook calls beside our own receipts."""
    text = request.query_params.get("skip", "")
    skip = (
        min(int(text), clarius_admin.MOST_RECORDS)
        if text.isascii() and text.isdigit() and len(text) < 9
        else 0
    )
    records = await attempt(
        clarius_admin.read_records(resources, skip=skip, limit=SHOWN_RECORDS + 1), back=BACK
    )
    context = {
        "rows": [describe_record(record) for record in records[:SHOWN_RECORDS]],
        "more": f"{BACK}/records?skip={skip + SHOWN_RECORDS}" if len(records) > SHOWN_RECORDS else None,
        "section": "records",
    }
    return admin_page(request, "clarius_records.html", context, tab="clarius")


@router.get("/admin/clarius/tokens")
async def tokens(request: Request, resources: ResourcesDep, _: AdminDep) -> Response:
    """Confirmed tokens beside our links."""
    pairs = await attempt(pair_tokens(resources, by_hand=True), back=BACK)
    context = {
        "rows": [describe_pair(pair) for pair in pairs[:SHOWN_TOKENS]],
        "hidden": max(len(pairs) - SHOWN_TOKENS, 0),
        "differing": sum(1 for pair in pairs if pair.difference is not None),
        "section": "tokens",
    }
    return admin_page(request, "clarius_tokens.html", context, tab="clarius")


@router.get("/admin/clarius/applications")
async def applications(request: Request, resources: ResourcesDep, _: AdminDep, done: str = "") -> Response:
    """All exam applications, and which of them we customised."""
    every, ours = await attempt(_applications(resources), back=BACK)
    context = {"rows": every, "ours": ours, "section": "applications", "done": DONE.get(done)}
    return admin_page(request, "clarius_applications.html", context, tab="clarius")


@router.get("/admin/clarius/applications/{application}")
async def application(request: Request, resources: ResourcesDep, _: AdminDep, application: UUID) -> Response:
    """The editor of one application's annotations."""
    every, _ours = await attempt(_applications(resources), back=f"{BACK}/applications")
    name = next((entry.name for entry in every if entry.uuid == application), None)
    if name is None:
        raise PageError(
            404, "Clarius has no such application", "", action=("Go back", f"{BACK}/applications")
        )
    annotations = await attempt(_annotations(resources, application), back=f"{BACK}/applications")
    blank = [Annotation(title="", labels=[], linked=False)] * SPARE_TITLES
    context = {
        "uuid": application,
        "name": name,
        "rows": [*annotations, *blank],
        "customised": bool(annotations),
        "section": "applications",
    }
    return admin_page(request, "clarius_application.html", context, tab="clarius")


@router.post("/admin/clarius/applications/{application}")
async def save_application(
    resources: ResourcesDep, by: ByDep, form: CheckedForm, application: UUID
) -> Response:
    """Save the editor; a row without a title is left out."""
    annotations = [
        Annotation(
            title=title,
            labels=[line.strip() for line in form.get(f"labels-{number}", "").splitlines() if line.strip()],
            linked=form.get(f"linked-{number}") == "on",
        )
        for number in range(len(form))
        if (title := form.get(f"title-{number}", "").strip())
    ]
    back = f"{BACK}/applications/{application}"
    await attempt(
        clarius_admin.set_annotations(resources, application, annotations, by=by),
        back=back,
    )
    return see_other(f"{BACK}/applications?done=saved")


@router.post("/admin/clarius/applications/{application}/remove")
async def remove_application(
    resources: ResourcesDep, by: ByDep, _form: CheckedForm, application: UUID
) -> Response:
    """Remove our annotations of an application."""
    await attempt(
        clarius_admin.remove_annotations(resources, application, by=by),
        back=f"{BACK}/applications",
    )
    return see_other(f"{BACK}/applications?done=removed")


async def _settings(request: Request, resources: Resources, **more: Any) -> Response:
    """Whatever Clarius does not tell just now is told by the page as a reason, and does not take the page away."""
    ours = our_urls(resources.settings)
    registered, keys, problem = None, [], None
    try:
        registered = await registered_urls(resources)
        api_keys, used = await clarius_admin.list_keys(resources)
        keys = [describe_key(key, used) for key in api_keys]
    except SonobridgeError as error:
        problem = explained(error)
    context: dict[str, Any] = {
        "registered": registered.shown() if registered else None,
        "ours": ours.shown(),
        "matches": registered == ours,
        "keys": keys,
        "secret": None,
        "section": "settings",
        "unreachable": problem,
    }
    return admin_page(request, "clarius.html", context | more, tab="clarius")


async def _applications(resources: Resources) -> tuple[list[Any], dict[UUID, Any]]:
    async with asking(resources, AccountKind.CLARIUS):
        clarius = await resources.clarius()
        every = await clarius.applications()
        ours = await clarius.customised_applications()
    return sorted(every, key=lambda application: application.name.lower()), {
        application.uuid: application for application in ours
    }


async def _annotations(resources: Resources, application: UUID) -> list[Annotation]:
    """C14; none when we have none for it."""
    try:
        async with asking(resources, AccountKind.CLARIUS):
            return (await (await resources.clarius()).customised_application(application)).annotations
    except NotThere:
        return []
