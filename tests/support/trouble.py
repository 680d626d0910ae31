"""Checks of what is in trouble and of what is claimed: each rest has a way out (I12), and nothing says more than was seen (I13)."""

import re
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from itertools import pairwise

from app.config.sealing import CannotUnseal
from app.delivery.decisions import MENDED, WAYS, ways_of
from app.states import ExamState, LinkState, Reason, Step
from app.store.base import clock
from app.store.exams import Exam
from app.store.image_counts import ImageCounts, images_of_all
from app.store.organizations import Images
from app.store.upstreams import Upstream
from tests.support.at_rest import AtRest, Check

PROBE_GRACE_SECONDS = 5.0
STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
SHOWN = re.compile(rb"\(((?:[^()\\]|\\.)*)\) ?Tj")
COUNTED = ("Still images", "Clips")


async def every_rest_has_a_way_out(system: AtRest) -> AsyncIterator[str]:
    """I12, exam by exam: a review has decisions or a mend, a failure a retry, a wait something that ends it."""
    linked = {one.customer_hash for one in system.records.links if one.state == LinkState.CONFIRMED}
    for exam in system.exams:
        who = f"I12: {exam.request_uuid}"
        if exam.state == ExamState.REVIEW:
            if not ways_of(exam) and exam.error_code not in MENDED:
                yield f"{who} is in review ({exam.error_code}), and nothing can be decided of it"
            elif exam.exam_data_sealed is None and _files_by_data(exam):
                yield f"{who} waits for a decision, and its exam data are gone"
        elif exam.state == ExamState.FAILED:
            organization = (
                system.records.organizations.get(exam.organization_id) if exam.organization_id else None
            )
            if not exam.error_code or not exam.error_message:
                yield f"{who} failed, and nobody is told why"
            elif organization is not None and organization.removed_at is None and exam.due_at is not None:
                yield f"{who} failed and is due all the same"
        elif exam.state == ExamState.WAITING:
            if exam.reason != Reason.LINK and exam.due_at is None:
                yield f"{who} waits ({exam.reason}), and nothing will wake it"
            elif exam.reason == Reason.LINK and exam.customer_hash in linked:
                yield f"{who} waits for a link, and its account is linked"


def _files_by_data(exam: Exam) -> bool:
    ways = WAYS.get(exam.error_code or "", {})
    return bool(ways) and all(way.step is Step.MATCH for way in ways.values())


async def no_account_stands_still_for_nothing(system: AtRest) -> AsyncIterator[str]:
    """I12, account by account: none is paused for longer than to its next probe while its key works."""
    async with system.resources.sessions() as session:
        now = await clock(session)
    soon = now + timedelta(seconds=system.resources.settings.credentials_probe_seconds + PROBE_GRACE_SECONDS)
    for account in system.records.upstreams.values():
        if account.refused_since is None:
            continue
        if await _removed(system, account):
            yield f"I12: {account.account} is paused, and its organisation is removed"
        elif await _works(system, account) and (account.probe_at is None or account.probe_at > soon):
            yield f"I12: {account.account} is paused, its key works, and nothing tries it"


async def _removed(system: AtRest, account: Upstream) -> bool:
    name = account.account.partition(":")[2]
    owner = next((one for one in system.records.organizations.values() if str(one.id) == name), None)
    return owner is not None and owner.removed_at is not None


async def _works(system: AtRest, account: Upstream) -> bool:
    kind, _, name = account.account.partition(":")
    try:
        if kind == "clarius":
            key = await system.resources.clarius_key()
            text = key.get_secret_value() if key else ""
            known = system.sandbox.clarius.key_for(f"Service-API-Key {text}")
            return known is not None and known.prefix not in system.sandbox.clarius.revoked_keys
        owner = next((one for one in system.records.organizations.values() if str(one.id) == name), None)
        if owner is None or owner.aurabox_key_sealed is None:
            return False
        return (
            system.sandbox.aurabox.team_with_key(system.resources.unseal_text(owner.aurabox_key_sealed))
            is not None
        )
    except CannotUnseal:
        return False


async def nothing_is_claimed_that_was_not_seen(system: AtRest) -> AsyncIterator[str]:
    """I13: verified, confirmed, counted, reported: each is so at the vendor too."""
    clarius = system.sandbox.clarius
    async with system.resources.sessions() as session:
        counts = await images_of_all(session, system.exams)
    for exam in system.exams:
        if exam.verified_at is not None and str(exam.request_uuid) not in clarius.exams:
            yield f"I13: {exam.request_uuid} is called verified, and Clarius never had it"
        reports = [one for one in clarius.reports if one.request_uuid == str(exam.request_uuid)]
        if exam.report_state == "sent" and not reports:
            yield f"I13: a receipt of {exam.request_uuid} is called sent, and Clarius has none"
        held = _held(system, exam)
        for claimed, number in _claims(exam, counts[exam.id]):
            if number > held:
                yield f"I13: {claimed} {number} images of {exam.request_uuid}, and Aurabox holds {held}"
        for report in reports:
            if (told := sum(_numbers(report.content))) > held:
                yield f"I13: the receipt of {exam.request_uuid} tells of {told} images, and Aurabox holds {held}"
    for link in system.records.links:
        if link.state == LinkState.CONFIRMED and not clarius.customers.get(
            system.resources.unseal_text(link.token_sealed)
        ):
            yield f"I13: link {link.id} is called confirmed, and Clarius knows nothing of it"


async def no_study_claims_images_that_are_not_sent(system: AtRest) -> AsyncIterator[str]:
    """I13, in Aurabox: where no images go, its study says of none."""
    there = system.there()
    name = system.resources.settings.aurabox_study_fields.get("number_of_images")
    for exam in system.exams:
        policy = system.records.policy(exam)
        study = system.records.studies.get(exam.study_id) if exam.study_id else None
        if policy is None or study is None or policy.images != Images.NONE or study.remote_id not in there:
            continue
        if name and there[study.remote_id][2].fields.get(name) and not _held(system, exam):
            yield f"I13: the study of {exam.request_uuid} claims images, and none are sent there"


def _held(system: AtRest, exam: Exam) -> int:
    """How many objects Aurabox holds of the exam's study."""
    study = system.records.studies.get(exam.study_id) if exam.study_id else None
    team = system.teams.get(study.organization_id) if study is not None else None
    return len(team.instances_of(study.study_instance_uid)) if study is not None and team is not None else 0


def _claims(exam: Exam, counts: ImageCounts) -> Iterable[tuple[str, int]]:
    yield "accepted", counts.accepted
    yield "seen", counts.seen or 0
    if exam.state == ExamState.DELIVERED:
        yield "sent", exam.sent_count or 0


def _numbers(pdf: bytes) -> Iterable[int]:
    """What a receipt says of how many images there are."""
    texts: list[str] = []
    for stream in STREAM.findall(pdf):
        texts += [text.decode("latin-1") for text in SHOWN.findall(stream)]
    for name, value in pairwise(texts):
        if name in COUNTED:
            yield int(value.split()[0])


CHECKS: tuple[Check, ...] = (
    every_rest_has_a_way_out,
    no_account_stands_still_for_nothing,
    nothing_is_claimed_that_was_not_seen,
    no_study_claims_images_that_are_not_sent,
)
