"""How people are asked for an organisation's options, said beside each option (`app.organizations.options`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import GetJsonSchemaHandler, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema


class Section(StrEnum):
    """Where the form asks for an option."""

    BASICS = "Basics"
    POLICY = "Policy"
    TRANSPORT = "Image transport"


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """How people are asked for an option: `help` by the command and the API's document, the rest by the form.

    Its kind of field, and the default that `--help` shows, follow from the option's type and default.
    """

    help: str
    section: Section
    label: str
    hint: str = ""
    #: of an option with choices: what each value is called, and what it means, the usual one first
    choices: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    #: what stands for the value in `--help`
    metavar: str | None = None
    #: of an option whose default depends on the installation
    usual: str | None = None
    #: of a secret: the environment variable that commands read it from
    variable: str | None = None
    #: of a list: what the command calls one of it, which may be said again
    each: str | None = None

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The option's schema with its help."""
        return {**handler(core_schema), "description": self.help}


class Kind(StrEnum):
    """What an option holds, for whoever asks for it."""

    TEXT = "text"
    ADDRESS = "address"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    LIST = "list"
    SECRET = "secret"  # noqa: S105 - the word, not one


@dataclass(frozen=True)
class Option:
    """One option of an organisation, as the command and the form ask for it."""

    name: str
    kind: Kind
    prompt: Prompt
    #: the type of its values; of a choice its enum
    type: type[Any]
    default: Any


def read_option(name: str, info: FieldInfo) -> Option:
    """An option from its declaration. Raises StopIteration for a field that does not say how it is asked for."""
    prompt = next(mark for mark in info.metadata if isinstance(mark, Prompt))
    held = _plain_type(info.annotation)
    kinds = {bool: Kind.FLAG, int: Kind.NUMBER, list: Kind.LIST, SecretStr: Kind.SECRET}
    kind = Kind.CHOICE if prompt.choices else kinds.get(held, Kind.TEXT)
    if kind is Kind.TEXT and prompt.metavar == "URL":
        kind = Kind.ADDRESS
    return Option(name, kind, prompt, held, info.get_default(call_default_factory=True))


def _plain_type(annotation: Any) -> type[Any]:
    """The type without what is said of it, and without the None of what may be left out."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if get_origin(annotation) is list:
        return list
    parts = [part for part in get_args(annotation) if part is not NoneType]
    return _plain_type(parts[0]) if parts else cast("type[Any]", annotation)
