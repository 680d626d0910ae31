"""Invented people and animals, the same for the same number: no name here belongs to a patient."""

from datetime import date, timedelta
from typing import Any

GIVEN = (
    "Ada",
    "Bruno",
    "Chidi",
    "Dara",
    "Elif",
    "Femi",
    "Greta",
    "Hana",
    "Ivo",
    "Juno",
    "Kofi",
    "Lena",
    "Milo",
)
FAMILY = ("Ashgrove", "Birchwood", "Cloverfield", "Dunmore", "Elmstead", "Fernhill", "Greywater", "Hazelton")
ANIMALS = ("Biscuit", "Clover", "Domino", "Ember", "Fidget", "Gizmo")
SPECIES = ("Canine", "Feline", "Equine", "Bovine")


def person(number: int) -> dict[str, Any]:
    """A whole human patient as Clarius writes one."""
    # 13 × 8 names; the number in the family name keeps every person distinct.
    return {
        "identifier": f"SB-{number:06d}",
        "date_of_birth": (date(1950, 1, 1) + timedelta(days=number * 97 % 20_000)).isoformat(),
        "gender": ("female", "male")[number % 2],
        "first_name": GIVEN[number % len(GIVEN)],
        "middle_name": GIVEN[(number * 5 + 3) % len(GIVEN)],
        "last_name": f"{FAMILY[number % len(FAMILY)]}-{number}",
    }


def animal(number: int) -> dict[str, Any]:
    """A whole animal patient as Clarius writes one."""
    return {
        "identifier": f"VET-{number:06d}",
        "date_of_birth": (date(2012, 1, 1) + timedelta(days=number * 31 % 4_000)).isoformat(),
        "gender": ("F", "M")[number % 2],
        "animal_name": f"{ANIMALS[number % len(ANIMALS)]}-{number}",
        "animal_type": SPECIES[number % len(SPECIES)],
        "owner_name": f"{GIVEN[number % len(GIVEN)]} {FAMILY[number % len(FAMILY)]}-{number}",
    }
