"""`sonobridge aurabox …`: an organisation's Aurabox team by hand (A1–A15). It shows patients, and is audited."""

import typer

from app.cli import aurabox_cases, aurabox_patients, aurabox_studies

app = typer.Typer(
    no_args_is_help=True, help="Aurabox: patients, cases and studies of an organisation's team."
)
app.add_typer(aurabox_patients.app, name="patients")
app.add_typer(aurabox_cases.app, name="cases")
app.add_typer(aurabox_studies.app, name="studies")
