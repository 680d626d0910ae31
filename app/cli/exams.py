"""`sonobridge exam …`: what became of each exam, and what a person can do about it."""

from collections.abc import Awaitable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from app.cli.output import Json, as_text, progress_bar, show_fields, show_json, show_one, show_table
from app.cli.running import by_user, run
from app.delivery.actions import CANCEL, RELEASE, RETRY, Act, Bulk, Progress, act_on, act_on_matching, decide
from app.delivery.possible import OpenWay, acts_of, open_ways, show_exam, show_exams
from app.errors import Misuse
from app.inbox.imports import import_exam
from app.resources import Resources
from app.states import ExamState, Reason, Step
from app.store.exam_search import USUAL, ExamFilter, find_exams, read_filter
from app.store.exams import Exam, wanted_exam
from app.store.filings import Choice

app = typer.Typer(no_args_is_help=True, help="Exams: where each stands, and putting it right.")

One = Annotated[
    UUID, typer.Argument(metavar="REQUEST_UUID", help="Clarius's request UUID.", show_default=False)
]
Maybe = Annotated[UUID | None, typer.Argument(metavar="[REQUEST_UUID]", help="One exam; or a filter.")]
StateOption = Annotated[ExamState | None, typer.Option(help="Only in this state.")]
StepOption = Annotated[Step | None, typer.Option(help="Only at this step.")]
ReasonOption = Annotated[Reason | None, typer.Option(help="Only waiting for this reason.")]
OrgOption = Annotated[
    str | None, typer.Option("--organization", "--org", metavar="ID|NAME", help="Only of it.")
]
SinceOption = Annotated[str | None, typer.Option(metavar="TIME", help="Only received since (ISO 8601, UTC).")]
All = Annotated[
    bool, typer.Option("--all", help="Every failed and review exam; unverified ones only by --state.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")]


class Who(StrEnum):
    """A person's word on an identity conflict."""

    SEPARATE = "separate"
    SAME = "same"


@app.command("list")
def list_(
    *,
    state: StateOption = None,
    step: StepOption = None,
    reason: ReasonOption = None,
    organization: OrgOption = None,
    q: Annotated[str | None, typer.Option("-q", "--q", metavar="TEXT", help="UUID or organisation.")] = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = USUAL,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    as_json: Json = False,
) -> None:
    """Exams, newest first. JSON is one page: {items, next_cursor}.

    Example: sonobridge exam list --state waiting --reason link
    """

    async def read(resources: Resources) -> dict[str, Any]:
        async with resources.sessions() as session:
            chosen = await read_filter(
                session, state=state, step=step, reason=reason, organization=organization, q=q, since=since
            )
            page, following = await find_exams(session, chosen, limit=limit, cursor=cursor)
            return {
                "items": [exam.model_dump() for exam in await show_exams(session, page)],
                "next_cursor": following,
            }

    listing = run(read)
    if as_json:
        show_json(listing)
        return
    rows = [
        (
            exam["request_uuid"],
            exam["organization"],
            exam["state"] if exam["reason"] is None else f"{exam['state']}/{exam['reason']}",
            exam["step"],
            len(exam["captures"]),
            exam["received_at"],
            exam["error"]["code"] if exam["error"] else None,
        )
        for exam in listing["items"]
    ]
    columns = ("request", "organisation", "state", "step", "captures", "received", "error")
    show_table(columns, rows, nothing="There are no such exams.")
    if listing["next_cursor"]:
        typer.echo(f"More: --cursor {listing['next_cursor']}")


@app.command("show")
def show(request_uuid: One, as_json: Json = False) -> None:
    """One exam with its captures, its history, and what can be done about it. Never shows who the patient is.

    Example: sonobridge exam show 5c1e…
    """

    async def read(resources: Resources) -> tuple[dict[str, Any], Mapping[str, str]]:
        async with resources.sessions() as session:
            exam = await wanted_exam(session, request_uuid)
            return (await show_exam(session, exam)).model_dump(), acts_of(exam)

    exam, acts = run(read)
    if as_json:
        show_json(exam)
        return
    captures, timeline, ways, claims = (exam.pop(name) for name in ("captures", "timeline", "ways", "claims"))
    error, mend, aurabox, filing = (exam.pop(name) for name in ("error", "mend", "aurabox", "filing"))
    line = f"{error['code']}: {error['message']}" if error else None
    fields = exam | {f"aurabox_{name}": value for name, value in aurabox.items()}
    fields |= {f"filing_{name}": value for name, value in (filing or {}).items()}
    show_fields(fields | {"error": line} | ({"how_it_ends": mend} if mend else {}))
    if claims:
        typer.echo(
            "\nWho announced it (Clarius does not list it; a release takes the first that has an organisation)"
        )
        _show_rows(claims, *claims[0])
    typer.echo("\nWhat can be done")
    can = [(f"decide … {way['decision']}{_naming(way['subjects'])}", way["says"]) for way in ways]
    show_table(("exam", "what will happen"), [*can, *acts.items()], nothing="nothing")
    typer.echo("\nCaptures")
    _show_rows(captures, "index", "kind", "bytes", "sha256", "already_delivered", "problem")
    typer.echo("\nHistory")
    _show_rows(timeline, "at", "step", "event", "detail")


def _naming(subjects: Sequence[str]) -> str:
    return f" --subject {'|'.join(subjects)}" if subjects else ""


def _show_rows(rows: list[dict[str, Any]], *columns: str) -> None:
    show_table(columns, [[row[column] for column in columns] for row in rows], nothing="none")


@app.command("import")
def import_(request_uuid: One, as_json: Json = False) -> None:
    """Look a request up at Clarius and take it in, as if its notification had come.

    Example: sonobridge exam import 5c1e…
    """
    _show_moved(
        run(lambda resources: _shown(resources, import_exam(resources, request_uuid, by=by_user()))),
        as_json=as_json,
    )


@app.command("release")
def release(
    *,
    request_uuid: Maybe = None,
    every: All = False,
    state: StateOption = None,
    step: StepOption = None,
    reason: ReasonOption = None,
    organization: OrgOption = None,
    since: SinceOption = None,
    identity: Annotated[
        Who | None, typer.Option(help="Settles an identity conflict: keep separate, or the same patient.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Vouch for what stopped it: an unverified exam goes on without Clarius's word, one in review goes on as it is.

    An unverified exam may be forged: `exam show` says who announced it and whose it would be.

    Example: sonobridge exam release 5c1e… --identity separate
    """
    if identity is not None:
        if request_uuid is None:
            raise Misuse("identity: is decided one exam at a time; name its request UUID")
        choice: Literal["separate", "same"] = "same" if identity is Who.SAME else "separate"

        _decide(request_uuid, choice, None, as_json=as_json)
        return
    selection = _Selection(request_uuid, every, state, step, reason, organization, since, dry_run)
    _act(selection, RELEASE, "released", as_json=as_json)


@app.command("decide")
def decide_(
    request_uuid: Annotated[UUID, typer.Argument(help="The request UUID of the exam in review.")],
    decision: Annotated[Choice, typer.Argument(help="What it is settled by.")],
    subject: Annotated[
        str | None, typer.Option(help="Whom `same` means where there are several: an id of Aurabox.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Settle what an exam in review waits for. `exam show` says which decisions it can take, and what each does.

    Example: sonobridge exam decide 5c1e… as-case
    """
    _decide(request_uuid, decision, subject, as_json=as_json)


def _decide(request_uuid: UUID, choice: str, subject: str | None, *, as_json: bool) -> None:
    """Say what will happen, on standard error where standard output is for a program, and do it."""

    async def act(resources: Resources) -> dict[str, Any]:
        async with resources.sessions() as session:
            exam = await wanted_exam(session, request_uuid)
            ways: Sequence[OpenWay] = (await open_ways(session, [exam]))[exam.id]
        for way in ways:
            if way.choice == choice:
                typer.echo(way.says, err=as_json)
        deciding = decide(resources, request_uuid, choice, by=by_user(), subject=subject)
        return await _shown(resources, deciding)

    _show_moved(run(act), as_json=as_json)


def _plain_command(act: Act, name: str, done: str, text: str) -> None:
    """An act that needs nothing but which exams."""

    def command(
        *,
        request_uuid: Maybe = None,
        every: All = False,
        state: StateOption = None,
        step: StepOption = None,
        reason: ReasonOption = None,
        organization: OrgOption = None,
        since: SinceOption = None,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        selection = _Selection(request_uuid, every, state, step, reason, organization, since, dry_run)
        _act(selection, act, done, as_json=as_json)

    app.command(name, help=text)(command)


_plain_command(
    RETRY,
    "retry",
    "retried",
    """Try one exam again now, or all that a filter finds. Safe to repeat.

    Example: sonobridge exam retry --state failed --organization "Harbour Clinic" --dry-run
    """,
)
_plain_command(
    CANCEL,
    "cancel",
    "cancelled",
    """Stop an exam for good (a retry takes it back); one that is delivered stays delivered.

    Example: sonobridge exam cancel 5c1e…
    """,
)


class _Selection:
    """Which exams an act is for: one, or those that a filter finds."""

    def __init__(
        self,
        request_uuid: UUID | None,
        every: bool,
        state: ExamState | None,
        step: Step | None,
        reason: Reason | None,
        organization: str | None,
        since: str | None,
        dry_run: bool,
    ) -> None:
        self.request_uuid = request_uuid
        self.dry_run = dry_run
        self._words: dict[str, Any] = {
            "state": state,
            "step": step,
            "reason": reason,
            "organization": organization,
            "since": since,
        }
        filtered = any(value is not None for value in self._words.values())
        if (request_uuid is not None) == (every or filtered):
            raise Misuse("name one request UUID, or a filter (--state, --organization, …), or --all")
        if request_uuid is not None and dry_run:
            raise Misuse("--dry-run: is for a filter")

    async def filter(self, resources: Resources) -> ExamFilter:
        """The filter that was said. Raises Misuse."""
        async with resources.sessions() as session:
            return await read_filter(session, **self._words)


def _act(selection: _Selection, act: Act, word: str, *, as_json: bool) -> None:
    if selection.request_uuid is not None:
        request_uuid = selection.request_uuid
        _show_moved(
            run(lambda resources: _shown(resources, act_on(resources, request_uuid, act, by=by_user()))),
            as_json=as_json,
        )
        return

    async def act_on_all(resources: Resources, progress: Progress) -> Bulk:
        chosen = await selection.filter(resources)
        return await act_on_matching(
            resources, chosen, act, by=by_user(), dry_run=selection.dry_run, progress=progress
        )

    with progress_bar(f"Exams {word}") as progress:
        bulk = run(lambda resources: act_on_all(resources, progress))
    show_one(
        {"matched": bulk.matched, word: bulk.done},
        as_json=as_json,
        line=f"{bulk.matched} matched; none was touched (dry run)."
        if selection.dry_run
        else f"{bulk.matched} matched, {bulk.done} {word}.",
    )


async def _shown(resources: Resources, acting: Awaitable[Exam]) -> dict[str, Any]:
    exam = await acting
    async with resources.sessions() as session:
        return (await show_exam(session, exam)).model_dump()


def _show_moved(exam: dict[str, Any], *, as_json: bool) -> None:
    why = f" ({as_text(exam['reason'])})" if exam["reason"] else ""
    line = f"{exam['request_uuid']} is {exam['state']}{why} at {exam['step']}."
    show_one(exam, as_json=as_json, line=line)
