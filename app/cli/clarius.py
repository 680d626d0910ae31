"""`sonobridge clarius …`: what can be done at Clarius Cloud by hand (C1–C11)."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from app.accounts import AccountKind
from app.cli import clarius_applications, clarius_research
from app.cli.ending import FAILED
from app.cli.output import Json, progress_bar, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.consoles import clarius as clarius_admin
from app.consoles.clarius import describe_key, describe_record
from app.consoles.clarius_keys import rotate_key
from app.consoles.registration import our_urls, register, register_ours, registered_urls
from app.errors import Misuse
from app.linking.comparing import describe_pair, pair_tokens
from app.resources import Resources
from app.store.audit import By
from app.store.links import hint_of
from app.upstreams.gate import asking

MOST_REPORT_BYTES = 100 * 1024 * 1024

app = typer.Typer(
    no_args_is_help=True, help="Clarius Cloud: URLs, records, tokens, keys, applications, reports."
)
keys = typer.Typer(no_args_is_help=True, help="API keys at Clarius.")
app.add_typer(keys, name="keys")
app.add_typer(clarius_applications.app, name="applications")
app.add_typer(clarius_research.app, name="research")

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")]


def _by() -> By:
    return by_user()


def _show_list(rows: list[dict[str, Any]], *columns: str, as_json: bool, nothing: str) -> None:
    if as_json:
        show_json(rows)
    else:
        show_table(columns, [[row[column] for column in columns] for row in rows], nothing=nothing)


@app.command("settings")
def settings(
    notification_url: Annotated[
        str | None, typer.Option(metavar="URL", help='Where notifications go; "" for nowhere.')
    ] = None,
    token_transfer_url: Annotated[
        str | None, typer.Option(metavar="URL", help='Where browsers go; holds {token}; "" for nowhere.')
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the URLs registered at Clarius, or change them.

    Example: sonobridge clarius settings --notification-url https://bridge.example/webhooks/clarius
    """

    async def act(resources: Resources) -> dict[str, str]:
        if notification_url is None and token_transfer_url is None:
            return (await registered_urls(resources)).shown()
        changed = await register(
            resources,
            notification_url=notification_url,
            token_transfer_url=token_transfer_url,
            by=by_user(),
        )
        return changed.shown()

    show_one(run(act), as_json=as_json)


@app.command("register")
def register_(as_json: Json = False) -> None:
    """Register our own two URLs (from SONOBRIDGE_PUBLIC_URL) and check that Clarius has them.

    Example: sonobridge clarius register
    """

    async def act(resources: Resources) -> dict[str, Any]:
        registered = await register_ours(resources, by=by_user())
        return {**registered.shown(), "matches": registered == our_urls(resources.settings)}

    done = run(act)
    show_one(done, as_json=as_json)
    if not done["matches"]:
        raise typer.Exit(FAILED)


@app.command("records")
def records(limit: Limit = 100, as_json: Json = False) -> None:
    """Clarius's records of its calls to our webhook (14 days), each beside our own receipt, newest first.

    Example: sonobridge clarius records --limit 20
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        records = await clarius_admin.read_records(resources, skip=0, limit=limit)
        return [describe_record(record).model_dump() for record in records]

    columns = ("sent_at", "request_uuid", "status", "error", "known")
    _show_list(run(read), *columns, as_json=as_json, nothing="Clarius has no records.")


@app.command("tokens")
def tokens(as_json: Json = False) -> None:
    """The accounts that Clarius holds as confirmed beside our links, the differences first.

    Example: sonobridge clarius tokens
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        pairs = await pair_tokens(resources, by_hand=True)
        return [describe_pair(pair).model_dump() for pair in pairs]

    columns = ("customer_hint", "organization", "at_clarius", "link_id", "difference")
    _show_list(run(read), *columns, as_json=as_json, nothing="There are none on either side.")


@app.command("exams")
def exams(
    customer: Annotated[str | None, typer.Option(metavar="C", help="Only of this customer (token).")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """The exams that Clarius lets us download, newest first. Customers are shown by their last characters.

    Example: sonobridge clarius exams --limit 20
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        async with asking(resources, AccountKind.CLARIUS):
            async for exam in (await resources.clarius()).accessible_exams(customer_id=customer):
                shown = {
                    "request_uuid": str(exam.request_uuid),
                    "exam_uuid": str(exam.exam_uuid),
                    "customer_hint": hint_of(exam.customer_id),
                    "submitted_at": exam.submitted_at,
                }
                rows.append(shown)
                if len(rows) >= limit:
                    break
        return rows

    columns = ("request_uuid", "exam_uuid", "customer_hint", "submitted_at")
    _show_list(run(read), *columns, as_json=as_json, nothing="Clarius lists no exams.")


@app.command("report")
def report(
    request_uuid: Annotated[UUID, typer.Argument(metavar="REQUEST_UUID", show_default=False)],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False)
    ],
    name: Annotated[str, typer.Option(metavar="N", help="What the clinician sees.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Put a report of your own onto an exam at Clarius; may be done several times.

    Example: sonobridge clarius report 5c1e… findings.pdf --name "Findings"
    """
    if file.stat().st_size > MOST_REPORT_BYTES:
        raise Misuse(f"{file}: a report has at most {MOST_REPORT_BYTES // 1024**2} MiB")
    kind = "application/pdf" if file.suffix.lower() == ".pdf" else "application/octet-stream"
    content = file.read_bytes()

    async def act(resources: Resources) -> None:
        await clarius_admin.upload_report(
            resources,
            request_uuid,
            name=name,
            filename=file.name,
            content=content,
            content_type=kind,
            by=_by(),
        )

    run(act)
    done = {"request_uuid": str(request_uuid), "name": name, "bytes": len(content)}
    show_one(done, as_json=as_json, line=f"Clarius has {name} ({len(content)} bytes).")


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """The API keys at Clarius, without their secrets; the one in use is marked.

    Example: sonobridge clarius keys list
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        api_keys, used = await clarius_admin.list_keys(resources)
        return [describe_key(key, used).model_dump() for key in api_keys]

    columns = ("prefix", "name", "created_at", "in_use")
    _show_list(run(read), *columns, as_json=as_json, nothing="There are no keys.")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)], as_json: Json = False
) -> None:
    """Make a key beside the one in use. Its secret is shown now and never again.

    Example: sonobridge clarius keys create "second site"
    """

    async def act(resources: Resources) -> dict[str, Any]:
        key = await clarius_admin.create_key(resources, name, by=_by())
        return {"prefix": key.prefix, "name": key.name, "key": key.key.get_secret_value()}

    key = run(act)
    show_one(key, as_json=as_json, line=key["key"])


@keys.command("revoke")
def revoke_key(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", show_default=False)], as_json: Json = False
) -> None:
    """Revoke a key by its prefix; Clarius refuses that for the key in use.

    Example: sonobridge clarius keys revoke 3fa9c1
    """
    run(lambda resources: clarius_admin.revoke_key(resources, prefix, by=_by()))
    show_one({"prefix": prefix, "revoked": True}, as_json=as_json, line=f"Revoked {prefix}.")


@keys.command("rotate")
def rotate(as_json: Json = False) -> None:
    """Put a new key in place of the one in use without a gap: make, store, use, verify, revoke the old one.

    Example: sonobridge clarius keys rotate
    """
    with progress_bar("Rotating the key"):
        done = run(lambda resources: rotate_key(resources, by=by_user()))
    line = f"The key in use begins with {done['prefix']}; revoked: {done['revoked'] or 'none'}."
    show_one(done, as_json=as_json, line=line)
