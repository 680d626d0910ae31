"""Runs real PostgreSQL and Redis servers in the data folder when none are configured; must not be used beside them.

The servers come from wheels, listen on unix sockets only, and belong to everybody who uses the data folder: the
first process to come starts them, the last to leave stops them, and nobody has to be told who that is (see
`share`). What a killed process leaves running is taken over by the next one.
"""

from app.embedded.errors import EmbeddedError
from app.embedded.stores import HeldStores, Stores, embedded_stores, hold_stores

__all__ = ["EmbeddedError", "HeldStores", "Stores", "embedded_stores", "hold_stores"]
