"""Which schema this version needs, which the database has, and bringing it there; decides nothing about when."""

import ssl
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import SonobridgeError

# beside the package, in a checkout and when installed alike
MIGRATIONS = Path(__file__).parents[2] / "migrations"
LOCK_NOT_AVAILABLE = "55P03"


class WrongSchema(SonobridgeError):
    """The database is not at the schema this version works with; the text says what to do."""

    kind = "wrong_schema"


def head_revision() -> str:
    """The newest migration of this version."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
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
    if at not in _known_revisions():
        return f"the database is at schema {at}, which a newer Sonobridge made; update this one"
    return f"the database is at schema {at}, this version needs {head}; run `sonobridge migrate` first"


def migrate(database_url: str, tls: ssl.SSLContext | None = None) -> None:
    """Bring the schema to this version's; nothing happens when it is there. Must not run inside an event loop.

    Raises WrongSchema (a newer version's schema, or tables that stay in use) and the database's errors.
    """
    config = _config()
    # the option goes through a configparser, where a per cent sign begins an interpolation
    config.attributes["tls"] = tls
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise WrongSchema(f"the schema can't be brought up to date: {error}") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise WrongSchema(
                "a table stayed in use for 5 seconds, so nothing was changed; try again at a quieter moment"
            ) from error
        raise


def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
