"""Opens what a command works with, and says in one line what the database would not do."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.config.settings import Settings, load_settings
from app.errors import SonobridgeError
from app.observing.logs import configure_logging
from app.opening import opened
from app.resources import Resources
from app.store.audit import By

T = TypeVar("T")


def read_settings(*, service: bool = False) -> Settings:
    """Settings from the environment, with logging set up by them.

    A command that ends by itself says what it did on its own; only a service (`service`) also logs what goes well.
    """
    settings = load_settings()
    quiet = not service and settings.log_level == "INFO"
    configure_logging(settings.env, "WARNING" if quiet else settings.log_level)
    return settings


def run(work: Callable[[Resources], Awaitable[T]]) -> T:
    """Do `work` with resources opened for it, and return what it returns."""

    async def whole() -> T:
        async with opened(read_settings()) as resources:
            return await work(resources)

    with database_errors_told():
        return asyncio.run(whole())


def by_user() -> By:
    """Who the audit trail names for a command: the operating system's user."""
    try:
        return By(f"cli:{pwd.getpwuid(os.geteuid()).pw_name}")
    except KeyError:
        return By(f"cli:{os.geteuid()}")


@contextmanager
def database_errors_told() -> Iterator[None]:
    """An error of the database raised in the body ends the command in one line; no statement or value is in it."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = type(error).__name__
        if isinstance(error, DBAPIError):
            cause = str(error.orig).partition(": ")[2] or str(error.orig)
        raise SonobridgeError(f"the database did not do it: {cause}", code="database_error") from error
