"""The shapes that exam data comes in, by name: what Clarius documents, what it allows, and what it should not send.

A shape says who the patient is, which captures there are, and how the body is bent before it is sent.
"""

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sandbox.people import animal, person

MISSING: Any = object()
BOMB_BYTES = 256 << 20

Patient = Callable[[int], Any]
Bend = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """One way for exam data to look. `raw` gives (body, headers) and replaces the JSON altogether."""

    name: str
    about: str
    patient: Patient = person
    captures: tuple[str, ...] = ("jpeg",)
    bend: Bend = lambda body: body
    raw: Callable[[], tuple[bytes, dict[str, str]]] | None = None


def _of(patient: Patient, **changes: Any) -> Patient:
    def build(number: int) -> Any:
        changed = {**patient(number), **changes}
        return {k: v for k, v in changed.items() if v is not MISSING}

    return build


def _only(patient: Patient, *names: str) -> Patient:
    return lambda number: {k: v for k, v in patient(number).items() if k in names}


def _always(value: Any) -> Patient:
    return lambda _number: value


def _with_unknown_fields(body: dict[str, Any]) -> dict[str, Any]:
    captures = [{**c, "thumbnail": None, "labels": ["LIVER"], "nested": {"a": [1]}} for c in body["captures"]]
    patient = {**body["patient"], "species_code": 7, "tags": ["x"], "weight": {"value": 71.5, "unit": "kg"}}
    return {
        **body,
        "patient": patient,
        "captures": captures,
        "exam": {"application": "Abdomen"},
        "version": 3,
    }


def _nulls(body: dict[str, Any]) -> dict[str, Any]:
    return {
        **body,
        "patient": dict.fromkeys(body["patient"]),
        "captures": [*body["captures"], None, {"url": None}],
    }


def _bomb() -> tuple[bytes, dict[str, str]]:
    # 256 MiB of blanks inside a JSON string pack into about a megabyte.
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as out:
        out.write(b'{"pad":"')
        for _ in range(BOMB_BYTES >> 20):
            out.write(b" " * (1 << 20))
        out.write(b'"}')
    return packed.getvalue(), {"content-encoding": "gzip", "content-type": "application/json"}


def _raw(
    content: bytes, content_type: str = "application/json"
) -> Callable[[], tuple[bytes, dict[str, str]]]:
    return lambda: (content, {"content-type": content_type})


_ALL = (
    Shape("complete", "every documented human field; stills and a clip", captures=("jpeg", "png", "mp4")),
    Shape("minimal", "identifier and birth date only, as in the documentation", _only(person, "identifier", "date_of_birth")),
    Shape("animal", "every documented animal field", animal, ("jpeg", "jpeg-grey")),
    Shape("animal-no-owner", "an animal without an owner or identifier", _of(animal, owner_name=MISSING, identifier=MISSING)),
    Shape("empty-patient", "patient is {}", _always({})),
    Shape("patient-null", "patient is null", _always(None)),
    Shape("patient-missing", "no patient at all", _always(MISSING)),
    Shape("patient-not-an-object", "patient is a list", _always(["unexpected"])),
    Shape("null-fields", "every patient field is null; a null capture and a null url", bend=_nulls),
    Shape("empty-strings", "every patient field is an empty string", lambda n: dict.fromkeys(person(n), "")),
    Shape("extra-fields", "unknown fields on every level", bend=_with_unknown_fields),
    Shape("no-captures", "captures is an empty list", captures=()),
    Shape("captures-missing", "no captures field", captures=(), bend=lambda b: {k: v for k, v in b.items() if k != "captures"}),
    Shape("captures-null", "captures is null", captures=(), bend=lambda b: {**b, "captures": None}),
    Shape("numeric-identifier", "the identifier is a JSON number", lambda n: {**person(n), "identifier": 100_000 + n}),
    Shape("no-identifier", "whole but for the identifier", _of(person, identifier=MISSING)),
    Shape("no-birth-date", "whole but for the birth date", _of(person, date_of_birth=MISSING)),
    Shape("future-birth-date", "born in 2999", _of(person, date_of_birth="2999-01-01")),
    Shape("bad-birth-date", "a birth date that is not one", _of(person, date_of_birth="31/02/1970")),
    Shape("gender-short", "gender is M", _of(person, gender="M")),
    Shape("gender-capital", "gender is Female", _of(person, gender="Female")),
    Shape("gender-other", "gender is other", _of(person, gender="Other")),
    Shape("gender-unheard-of", "gender is a word nobody planned for", _of(person, gender="prefer not to say")),
    Shape("gender-missing", "no gender", _of(person, gender=MISSING)),
    Shape("long-names", "names over 255 characters", lambda n: {**person(n), "first_name": "Ana" * 100, "last_name": f"{n}" + "x" * 300}),
    Shape("odd-names", "carets, backslashes, accents, CJK and blanks in names",
          lambda n: {**person(n), "first_name": " Zoë^\\ ", "middle_name": "=\t李", "last_name": f"Ünlü-{n}  "}),
    Shape("every-kind", "one capture of each kind that can be converted",
          captures=("jpeg", "jpeg-grey", "jpeg-progressive", "jpeg-cmyk", "png", "png-rgba", "png-palette",
                    "png-grey16", "mp4", "mp4-baseline")),
    Shape("bad-captures", "good captures beside broken ones", captures=("jpeg", "jpeg-truncated", "html", "empty", "png")),
    Shape("same-capture-twice", "the same bytes under two links", captures=("jpeg", "jpeg#0")),
    Shape("many-captures", "500 small stills", captures=("jpeg",) * 500),
    Shape("list", "the body is a JSON list", bend=lambda body: [body]),
    Shape("string", "the body is a JSON string", bend=lambda _body: "exam"),
    Shape("null", "the body is null", bend=lambda _body: None),
    Shape("not-json", "the body is HTML with 200", captures=(), raw=_raw(b"<html>maintenance</html>", "text/html")),
    Shape("cut-json", "the body stops in the middle of the JSON", captures=(), raw=_raw(b'{"request_uuid": "')),
    Shape("gzip-bomb", "about a MB that unpacks to 256 MiB", captures=(), raw=_bomb),
)  # fmt: skip
SHAPES: dict[str, Shape] = {shape.name: shape for shape in _ALL}


def shape_named(name: str, *, patient: Any = MISSING, captures: tuple[str, ...] | None = None) -> Shape:
    """The shape of this name, with another patient or other captures if given; KeyError when unknown."""
    shape = SHAPES[name]
    if patient is not MISSING:
        shape = replace(shape, patient=_always(patient))
    return shape if captures is None else replace(shape, captures=captures)


def exam_body(shape: Shape, *, request_uuid: str, number: int, capture_urls: list[str]) -> Any:
    """The JSON value that C2 answers for an exam of this shape."""
    body: dict[str, Any] = {"request_uuid": request_uuid}
    if (patient := shape.patient(number)) is not MISSING:
        body["patient"] = patient
    body["captures"] = [{"url": url} for url in capture_urls]
    return shape.bend(body)
