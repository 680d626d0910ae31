"""Which schema this version needs, and which the database has; must not change it (`app/store/migrating.py` does)."""

import re
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SonobridgeError

# beside the package, in a checkout and when installed alike
MIGRATIONS = Path(__file__).parents[2] / "migrations"
_REVISION = re.compile(r'^revision: str = "(\w+)"$', re.MULTILINE)
_BEFORE = re.compile(r'^down_revision: [^=]+ = "(\w+)"$', re.MULTILINE)


class WrongSchema(SonobridgeError):
    """The database is not at the schema this version works with; the text says what to do."""

    kind = "wrong_schema"


def head_revision() -> str:
    """The newest migration of this version."""
    scripts = _scripts()
    (head,) = _named(_REVISION, scripts) - _named(_BEFORE, scripts)
    return head


async def schema_problem(session: AsyncSession) -> str | None:
    """What is wrong with the database's schema, as a line that says what to do; None when it is as it should be."""
    try:
        at = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != "42P01":  # undefined_table
            raise
        await session.rollback()
        at = None
    head = head_revision()
    if at == head:
        return None
    if at is None:
        return "the database has no Sonobridge schema yet; run `sonobridge migrate` first"
    if at not in _named(_REVISION, _scripts()):
        return f"the database is at schema {at}, which a newer Sonobridge made; update this one"
    return f"the database is at schema {at}, this version needs {head}; run `sonobridge migrate` first"


def _scripts() -> list[str]:
    """The migrations' texts: running them, as alembic does to know their order, takes alembic."""
    return [path.read_text(encoding="utf-8") for path in (MIGRATIONS / "versions").glob("*.py")]


def _named(pattern: re.Pattern[str], scripts: list[str]) -> set[str]:
    return {found[1] for script in scripts if (found := pattern.search(script))}
