"""Tables beside an enum answer for every member of it: whoever adds one and forgets a table fails here."""

from enum import StrEnum
from typing import get_args
from uuid import UUID

import pytest

from app.accounts import Account, AccountKind, read_account
from app.clients.http.call import HOSTS
from app.delivery.pipeline import STEPS
from app.delivery.transports.table import TRANSPORTS
from app.errors import Upstream
from app.inbox import gaps
from app.organizations.options import OPTIONS
from app.states import MOVES, TRAITS, ExamState, LinkState, Reason, Step
from app.store.holds import PLACES, HoldKind
from app.store.organizations import Images
from app.upkeep.doctor import TRANSPORT_LOOKS
from app.web import words
from app.web.admin.overview import SHOWN_STATES

CLINIC = UUID("00000000-0000-4000-8000-000000000001")


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (MOVES, ExamState),
        (TRAITS, ExamState),
        (STEPS, Step),
        (HOSTS, get_args(Upstream)),
        (PLACES, HoldKind),
        (TRANSPORTS, Images),
        (TRANSPORT_LOOKS, Images),
        *((option.prompt.choices, option.type) for option in OPTIONS if issubclass(option.type, StrEnum)),
        (SHOWN_STATES, ExamState),
        (words.EXAM_WORDS, ExamState),
        (words.ADMIN_WORDS, ExamState),
        (words.WAITING_WORDS, Reason),
        (words.STEP_WORDS, Step),
        (words.LINK_WORDS, LinkState),
        (gaps.WORDS, ExamState),
        (gaps.WAITING_WORDS, Reason),
    ],
)
def test_no_member_is_forgotten(table, members):
    assert len(table) == len(set(table))
    assert set(table) == set(members)


@pytest.mark.parametrize("kind", AccountKind)
def test_an_account_is_read_as_it_was_written(kind):
    assert read_account(kind.of(CLINIC)) == Account(kind, CLINIC)
    assert read_account(kind) == Account(kind, None)


@pytest.mark.parametrize("text", ["", "clinic", "aurabox:clinic"])
def test_what_is_no_account_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a valid|badly formed"):
        read_account(text)
