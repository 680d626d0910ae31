"""What each call to a vendor is called, by its number: read from the tables of docs/vendors.md."""

import re
from pathlib import Path

TABLES = (Path(__file__).parents[2] / "docs/vendors.md").read_text("utf-8")
ROW = re.compile(r"^\| ([CA])(\d+)(?:(?:, | – )\1(\d+))? \| ([^|]+) \|", re.MULTILINE)


def read_names() -> dict[str, str]:
    """`C5` → `upload report`. A row of several numbers has as many names, in the same order."""
    names: dict[str, str] = {}
    for letter, first, last, cell in ROW.findall(TABLES):
        numbers = range(int(first), int(last or first) + 1)
        names |= zip((f"{letter}{number}" for number in numbers), re.findall("`([^`]+)`", cell), strict=True)
    return names


NAMES = read_names()
