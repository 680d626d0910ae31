"""`sonobridge org …`: organisations, the policy by which their exams are filed, and whether their keys work."""

from typing import Annotated, Any

import typer

from app.cli.output import Json, show_json, show_one, show_table
from app.cli.running import FAILED, by_user, run
from app.cli.secret_input import Wanted, read_secrets
from app.errors import Misuse
from app.organizations.changes import (
    add_organization,
    describe_organization,
    remove_organization,
    set_organization,
    wanted_organization,
)
from app.resources import Resources
from app.store.organizations import (
    Animals,
    BurnedIn,
    CaptureSource,
    Corrections,
    IdentityPolicy,
    Images,
    Incomplete,
    MatchExisting,
    Video,
    list_organizations,
)
from app.upkeep.doctor import Check, check_organization

app = typer.Typer(no_args_is_help=True, help="Organisations: whose exams go to which Aurabox team, and how.")

Org = Annotated[str, typer.Argument(metavar="ID|NAME", help="The organisation.", show_default=False)]
KeyStdin = Annotated[
    bool,
    typer.Option(
        "--aurabox-key-stdin", help="Read the team's Aurabox API key from standard input (else AURABOX_KEY)."
    ),
]
AuraboxUrl = Annotated[str | None, typer.Option(metavar="URL", help="Its Aurabox, if not AURABOX_BASE_URL.")]
IdentityOption = Annotated[
    IdentityPolicy | None, typer.Option(help="Whether patients are named in Aurabox. [identified]")
]
IncompleteOption = Annotated[
    Incomplete | None,
    typer.Option(help="A human who can't be a patient becomes a case, or is held for review. [case]"),
]
AnimalsOption = Annotated[Animals | None, typer.Option(help="How animals are filed. [case]")]
MatchOption = Annotated[
    MatchExisting | None, typer.Option(help="Adopt a patient that Aurabox already has. [exact]")
]
BirthDate = Annotated[
    bool | None,
    typer.Option("--keep-birth-date/--no-keep-birth-date", help="Keep it when de-identified. [no]"),
]
SourceOption = Annotated[CaptureSource | None, typer.Option(help="Where images come from. [captures]")]
ImagesOption = Annotated[
    Images | None, typer.Option(help="How images go. [uploader when AURA_APP_ID is set, else none]")
]
VideoOption = Annotated[Video | None, typer.Option(help="What clips become. [cine]")]
BurnedInOption = Annotated[
    BurnedIn | None,
    typer.Option(help="Whether names are burned into the pixels; needed for de-identified images. [unknown]"),
]
MaskOption = Annotated[
    list[str] | None,
    typer.Option("--mask", metavar="X,Y,W,H", help="A rectangle to blank, in pixels; may be repeated."),
]
DicomwebUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="DICOMweb service for --images dicomweb.")
]
DicomwebUser = Annotated[
    str | None, typer.Option(metavar="USER", help="Makes the DICOMweb token a basic password.")
]
DicomwebStdin = Annotated[
    bool,
    typer.Option("--dicomweb-token-stdin", help="Read the DICOMweb token from stdin (else DICOMWEB_TOKEN)."),
]
ServiceStdin = Annotated[
    bool,
    typer.Option(
        "--service-key-stdin", help="Read the team's service key from stdin (else AURABOX_SERVICE_KEY)."
    ),
]
Report = Annotated[
    bool | None, typer.Option("--report/--no-report", help="Put a receipt onto the Clarius exam. [no]")
]
Zone = Annotated[str | None, typer.Option(metavar="ZONE", help="Time zone of study dates. [UTC]")]
CorrectionsOption = Annotated[
    Corrections | None,
    typer.Option(
        help="What becomes of a known patient's details that a later exam spells otherwise. [review]"
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(metavar="N", help="How many of its exams run at one time. [8]")
]


def _secrets(*, key: bool, dicomweb: bool, service: bool) -> dict[str, str]:
    return read_secrets(
        [
            Wanted("aurabox_key", "AURABOX_KEY", key),
            Wanted("dicomweb_token", "DICOMWEB_TOKEN", dicomweb),
            Wanted("service_key", "AURABOX_SERVICE_KEY", service),
        ]
    )


def _said(**options: Any) -> dict[str, Any]:
    """What was given: an option that was not said is None, and leaves the default or what is stored."""
    return {name: value for name, value in options.items() if value is not None and value != []}


@app.command("add")
def add(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What people call it.", show_default=False)],
    aurabox_key_stdin: KeyStdin = False,
    aurabox_url: AuraboxUrl = None,
    identity: IdentityOption = None,
    incomplete: IncompleteOption = None,
    animals: AnimalsOption = None,
    match_existing: MatchOption = None,
    keep_birth_date: BirthDate = None,
    source: SourceOption = None,
    images: ImagesOption = None,
    video: VideoOption = None,
    burned_in: BurnedInOption = None,
    mask: MaskOption = None,
    dicomweb_url: DicomwebUrl = None,
    dicomweb_user: DicomwebUser = None,
    dicomweb_token_stdin: DicomwebStdin = False,
    service_key_stdin: ServiceStdin = False,
    report: Report = None,
    timezone: Zone = None,
    corrections: CorrectionsOption = None,
    concurrency: Concurrency = None,
    as_json: Json = False,
) -> None:
    """Add an organisation. Several secrets on standard input are one per line: Aurabox key, DICOMweb token, service key.

    Example: sonobridge org add --name "Harbour Clinic" --aurabox-key-stdin --timezone Australia/Melbourne < key.txt
    """
    given = _said(
        name=name,
        aurabox_url=aurabox_url,
        identity=identity,
        incomplete=incomplete,
        animals=animals,
        match_existing=match_existing,
        keep_birth_date=keep_birth_date,
        source=source,
        images=images,
        video=video,
        burned_in=burned_in,
        masks=mask,
        dicomweb_url=dicomweb_url,
        dicomweb_user=dicomweb_user,
        report=report,
        timezone=timezone,
        corrections=corrections,
        concurrency=concurrency,
    ) | _secrets(key=aurabox_key_stdin, dicomweb=dicomweb_token_stdin, service=service_key_stdin)
    if "aurabox_key" not in given:
        raise Misuse("aurabox_key: give it on standard input (--aurabox-key-stdin) or in AURABOX_KEY")
    made = run(lambda resources: add_organization(resources, given, by=by_user()))
    show_one(describe_organization(made), as_json=as_json, said=f"Added {made.name} ({made.id}).")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """All organisations in use.

    Example: sonobridge org list --json
    """

    async def read(resources: Resources) -> list[dict[str, Any]]:
        async with resources.sessions() as session:
            return [describe_organization(one) for one in await list_organizations(session)]

    found = run(read)
    if as_json:
        show_json(found)
        return
    columns = ("id", "name", "identity", "images", "source", "timezone", "created_at")
    show_table(
        columns,
        [[one[column] for column in columns] for one in found],
        nothing="There are no organisations; `sonobridge org add --help` shows how to add one.",
    )


@app.command("show")
def show(organization: Org, as_json: Json = False) -> None:
    """One organisation with its policy; secrets only as whether they are there.

    Example: sonobridge org show "Harbour Clinic"
    """

    async def read(resources: Resources) -> dict[str, Any]:
        async with resources.sessions() as session:
            return describe_organization(await wanted_organization(session, organization))

    show_one(run(read), as_json=as_json)


@app.command("set")
def set_(
    *,
    organization: Org,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Another name.")] = None,
    aurabox_key_stdin: KeyStdin = False,
    aurabox_url: AuraboxUrl = None,
    identity: IdentityOption = None,
    incomplete: IncompleteOption = None,
    animals: AnimalsOption = None,
    match_existing: MatchOption = None,
    keep_birth_date: BirthDate = None,
    source: SourceOption = None,
    images: ImagesOption = None,
    video: VideoOption = None,
    burned_in: BurnedInOption = None,
    mask: MaskOption = None,
    dicomweb_url: DicomwebUrl = None,
    dicomweb_user: DicomwebUser = None,
    dicomweb_token_stdin: DicomwebStdin = False,
    service_key_stdin: ServiceStdin = False,
    report: Report = None,
    timezone: Zone = None,
    corrections: CorrectionsOption = None,
    concurrency: Concurrency = None,
    as_json: Json = False,
) -> None:
    """Change what is said and leave the rest. New credentials resume an account that was paused, at once.

    Example: sonobridge org set "Harbour Clinic" --images dicomweb --dicomweb-url https://pacs.example/dicom-web
    """
    given = _said(
        name=name,
        aurabox_url=aurabox_url,
        identity=identity,
        incomplete=incomplete,
        animals=animals,
        match_existing=match_existing,
        keep_birth_date=keep_birth_date,
        source=source,
        images=images,
        video=video,
        burned_in=burned_in,
        masks=mask,
        dicomweb_url=dicomweb_url,
        dicomweb_user=dicomweb_user,
        report=report,
        timezone=timezone,
        corrections=corrections,
        concurrency=concurrency,
    ) | _secrets(key=aurabox_key_stdin, dicomweb=dicomweb_token_stdin, service=service_key_stdin)
    changed = run(lambda resources: set_organization(resources, organization, given, by=by_user()))
    show_one(describe_organization(changed), as_json=as_json, said=f"Changed {changed.name}.")


@app.command("test")
def try_(organization: Org, as_json: Json = False) -> None:
    """Try its Aurabox key and its image transport, changing nothing. Exit status 1 when one does not work.

    Example: sonobridge org test "Harbour Clinic"
    """

    async def check(resources: Resources) -> list[Check]:
        async with resources.sessions() as session:
            wanted = await wanted_organization(session, organization)
        return await check_organization(resources, wanted)

    checks = run(check)
    if as_json:
        show_json({"ok": all(one.ok for one in checks), "checks": [one.as_json() for one in checks]})
    else:
        for one in checks:
            typer.echo(one.line())
    if not all(one.ok for one in checks):
        raise typer.Exit(FAILED)


@app.command("remove")
def remove(organization: Org, as_json: Json = False) -> None:
    """Take an organisation out of use: links end, users are disabled, keys are forgotten; its history stays.

    Refused while exams of it are under way.

    Example: sonobridge org remove "Harbour Clinic"
    """
    removed = run(lambda resources: remove_organization(resources, organization, by=by_user()))
    show_one(
        {"id": str(removed.id), "name": removed.name, "removed": True},
        as_json=as_json,
        said=f"Removed {organization}.",
    )
