"""The base of every model read from an upstream, and reading it; must not know any one vendor's fields.

Models keep fields that we do not know, and show in their repr only what they name in `shown`: a repr ends up in
logs and tracebacks, and most of what passes here is somebody's name, token or key.
"""

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from app.clients.http import Call
from app.errors import Misuse

R = TypeVar("R", bound="Record")

log = logging.getLogger(__name__)


def read_record(model: type[R], value: Any, call: Call) -> R:
    """The value as a model; `BadAnswer` (`LookFirst` for a write) naming the fields that are wrong, never their values."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = sorted(
            {".".join(str(part) for part in item["loc"]) or "all of it" for item in error.errors()}
        )
    raise call.undocumented(f"the answer is not as documented ({', '.join(wrong)[:200]})")


def read_listed(model: type[R], items: Sequence[Any], call: Call) -> list[R]:
    """The entries of a list that can be read, the others counted in the log: one odd entry must not hide the rest."""
    records = []
    for item in items:
        try:
            records.append(model.model_validate(item))
        except ValidationError:
            continue
    if len(records) < len(items):
        log.warning(
            "%s: %d of %d entries could not be read", call.operation, len(items) - len(records), len(items)
        )
    return records


def segment(value: object) -> str:
    """One path segment, quoted, so that an id from outside can name nothing but itself; `Misuse` when it cannot."""
    text = str(value)
    if text in ("", ".", ".."):
        raise Misuse("an empty or relative id cannot be asked for")
    return quote(text, safe="")


def join(base_url: str, path: str) -> str:
    """The base URL, with or without a slash at its end, and a path below it."""
    return f"{base_url.rstrip('/')}/{path}"


def plain_text(value: Any) -> str | None:
    """Text out of a field that may hold anything: strings trimmed, numbers spelled out, the rest (and "") None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).replace("\x00", "").strip() or None


def _moment(value: Any) -> dt.datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _day(value: Any) -> dt.date | None:
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


Text = Annotated[str | None, BeforeValidator(plain_text)]
Moment = Annotated[dt.datetime | None, BeforeValidator(_moment)]
Day = Annotated[dt.date | None, BeforeValidator(_day)]


class Record(BaseModel):
    """Something that an upstream told us; unknown fields are in `model_extra`."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    shown: ClassVar[tuple[str, ...]] = ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from ((name, getattr(self, name)) for name in self.shown)
