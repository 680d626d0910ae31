"""`sonobridge demo`: the main job on this machine alone, against simulated vendors, checked against their journal."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.demo.checking import Journal, Verdict, check
from app.cli.demo.scenario import Scenario
from app.cli.demo.stage import People, Stage, add_sign_ins, link, set_up
from app.cli.demo.submitting import Expected
from app.cli.demo.watching import Exams, describe_all, kill_a_worker, watch
from app.cli.ending import FAILED
from app.cli.output import Json, console, show_json, show_table
from app.errors import SonobridgeError
from app.observing.logs import configure_logging
from app.opening import stop_on_signals
from app.store.organizations import Images

WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run of the demo was asked for."""

    exams: int
    keep: bool
    as_json: bool
    kill_worker: bool
    images: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of a run."""

    expected: Sequence[Expected]
    exams: Mapping[str, Mapping[str, Any]]
    verdict: Verdict
    seconds: float
    killed: int | None


def demo(
    exams: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="How many exams to submit; with few, a plain one and the first special ones.",
        ),
    ] = 40,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up afterwards; print URLs, sign-ins and a link to click.")
    ] = False,
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="Kill a worker at work (SIGKILL): the result is the same.")
    ] = False,
    images: Annotated[
        bool,
        typer.Option("--images/--no-images", help="Send the captures too, as DICOM by the uploader API."),
    ] = True,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep data and logs in this new folder instead of a passing one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the main job here and now: simulated Clarius and Aurabox, a real bridge with stores of its own.

    Submits exams of every shape (with lost answers, expired links, a forgery, an account linked late, policies, links and
    people that change mid-way: as many of these as --exams has room for), follows them, shows what arrived where and checks it against the vendors' journal.
    Exit status 0 only when all is right.

    Example: sonobridge demo --exams 50 --keep
    """
    configure_logging("production", "ERROR")
    options = Options(exams=exams, keep=keep, as_json=as_json, kill_worker=kill_worker, images=images)
    folder = _folder(data_dir)
    ok = False
    try:
        ok = asyncio.run(_demo(folder, options))
    finally:
        if data_dir is None and ok:
            shutil.rmtree(folder, ignore_errors=True)
        elif not ok:
            typer.echo(f"Logs and data are in {folder}", err=True)
    if not ok:
        raise typer.Exit(FAILED)


def _folder(data_dir: Path | None) -> Path:
    if data_dir is None:
        return Path(tempfile.mkdtemp(prefix="sonobridge-demo-"))
    if data_dir.exists() and any(data_dir.iterdir()):
        raise SonobridgeError(f"{data_dir} is not empty; the demo starts from nothing", code="not_empty")
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return data_dir.resolve()


async def _demo(folder: Path, options: Options) -> bool:
    task = asyncio.current_task()
    if task is not None:
        # ended from outside, it still takes down what it started
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    _say(options, "Starting simulated Clarius and Aurabox, PostgreSQL, Redis, the API and two workers …")
    async with set_up(folder, workers=WORKERS, images=options.images) as stage:
        began = time.monotonic()
        linked, _ = await stage.sandbox.customer()
        stranger, _ = await stage.sandbox.customer()
        await link(stage, linked)
        _say(options, f"Submitting {options.exams} exams to {stage.url} …")
        run = await _submit_and_follow(
            stage, Scenario(stage.sandbox, linked, stranger, People(stage)), options, began
        )
        keeping = await _keep(stage) if options.keep else None
        _report(run, options, keeping)
        if keeping is not None:
            await stop_on_signals().wait()
    return run.verdict.ok


async def _submit_and_follow(stage: Stage, scenario: Scenario, options: Options, began: float) -> Run:
    submitting = asyncio.create_task(scenario.submit_all(options.exams))
    killed: int | None = None

    async def look(exams: Exams) -> bool:
        nonlocal killed
        if options.kill_worker and killed is None:
            killed = kill_a_worker(exams)
        done = [turn for turn in scenario.turns if turn.is_due(exams.get(turn.request_uuid))]
        for turn in done:
            scenario.turns.remove(turn)
        await asyncio.gather(*(turn.act() for turn in done))
        return not scenario.turns and not done

    try:
        await watch(
            stage,
            scenario.expected,
            submitting=submitting,
            total=options.exams,
            look=look,
            show=not options.as_json,
        )
    finally:
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
    sandbox = stage.sandbox
    journal = Journal(
        effects=await sandbox.effects(),
        checks=await sandbox.checks(),
        faults=await sandbox.faults(),
        people=await sandbox.people(),
        first_team=sandbox.team,
    )
    exams = await describe_all(stage)
    images = stage.organization.images != Images.NONE
    verdict = check(scenario.expected, exams, journal, images=images)
    if options.kill_worker and killed is None:
        verdict.of_run.append("no worker could be killed: none was seen at work")
    return Run(
        expected=scenario.expected,
        exams=exams,
        verdict=verdict,
        seconds=time.monotonic() - began,
        killed=killed,
    )


async def _keep(stage: Stage) -> dict[str, Any]:
    """What a person needs to look around: where, as whom, and a link as Clarius would send it."""
    token, connect_url = await stage.sandbox.customer()
    return {
        "url": stage.url,
        "admin_url": f"{stage.url}/admin",
        "connect_url": connect_url,
        "sandbox_url": stage.sandbox.control_url,
        "customer": token,
        "data_dir": str(stage.folder),
        "sign_ins": [asdict(sign_in) for sign_in in await add_sign_ins(stage)],
    }


def _report(run: Run, options: Options, keeping: Mapping[str, Any] | None) -> None:
    wrong = [
        f"{exam.about}: {text}" for exam in run.expected for text in run.verdict.of_exam[exam.request_uuid]
    ] + run.verdict.of_run
    if options.as_json:
        shown: dict[str, Any] = {
            "ok": run.verdict.ok,
            "seconds": round(run.seconds, 1),
            "killed_worker": run.killed,
            "exams": [_exam_json(exam, run) for exam in run.expected],
            "problems": wrong,
        }
        show_json(shown | ({"keep": keeping} if keeping is not None else {}))
        return
    show_table(
        ("exam", "state", "arrived as", "id in Aurabox", "study", "captures", "right"),
        [_row(exam, run) for exam in run.expected],
        nothing="Nothing was submitted.",
    )
    for line in wrong:
        typer.echo(f"WRONG {line}")
    if run.killed is not None:
        typer.echo(f"Worker {run.killed} was killed at work.")
    if run.verdict.ok:
        typer.echo(
            f"All {len(run.expected)} are where they must be, once each, by Aurabox's own journal "
            f"({run.seconds:.0f} s)."
        )
    if keeping is not None:
        _show_keeping(keeping)


def _row(submission: Expected, run: Run) -> tuple[Any, ...]:
    exam = run.exams.get(submission.request_uuid)
    right = "yes" if not run.verdict.of_exam[submission.request_uuid] else "NO"
    if exam is None:
        return submission.about, None, None, None, None, None, right
    where = exam["aurabox"]
    return (
        submission.about,
        exam["state"],
        where["kind"],
        (where["patient_id"] or "")[:8],
        (where["study_id"] or "")[:8],
        len(exam["captures"]),
        right,
    )


def _exam_json(submission: Expected, run: Run) -> dict[str, Any]:
    exam = run.exams.get(submission.request_uuid)
    return {
        "about": submission.about,
        "request_uuid": submission.request_uuid,
        "exam_uuid": submission.exam_uuid,
        "state": exam["state"] if exam else None,
        "expected_state": submission.state,
        "aurabox": exam["aurabox"] if exam else None,
        "captures": len(exam["captures"]) if exam else None,
        "problems": run.verdict.of_exam[submission.request_uuid],
    }


def _show_keeping(keeping: Mapping[str, Any]) -> None:
    typer.echo(f"\nStill up (^C stops it):\n  bridge   {keeping['url']}\n  admin    {keeping['admin_url']}")
    for sign_in in keeping["sign_ins"]:
        typer.echo(f"  sign in  {sign_in['email']}  {sign_in['password']}")
    typer.echo(f"  connect  {keeping['connect_url']}")
    typer.echo(f"  sandbox  {keeping['sandbox_url']}/state\n  data     {keeping['data_dir']}")


def _say(options: Options, line: str) -> None:
    if not options.as_json:
        console(stderr=True).print(line)
