"""A function by the name of its module, which is imported at the first call: the one place where that is done.

A command line that shows its help, or a worker that hands a capture to another process, needs no more of a heavy module
than its name. `tests/support/imports.py` reads such a name as the import that it is. Must not be used to go round the
floors, nor where an import at the head of the file costs nothing.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Named(Generic[T]):
    """`attribute` of `module`, both written out where it is made; `T` is what a call returns. It can be pickled."""

    module: str
    attribute: str

    @property
    def __name__(self) -> str:
        """As a function's: what errors and logs call it."""
        return self.attribute

    def load(self) -> Any:
        """The thing itself."""
        return getattr(import_module(self.module), self.attribute)

    def __call__(self, *arguments: Any, **named: Any) -> T:
        """Call it."""
        result: T = self.load()(*arguments, **named)
        return result
