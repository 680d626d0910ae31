"""Bodies that many routes of the admin API share; names in them are those that other people's scripts use."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

IdOrName = Annotated[
    str,
    Field(
        min_length=1, max_length=200, description="An organisation's id or name.", examples=["Harbour Clinic"]
    ),
]


class Body(BaseModel):
    """What callers send: unknown names are mistakes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A part of a list, in the list's order."""

    # said here, since the schema of a generic model does not take its docstring
    model_config = ConfigDict(
        json_schema_extra={
            "description": "Some of a list; `next_cursor` gives the next ones, and is null when these were the last."
        }
    )

    items: list[T]
    next_cursor: str | None
