"""What the checks of a system at rest look at: the rows and records of both sides, read once."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.resources import Resources
from app.store.exams import Exam
from app.store.filings import Filing
from app.store.links import Link
from app.store.organizations import Organization, Policy
from app.store.studies import Study
from app.store.subjects import Subject
from app.store.upstreams import Upstream
from sandbox.aurabox.state import Person, Team
from sandbox.aurabox.state import Study as RemoteStudy
from sandbox.server import Sandbox


@dataclass
class Records:
    """The bridge's rows, as they were when the checks began."""

    exams: Sequence[Exam]
    filings: Mapping[UUID, Sequence[Filing]]
    links: Sequence[Link]
    organizations: Mapping[UUID, Organization]
    policies: Mapping[UUID, Sequence[Policy]]
    subjects: Mapping[UUID, Subject]
    studies: Mapping[UUID, Study]
    upstreams: Mapping[str, Upstream]

    def filing(self, exam: Exam) -> Filing | None:
        """The one that counts."""
        return next((one for one in self.filings.get(exam.id, ()) if one.number == exam.filing), None)

    def policy(self, exam: Exam) -> Policy | None:
        """By which the exam is filed."""
        filing = self.filing(exam)
        if filing is None:
            return None
        kept = self.policies[filing.organization_id]
        return next(one for one in kept if one.version == filing.policy_version)

    def decided(self, exam: Exam) -> bool:
        """Whether a person ever said whose this exam is, or the policy takes corrections without asking."""
        filings = self.filings.get(exam.id, ())
        policy = self.policy(exam)
        return any(one.decision for one in filings) or (policy is not None and policy.corrections == "update")

    def in_force(self, organization_id: UUID, at: datetime) -> Policy | None:
        """The organisation's policy at that moment."""
        kept = [one for one in self.policies.get(organization_id, ()) if one.created_at <= at]
        return kept[-1] if kept else None


@dataclass
class AtRest:
    """What is checked. `acknowledged`: request UUIDs that were answered 2xx and that Clarius has no record of."""

    resources: Resources
    sandbox: Sandbox
    logs: Sequence[Path] = ()
    acknowledged: Collection[str] = ()
    canaries: Collection[str] = ()
    exams: Sequence[Exam] = ()

    async def read(self) -> None:
        """Read all rows anew."""
        self.records = await _records(self.resources)
        self.exams = self.records.exams
        self.__dict__.pop("teams", None)

    records: Records = field(init=False, repr=False)

    @cached_property
    def teams(self) -> dict[UUID, Team]:
        """Each organisation's team in the sandbox, by the key that it has or by what it filed there."""
        found = {}
        for organization in self.records.organizations.values():
            team = self._by_key(organization) or self._by_subjects(organization)
            if team is not None:
                found[organization.id] = team
        return found

    def _by_key(self, organization: Organization) -> Team | None:
        if organization.aurabox_key_sealed is None:
            return None
        return self.sandbox.aurabox.team_with_key(self.resources.unseal_text(organization.aurabox_key_sealed))

    def _by_subjects(self, organization: Organization) -> Team | None:
        ours = {
            one.remote_id for one in self.records.subjects.values() if one.organization_id == organization.id
        }
        made = (
            effect.who for effect in self.sandbox.journal.effects_of("*.create") if effect.remote_id in ours
        )
        name = next(made, None)
        return self.sandbox.aurabox.teams.get(name) if name is not None else None

    def there(self) -> dict[str, tuple[Team, Person, RemoteStudy]]:
        """What Aurabox holds now: each study with its team and the person below whom it lies, by the study's id."""
        return {
            study.id: (team, person, study)
            for team in self.sandbox.aurabox.teams.values()
            for person in team.people.values()
            for study in person.studies.values()
        }

    def patient_of(self, exam: Exam) -> Any:
        """Who Clarius says that the exam is of; None when the request is none of its own."""
        submitted = self.sandbox.clarius.exams.get(str(exam.request_uuid))
        if submitted is None:
            return None
        if submitted.has_data:
            return submitted.data.get("patient") if isinstance(submitted.data, dict) else None
        return submitted.shape.patient(submitted.number)


Check = Callable[[AtRest], AsyncIterator[str]]


async def _records(resources: Resources) -> Records:
    filings: dict[UUID, list[Filing]] = defaultdict(list)
    policies: dict[UUID, list[Policy]] = defaultdict(list)
    async with resources.sessions() as session:
        for filing in await session.scalars(select(Filing).order_by(Filing.exam_id, Filing.number)):
            filings[filing.exam_id].append(filing)
        for policy in await session.scalars(select(Policy).order_by(Policy.organization_id, Policy.version)):
            policies[policy.organization_id].append(policy)
        return Records(
            exams=list(await session.scalars(select(Exam).order_by(Exam.received_at))),
            filings=filings,
            links=list(await session.scalars(select(Link))),
            organizations={one.id: one for one in await session.scalars(select(Organization))},
            policies=policies,
            subjects={one.id: one for one in await session.scalars(select(Subject))},
            studies={one.id: one for one in await session.scalars(select(Study))},
            upstreams={one.account: one for one in await session.scalars(select(Upstream))},
        )
