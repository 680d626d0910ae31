"""Free text made fit for DICOM's value types; it must not decide what may be written."""

import unicodedata

PERSON_NAME_CHARACTERS = 64
"""Most characters of one component group of a name (VR PN, PS3.5 6.2)."""

LONG_STRING_CHARACTERS = 64
"""VR LO, PS3.5 6.2."""

SHORT_STRING_CHARACTERS = 16
"""VR SH, PS3.5 6.2."""


def clean(text: str, *, forbidden: str = "\\") -> str:
    """`text` in NFC without control characters and `forbidden` ones, white space folded."""
    kept = (
        " " if character in forbidden or unicodedata.category(character).startswith("C") else character
        for character in unicodedata.normalize("NFC", text)
    )
    return " ".join("".join(kept).split())


def long_string(text: str) -> str:
    """A value for VR LO: at most 64 characters, no backslash."""
    return clean(text)[:LONG_STRING_CHARACTERS].strip()


def short_string(text: str) -> str:
    """A value for VR SH: at most 16 characters, no backslash."""
    return clean(text)[:SHORT_STRING_CHARACTERS].strip()


def person_name(*components: str) -> str:
    r"""A value for VR PN from family, given and middle name, in that order.

    `\ ^ =` and control characters inside a component become spaces. When the whole is longer than
    64 characters, the later components are cut first, so that the family name stays readable.
    """
    cleaned = [clean(component, forbidden="\\^=") for component in components]
    while cleaned and not cleaned[-1]:
        cleaned.pop()
    for index in reversed(range(len(cleaned))):
        excess = len("^".join(cleaned)) - PERSON_NAME_CHARACTERS
        if excess <= 0:
            break
        # A given name keeps its first letter; what is left over comes off the family name.
        cleaned[index] = cleaned[index][: max(1, len(cleaned[index]) - excess)].strip()
    return "^".join(cleaned)[:PERSON_NAME_CHARACTERS]


def decimal_string(value: float) -> str:
    """A value for VR DS: at most 16 characters, the same on every machine."""
    return f"{value:.6f}".rstrip("0").rstrip(".")[:16]
