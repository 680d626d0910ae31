"""Brings the database to this version's schema; decides nothing about when.

Alembic is imported here and nowhere else: whoever only works with the database has no use for it.
"""

import ssl

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.store.schema import MIGRATIONS, WrongSchema

LOCK_NOT_AVAILABLE = "55P03"


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
                "a table stayed in use for too long, so the migration stopped there; try again at a quieter moment"
            ) from error
        raise


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
