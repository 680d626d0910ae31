"""`sonobridge clarius research …`: raw data and DICOM exports of exams (Research Bundle: C17–C19).

These calls do not go through the account's gate: a password that a person mistypes must not pause the workers'.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import SecretStr

from app.accounts import AccountKind
from app.cli.output import Json, progress_bar, show_one
from app.cli.running import by_user, read_settings, run
from app.cli.secret_input import SecretSource, read_secrets
from app.clients.clarius import ClariusResearchClient, DicomOptions, login
from app.clients.clarius.research import Demographic, Syntax
from app.clients.media import download
from app.errors import Misuse
from app.resources import Resources
from app.store.audit import audit
from app.store.upstreams import upstream
from app.upstreams.gate import lift

app = typer.Typer(
    no_args_is_help=True, help="Research Bundle: raw data and DICOM exports, by name and password."
)

Exam = Annotated[str, typer.Argument(metavar="EXAM", help="The exam's id at Clarius.", show_default=False)]
Username = Annotated[str | None, typer.Option(metavar="NAME", help="The user. [CLARIUS_RESEARCH_USERNAME]")]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password from stdin (else CLARIUS_RESEARCH_PASSWORD)."),
]


class SyntaxName(StrEnum):
    """Short names of Clarius's transfer syntaxes."""

    JPEG_LOSSLESS = "jpeg-lossless"
    JPEG_LS = "jpeg-ls"


SYNTAXES: dict[SyntaxName, Syntax] = {
    SyntaxName.JPEG_LOSSLESS: "jpeg lossless nonheirarchical process 14",
    SyntaxName.JPEG_LS: "jpeg ls lossless",
}


class _Login:
    """Name and password, read before anything is opened."""

    def __init__(self, username: str | None, *, password_stdin: bool) -> None:
        settings = read_settings()
        passwords = read_secrets([SecretSource("password", "CLARIUS_RESEARCH_PASSWORD", password_stdin)])
        name = username or settings.clarius_research_username
        if name is None or "password" not in passwords:
            raise Misuse(
                "set CLARIUS_RESEARCH_USERNAME and CLARIUS_RESEARCH_PASSWORD, or say --username and --password-stdin"
            )
        self._username, self._password = name, SecretStr(passwords["password"])
        configured = settings.clarius_research_password
        self.is_configured = name == settings.clarius_research_username and configured == self._password

    async def client(self, resources: Resources) -> ClariusResearchClient:
        """Signed in (C17)."""
        base_url = resources.settings.clarius_base_url
        token = await login(
            resources.http, base_url=base_url, username=self._username, password=self._password
        )
        return ClariusResearchClient(resources.http, base_url=base_url, token=token)


async def _resume(resources: Resources) -> None:
    """The workers' own credentials are seen to work: what waits for them goes on."""
    async with resources.sessions.begin() as session:
        account = await upstream(session, AccountKind.RESEARCH)
        if account is not None and account.refused_since is not None:
            await lift(session, AccountKind.RESEARCH)


async def _audited(resources: Resources, action: str, exam: str) -> None:
    async with resources.sessions.begin() as session:
        await audit(session, by=by_user(), action=action, subject=exam)


@app.command("login")
def login_(username: Username = None, password_stdin: PasswordStdin = False, as_json: Json = False) -> None:
    """Try the name and the password.

    Example: sonobridge clarius research login --username researcher --password-stdin < password
    """
    user = _Login(username, password_stdin=password_stdin)

    async def act(resources: Resources) -> None:
        await user.client(resources)
        if user.is_configured:
            await _resume(resources)

    run(act)
    show_one({"ok": True}, as_json=as_json, line="Clarius accepts the name and the password.")


@app.command("rawdata")
def rawdata(
    exam: Exam,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.", show_default=False)],
    username: Username = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Fetch the raw data of each capture into a folder: `<capture>.raw` and what is said of it, `<capture>.json`.

    Example: sonobridge clarius research rawdata 1234 --out ./raw
    """
    user = _Login(username, password_stdin=password_stdin)
    out.mkdir(parents=True, exist_ok=True)

    async def act(resources: Resources, progress: Any) -> list[str]:
        files = []
        captures = await (await user.client(resources)).raw_data(exam)
        for position, capture in enumerate(captures, start=1):
            path = out / f"{capture.capture_uuid}.raw"
            await download(resources.http, capture.raw_image, path, cap=resources.settings.max_capture_bytes)
            path.with_suffix(".json").write_text(capture.blob, encoding="utf-8")
            files.append(str(path))
            progress(position, len(captures))
        await _audited(resources, "clarius.rawdata", exam)
        return files

    with progress_bar("Raw data") as progress:
        files = run(lambda resources: act(resources, progress))
    show_one({"files": files}, as_json=as_json, line=f"{len(files)} captures in {out}.")


@app.command("dicom")
def dicom(
    *,
    exam: Exam,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.", show_default=False)],
    syntax: Annotated[SyntaxName | None, typer.Option(help="Transfer syntax.")] = None,
    b_image_only: Annotated[bool | None, typer.Option("--b-image-only/--all-images")] = None,
    resolution: Annotated[str | None, typer.Option(metavar="NxN", help="Such as 640x480.")] = None,
    annotations: Annotated[bool | None, typer.Option("--annotations/--no-annotations")] = None,
    measurements: Annotated[bool | None, typer.Option("--measurements/--no-measurements")] = None,
    scan_parameters: Annotated[bool | None, typer.Option("--scan-parameters/--no-scan-parameters")] = None,
    demographics: Annotated[bool | None, typer.Option("--demographics/--no-demographics")] = None,
    demographic: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Only these: {', '.join(get_args(Demographic))}."),
    ] = None,
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="Time zone.")] = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
    as_json: Json = False,
) -> None:
    """Fetch an exam as DICOM into a file. While Clarius is still making it: exit status 1, try again later.

    Example: sonobridge clarius research dicom 1234 --out exam.zip --syntax jpeg-ls
    """
    wrong = sorted(set(demographic or ()) - set(get_args(Demographic)))
    if wrong:
        raise Misuse(f"demographic: there is no {', '.join(wrong)}")
    user = _Login(username, password_stdin=password_stdin)
    options = DicomOptions(
        syntax=SYNTAXES[syntax] if syntax else None,
        b_image_only=b_image_only,
        resolution=resolution,
        include_annotations=annotations,
        include_demographics=demographics,
        include_measurements=measurements,
        include_scan_parameters=scan_parameters,
        demographics=_demographics(demographic),
        tz=tz,
    )

    async def act(resources: Resources) -> dict[str, Any]:
        url = await (await user.client(resources)).dicom(exam, options)
        got = await download(resources.http, url, out, cap=resources.settings.max_capture_bytes)
        await _audited(resources, "clarius.dicom", exam)
        return {"file": str(out), "bytes": got.bytes, "sha256": got.sha256}

    with progress_bar("DICOM"):
        done = run(act)
    show_one(done, as_json=as_json, line=f"{done['bytes']} bytes in {out}.")


def _demographics(names: list[str] | None) -> tuple[Demographic, ...] | None:
    by_name: dict[str, Demographic] = {name: name for name in get_args(Demographic)}
    return tuple(by_name[name] for name in names) if names else None
