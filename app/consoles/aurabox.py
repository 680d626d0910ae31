"""What a person does on an organisation's Aurabox team by hand, each call audited: they show and change patients.

Patients and cases are one thing with two descriptions (`KINDS`); commands and pages work from these.
"""

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from app.accounts import AccountKind
from app.clients.aurabox import AuraboxClient, Case, CaseFields, Patient, PatientFields
from app.clients.aurabox.client import CaseSort, PatientSort
from app.organizations.changes import wanted_organization
from app.resources import Resources
from app.store.audit import By, audit
from app.upstreams.gate import asking

T = TypeVar("T")


@dataclass(frozen=True)
class SubjectKind:
    """Patients or cases: what they are called, the fields that are typed, and Aurabox's calls for them.

    `names` of the fields are what a person knows one by, called `heading`; a create needs `required`.
    """

    word: str
    plural: str
    heading: str
    names: tuple[str, ...]
    required: tuple[str, ...]
    sorts: tuple[str, ...]
    model: type[PatientFields | CaseFields]
    listing: Callable[..., AsyncIterable[Patient | Case]]
    get: Callable[[AuraboxClient, str], Awaitable[Patient | Case]]
    create: Callable[[AuraboxClient, Any], Awaitable[Patient | Case]]
    update: Callable[[AuraboxClient, str, Any], Awaitable[Patient | Case]]
    delete: Callable[[AuraboxClient, str], Awaitable[None]]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are shown and typed; an address has fields of its own."""
        return (*self.names, "date_of_birth", "sex")

    def name_of(self, subject: Patient | Case) -> str:
        """What a person knows it by; empty when Aurabox did not say."""
        return " ".join(filter(None, (getattr(subject, name) for name in self.names)))


PATIENTS = SubjectKind(
    word="patient",
    plural="patients",
    heading="Name",
    names=("given_names", "family_name"),
    required=("given_names", "family_name", "date_of_birth"),
    sorts=get_args(PatientSort),
    model=PatientFields,
    listing=AuraboxClient.patients,
    get=AuraboxClient.patient,
    create=AuraboxClient.create_patient,
    update=AuraboxClient.update_patient,
    delete=AuraboxClient.delete_patient,
)
CASES = SubjectKind(
    word="case",
    plural="cases",
    heading="Label",
    names=("label",),
    required=("label",),
    sorts=get_args(CaseSort),
    model=CaseFields,
    listing=AuraboxClient.cases,
    get=AuraboxClient.case,
    create=AuraboxClient.create_case,
    update=AuraboxClient.update_case,
    delete=AuraboxClient.delete_case,
)
KINDS = {kind.plural: kind for kind in (PATIENTS, CASES)}


async def first(items: AsyncIterable[T], most: int) -> list[T]:
    """At most so many of a listing that may go on for long."""
    rows: list[T] = []
    async for item in items:
        rows.append(item)
        if len(rows) >= most:
            break
    return rows


async def on_team(
    resources: Resources,
    organization: str,
    call: Callable[[AuraboxClient], Awaitable[T]],
    *,
    action: str,
    subject: str | None = None,
    subject_of: Callable[[T], str] | None = None,
    by: By,
) -> T:
    """Make `call` with the client of an organisation (by id or name), and return its answer.

    `action` and `subject` (an Aurabox id) go into the audit trail, also when the call fails; `subject_of` reads the
    subject from the answer instead, for a create. Raises Misuse, Held and from the error tree.
    """
    async with resources.sessions() as session:
        owner = await wanted_organization(session, organization)
    client = resources.aurabox(owner)
    result = "failed"
    try:
        async with asking(resources, AccountKind.AURABOX.of(owner.id)):
            answer = await call(client)
        result = "done"
        if subject_of is not None:
            subject = subject_of(answer)
        return answer
    finally:
        async with resources.sessions.begin() as session:
            await audit(
                session,
                by=by,
                action=action,
                subject=subject,
                result=result,
                detail=f"organisation {owner.id}",
            )
