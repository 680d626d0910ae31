"""What an upstream's remark on a field comes to, in fixed sentences of ours; must not repeat any of its words.

A validation text can hold the value that it refuses. Which field and what kind of rule is what a person needs to know,
and neither tells of a patient.
"""

import re
from collections.abc import Mapping, Sequence

FIELDS_TOLD = 8

# a name as programs give it (`patient.given_names`, `studies.0.label`); what looks otherwise may be a value
FIELD_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*([.\-]([a-z][a-z0-9]*(_[a-z0-9]+)*|[0-9]{1,3}))*")
FIELD_NAME_CHARACTERS = 60
OTHER_FIELD = "another field"

# Laravel's rules, Django's validators and what others say instead; the first that fits counts
RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), remark)
    for pattern, remark in (
        (
            r"\brequired\b|may not be (null|blank)|\bcan'?t be blank\b|must be present|\bmissing\b",
            "is required",
        ),
        (r"already (been taken|exists?|used)|must be unique|\bduplicate\b", "is taken already"),
        (r"(greater|more|longer) than \d+ (characters?|items?)|\btoo long\b|no more than \d+", "is too long"),
        (r"at least \d+ (characters?|items?)|\btoo short\b", "is too short"),
        (r"\bdate\b.*\b(after|before|past|future)\b", "is not a date in the range that is taken"),
        (r"\bdate\b|\bdatetime\b", "is not a date as it is taken"),
        (
            r"selected .* is invalid|not a valid choice|must be one of|does not exist",
            "is none of the known values",
        ),
        (r"e-?mail", "is not an e-mail address as it is taken"),
        (r"\bformat\b|\bregex\b|\bpattern\b", "has a form that is not taken"),
        (
            r"must be (an? )?(integer|number|numeric|string|array|boolean|object)|valid (integer|string)",
            "is of a wrong type",
        ),
        (r"(less|greater|more) than|at (least|most)|between .* and", "is out of range"),
        (r"prohibited|not allowed|unknown field|not permitted", "may not be sent"),
    )
)
OTHERWISE = "is not accepted"


def field_name(name: str, sent: frozenset[str]) -> str:
    """The name if it surely is one and none of the values `sent` (in lower case); else that it is another field."""
    named = len(name) <= FIELD_NAME_CHARACTERS and FIELD_NAME.fullmatch(name) is not None
    parts = {name, *re.split(r"[._\-]", name)}
    return name if named and not parts & sent else OTHER_FIELD


def remarks(fields: Mapping[str, Sequence[str]], sent: frozenset[str]) -> str:
    """Which fields and which kinds of rule (`date_of_birth is required; sex is none of the known values`)."""
    lines: dict[str, None] = {}
    for name, texts in fields.items():
        text = " ".join(texts)
        rule = next((remark for pattern, remark in RULES if pattern.search(text)), OTHERWISE)
        lines[f"{field_name(name, sent)} {rule}"] = None
    line = "; ".join(list(lines)[:FIELDS_TOLD])
    return line if len(lines) <= FIELDS_TOLD else f"{line}; and {len(lines) - FIELDS_TOLD} more"
