"""What Aurabox holds, read and written; must not make calls or decide what is sent."""

import datetime as dt
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.clients.record import Day, Moment, Record, Text

Sex = Literal["male", "female", "other", "unknown"]


class Identified(Record):
    """Anything with an id; ids are UUIDs in practice and opaque to us."""

    shown: ClassVar[tuple[str, ...]] = ("id",)

    id: str = Field(min_length=1)

    @field_validator("id", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Patient(Identified):
    """A patient with an identity (A1–A4)."""

    given_names: Text = None
    family_name: Text = None
    date_of_birth: Day = None
    sex: Text = None
    address: Any = None
    status: Text = None
    archived: bool | None = None
    created_at: Moment = None
    updated_at: Moment = None


class Case(Identified):
    """A de-identified patient (A6–A9); its id serves as `patient_id` for studies."""

    label: Text = None
    sex: Text = None
    date_of_birth: Day = None
    status: Text = None
    archived: bool | None = None
    created_at: Moment = None
    updated_at: Moment = None


class Study(Identified):
    """A study (A11–A14); its fields vary by team and are all in `fields`."""

    @property
    def fields(self) -> dict[str, Any]:
        """Everything but the id, as Aurabox gave it."""
        return dict(self.model_extra or {})


class Fields(BaseModel):
    """What is written: only fields that were set are sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Any:
        return []

    def body(self) -> dict[str, Any]:
        """The JSON body: only what was set."""
        return self.model_dump(mode="json", exclude_unset=True)


class Address(Fields):
    """A postal address: `postcode` at most 20 characters, `country` two letters (ISO 3166-1)."""

    street: str | None = None
    city: str | None = None
    region: str | None = None
    postcode: str | None = None
    country: str | None = None


class PatientFields(Fields):
    """A2, A4. A create needs the first four; strings at most 255 characters; born before today."""

    given_names: str | None = None
    family_name: str | None = None
    date_of_birth: dt.date | None = None
    sex: Sex | None = None
    address: Address | None = None


class CaseFields(Fields):
    """A7, A9. A create needs `label`, at most 255 characters."""

    label: str | None = None
    sex: Sex | None = None
    date_of_birth: dt.date | None = None
