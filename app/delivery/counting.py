"""Counting what is there: the study's own word on how many images it holds, where the team's studies have one.

Which field that is, if any, is each team's (AURABOX_IMAGE_COUNT_FIELD); a number that we wrote ourselves counts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.accounts import AccountKind
from app.delivery.filing import Plan
from app.delivery.work import Work
from app.store.instances import Instance
from app.store.studies import Study
from app.store.subjects import Subject


@dataclass(frozen=True)
class Counted:
    """What a count came to: `missing` images in all; `suspects` are those that may be among them."""

    seen: Sequence[Instance]
    missing: int
    suspects: Sequence[Instance]


def count_in(work: Work, fields: dict[str, Any]) -> int | None:
    """How many images a study shows that it holds; None when it shows none, or nobody named the field."""
    name = work.resources.settings.aurabox_image_count_field
    shown = fields.get(name) if name else None
    return shown if isinstance(shown, int) and not isinstance(shown, bool) and shown >= 0 else None


async def images_held(work: Work, plan: Plan, subject: Subject, study: Study, *, name: str) -> int | None:
    """The same, read just now (A13). `name` is the effect in the registry. Raises from the error tree."""
    if not work.resources.settings.aurabox_image_count_field:
        return None
    async with work.effect(name, AccountKind.AURABOX.of(plan.organization.id)):
        read = await work.resources.aurabox(plan.organization).study(subject.remote_id, study.remote_id)
    return count_in(work, read.fields)
