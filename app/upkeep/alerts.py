"""Tells those who run the bridge when a condition starts and when it clears, once each; must not name an exam.

Where to: SONOBRIDGE_ALERT_URL (a JSON POST) and SONOBRIDGE_ALERT_EMAIL. What could not be told is told again at the
next look, so that an alert outlives the trouble that it reports.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.http import Call, Credentials
from app.config.settings import Settings
from app.errors import UpstreamError
from app.infrastructure.mail import MailFailed, alert_mail, send_mail
from app.resources import Resources
from app.states import states_with
from app.store.alerts import Alert, alerts_in_force, untold_alerts
from app.store.base import clock
from app.store.overview import Overview, note_delivered, read_overview
from app.store.runs import recurring

RUN_NAME = "alerts"
# Trouble that mends itself within this time is nobody's business.
LATE_SECONDS = 600.0
BREAKER_SECONDS = 120.0
TOLD_AT_ONCE = 50
# whoever is told has this long to take it: the row is locked meanwhile, and the database ends what idles for long
TELL_SECONDS = 10.0
ALARMING = states_with(lambda traits: traits.alarms)

log = structlog.get_logger(__name__)


async def watch_when_due(resources: Resources) -> dict[str, int] | None:
    """Look, note what started and what cleared, tell it; None when somebody looked within a sweep's interval."""
    async with recurring(resources.sessions, RUN_NAME, every=resources.settings.sweep_seconds) as run:
        if run is None:
            return None
        async with resources.sessions.begin() as session:
            seen = await read_overview(session)
            await note_delivered(session, seen)
            started, cleared = await note(session, conditions(seen, resources.settings))
        told_count = await tell(resources)
        run.result = counts = {"started": started, "cleared": cleared, "told": told_count}
        return counts


def conditions(seen: Overview, settings: Settings) -> dict[str, str]:
    """What holds now: a stable name of each condition, and one line about it. Pure."""
    present: dict[str, str] = {}
    for account in seen.paused:
        present[f"paused:{account.account}"] = (
            f"{seen.name_of(account.account)}: the credentials are refused, so nothing is sent "
            f"({account.refused_why or 'no reason given'})"
        )
    for account in seen.breakers:
        if account.open_since and (seen.at - account.open_since).total_seconds() > BREAKER_SECONDS:
            present[f"breaker:{account.account}"] = (
                f"{seen.name_of(account.account)}: most calls fail, so it is only tried now and then"
            )
    if (seen.oldest_due_seconds or 0.0) > LATE_SECONDS:
        present["queue_late"] = f"work has been due for more than {LATE_SECONDS / 60:.0f} minutes"
    if _reconcile_late(seen, settings):
        present["reconcile_late"] = "Clarius's list of exams has not been read for too long"
    # one condition for all of them: that there are some; how many changes all the time
    if sum(seen.states.get(state, 0) for state in ALARMING) > seen.expired:
        present["exams_stuck"] = "exams have failed or need a person's decision"
    if seen.unreadable:
        present["unreadable"] = "exams wait for values that no sealing key opens (SONOBRIDGE_SECRET_KEYS)"
    if seen.gaps:
        present["gaps"] = "Clarius sent exams that Aurabox does not have"
    differing = (seen.runs["compare_tokens"].result or {}) if "compare_tokens" in seen.runs else {}
    if differing.get("missing_here") or differing.get("missing_there"):
        present["links_differ"] = "the confirmed tokens at Clarius and our links differ"
    return present


def _reconcile_late(seen: Overview, settings: Settings) -> bool:
    """Not finished for three intervals and ten minutes more; a bridge that never finished one is paused or broken off,
    which is a condition of its own.
    """
    last = seen.last_reconcile_at
    return last is not None and seen.at - last > timedelta(
        seconds=3 * settings.clarius_poll_interval + LATE_SECONDS
    )


async def note(session: AsyncSession, present: Mapping[str, str]) -> tuple[int, int]:
    """Write what started and what cleared since the last look: how many of each. Commit is the caller's."""
    at = await clock(session)
    in_force = {alert.condition: alert for alert in await alerts_in_force(session)}
    for condition, message in present.items():
        if condition not in in_force:
            session.add(Alert(condition=condition, message=message))
    over = [alert for condition, alert in in_force.items() if condition not in present]
    for alert in over:
        alert.cleared_at = at
    return len(present.keys() - in_force.keys()), len(over)


async def tell(resources: Resources) -> int:
    """Send what nobody was told yet; how many messages somebody took. Each is noted as told right after it was."""
    if resources.settings.alert_url is None and resources.settings.alert_email is None:
        return await _nobody_to_tell(resources)
    told_count = 0
    while told_count < TOLD_AT_ONCE:
        async with resources.sessions.begin() as session:
            waiting = await untold_alerts(session, limit=1)
            if not waiting:
                break
            alert = waiting[0]
            # The row stays locked while it is told, so that two workers never tell it twice. It is the one
            # exception to "no transaction across a call": nothing else waits for this row.
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    success = await _send(resources, alert)
            except TimeoutError:
                log.warning("alert_not_taken_in_time")
                success = False
            if not success:
                break
            at = await clock(session)
            if alert.cleared_at is None:
                alert.told_at = at
            else:
                alert.told_cleared_at = at
            told_count += 1
    return told_count


async def _nobody_to_tell(resources: Resources) -> int:
    """The pages show alerts all the same; setting up a recipient later must not bring old ones."""
    async with resources.sessions.begin() as session:
        at = await clock(session)
        await session.execute(update(Alert).where(Alert.told_at.is_(None)).values(told_at=at))
        await session.execute(
            update(Alert)
            .where(Alert.cleared_at.is_not(None), Alert.told_cleared_at.is_(None))
            .values(told_cleared_at=at)
        )
    return 0


async def _send(resources: Resources, alert: Alert) -> bool:
    """By every way that is set up; whether at least one took it."""
    event = "started" if alert.cleared_at is None else "cleared"
    settings = resources.settings
    success = False
    if settings.alert_url is not None:
        success = await _post(resources, settings.alert_url, body(alert, event, settings))
    if settings.alert_email is not None:
        subject = f"Sonobridge: {'' if event == 'started' else 'over: '}{alert.message}"
        text = f"{alert.message}\n\nsince {alert.since:%Y-%m-%d %H:%M} UTC\n{settings.public_url}/admin\n"
        try:
            await send_mail(settings, alert_mail(to=settings.alert_email, subject=subject[:200], text=text))
            success = True
        except MailFailed as error:
            log.warning("alert_not_mailed", detail_code=error.code)
    return success


def body(alert: Alert, event: str, settings: Settings) -> dict[str, Any]:
    """What is posted: `text` is what chat services show."""
    return {
        "service": "sonobridge",
        "event": event,
        "condition": alert.condition,
        "message": alert.message,
        "since": alert.since.isoformat(),
        "cleared_at": alert.cleared_at.isoformat() if alert.cleared_at else None,
        "url": f"{settings.public_url}/admin",
        "text": f"Sonobridge: {alert.message}" + (" (over)" if event == "cleared" else ""),
    }


async def _post(resources: Resources, url: str, payload: dict[str, Any]) -> bool:
    call = Call(
        upstream="alert",
        operation="alert",
        method="POST",
        url=url,
        credentials=Credentials(url, {}),
        effect=False,
        json=payload,
    )
    try:
        await resources.http.request(call)
    except UpstreamError as error:
        log.warning("alert_not_posted", detail_code=error.code)
        return False
    return True
