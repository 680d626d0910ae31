"""Accounts at the upstreams: credentials that are throttled and paused as one; must not know what is done with them.

An account is written as text, in rows, errors and logs: `clarius`, or `aurabox:<organisation id>`.
"""

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class AccountKind(StrEnum):
    """Whose credentials they are. The first two are the installation's, and their own accounts."""

    CLARIUS = "clarius"
    RESEARCH = "clarius-research"
    AURABOX = "aurabox"
    UPLOADER = "uploader"
    DICOMWEB = "dicomweb"
    #: stores that captures are read from; they have no credentials of ours
    MEDIA = "media"

    def of(self, organization_id: UUID | None) -> str:
        """The account of this kind: an organisation's, or the installation's."""
        return f"{self}:{organization_id}" if organization_id else str(self)


OF_ORGANIZATIONS = tuple(
    kind for kind in AccountKind if kind not in {AccountKind.CLARIUS, AccountKind.RESEARCH}
)


class Account(NamedTuple):
    """An account's text, read."""

    kind: AccountKind
    organization_id: UUID | None


def read_account(text: str) -> Account:
    """The inverse of writing one. Raises ValueError for what is none."""
    kind, _, organization_id = text.partition(":")
    return Account(AccountKind(kind), UUID(organization_id) if organization_id else None)
