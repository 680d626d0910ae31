"""How commands show things: tables and lists of fields for people, JSON for programs; must not decide what is shown."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH_WHEN_PIPED = 240
"""Columns: a table that goes into a file or another program is not cut to some terminal's width."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def console(*, stderr: bool = False) -> Console:
    """A console on standard output (or standard error)."""
    tty = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, width=None if tty else WIDTH_WHEN_PIPED)


def show_json(value: Any) -> None:
    """One JSON value; times in UTC ISO 8601."""
    typer.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, nothing: str) -> None:
    """A table, or the line `nothing` when there are no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(as_text(value)) for value in row))
    if table.row_count:
        console().print(table)
    else:
        typer.echo(nothing)


def show_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a field a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), Text(as_text(value)))
    console().print(table)


def as_text(value: Any) -> str:
    """A value for a person: nothing as a dash, times in UTC to the second, organisations by name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {as_text(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, list | tuple) and value:
        return ", ".join(as_text(item) for item in value)
    return "–" if value is None or value in ("", []) else str(value)


def show_one(value: Mapping[str, Any], *, as_json: bool, line: str | None = None) -> None:
    """One thing: as JSON, or as the line `said`, or field by field."""
    if as_json:
        show_json(value)
    elif line is not None:
        typer.echo(line)
    else:
        show_fields(value)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error while a long command runs; nothing when that is no terminal.

    Yields a function to call with how many are done and how many there are (0: not known yet).
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield advance


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
