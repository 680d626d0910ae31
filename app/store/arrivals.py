"""Notifications become rows: any number of them in one statement, whose length does not depend on how many rows there are.

Written for the driver and not for SQLAlchemy, which would cost the webhook three times as much. What another claim of
the same request means is `app.inbox.receive`'s to say: here such a one is only recognised.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg

from app.store.unsettled import COUNTED, UNSEEN_SECONDS, Room
from app.store.waking import NAMED, WAKE_CHANNEL

COMMIT_SECONDS = 2.0
# planned once, and by the indexes also while the tables are small: they grow under the plan. A row that another
# transaction is just inserting is waited for no longer than this, for a hundred others may be in the same statement.
SESSION = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET lock_timeout = '200ms'"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One notification, as it is to be kept; `id` is that of its row, if it gets one."""

    id: UUID
    request_uuid: UUID
    exam_uuid: UUID
    customer_hash: bytes
    download_url: str
    submitted_at: datetime | None
    trace: str | None


class Fate(StrEnum):
    """What became of an arrival. `queued` and `waiting` have a row now; `beside` is another claim of a known request."""

    QUEUED = "queued"
    WAITING = "waiting"
    DUPLICATE = "duplicate"
    FULL = "full"
    BESIDE = "beside"


# Each LIMIT 1 keeps a row's look-up the row's own: joined, they are read whole for a plan that was made of small tables.
ARRIVE = f"""
WITH arrival AS (
    SELECT sent.*, (
        SELECT true FROM links WHERE links.customer_hash = sent.customer AND links.state = 'confirmed' LIMIT 1
    ) IS NOT NULL AS linked
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::text[], $6::timestamptz[], $7::text[])
        WITH ORDINALITY AS sent (id, request, exam, customer, url, submitted, trace, number)
), known AS (
    SELECT number, there.settled OR (
        SELECT true FROM claims WHERE claims.exam_id = there.id AND claims.customer_hash = arrival.customer LIMIT 1
    ) IS NOT NULL AS settled
    FROM arrival CROSS JOIN LATERAL (
        SELECT id, verified_at IS NOT NULL OR released_at IS NOT NULL AS settled
        FROM exams WHERE exams.request_uuid = arrival.request LIMIT 1
    ) AS there
), counted AS (
    SELECT (result ->> 'count')::bigint AS count, floor(extract(epoch FROM started_at)) - {UNSEEN_SECONDS} AS until
    FROM (SELECT) AS nothing LEFT JOIN runs ON name = '{COUNTED}'
), room AS (
    SELECT $8::bigint - coalesce(max(count), 0) - coalesce(sum(taken) FILTER (WHERE until IS NULL OR second >= until), 0)
        AS places
    FROM counted LEFT JOIN unnest($9::bigint[], $10::bigint[]) AS own (second, taken) ON true
), placed AS (
    SELECT fresh.*, linked OR row_number() OVER (PARTITION BY linked ORDER BY number) <= places AS has_place
    FROM (SELECT * FROM arrival WHERE number NOT IN (SELECT number FROM known)) AS fresh CROSS JOIN room
), exam AS (
    INSERT INTO exams (id, request_uuid, exam_uuid, source, state, step, reason, due_at, submitted_at, trace)
    SELECT id, request, exam, 'webhook', CASE WHEN linked THEN 'queued' ELSE 'waiting' END, 'verify',
        CASE WHEN linked THEN NULL ELSE 'link' END, CASE WHEN linked THEN now() END, submitted, trace
    -- in one order, so that two processes that insert the same do not wait for each other
    FROM placed WHERE has_place ORDER BY request
    ON CONFLICT (request_uuid) DO NOTHING
    RETURNING id
), claim AS (
    INSERT INTO claims (id, exam_id, customer_hash, exam_uuid, download_url)
    -- the first claim has its exam's id, which is no other claim's
    SELECT id, id, customer, placed.exam, url FROM exam JOIN placed USING (id)
), event AS (
    INSERT INTO exam_events (exam_id, step, event, detail) SELECT id, 'verify', 'received', 'webhook' FROM exam
)
SELECT CASE
        WHEN exam.id IS NOT NULL THEN CASE WHEN linked THEN 'queued' ELSE 'waiting' END
        WHEN known.settled THEN 'duplicate'
        WHEN NOT has_place THEN 'full'
        ELSE 'beside'
    END AS fate,
    extract(epoch FROM clock_timestamp())::bigint AS at,
    (SELECT until FROM counted)::bigint AS counted_until,
    (
        -- with their ids, for a worker that has nothing else to do; more than these are looked for
        SELECT pg_notify('{WAKE_CHANNEL}', CASE WHEN count(*) <= {NAMED} THEN string_agg(id::text, ' ') ELSE '' END)
        FROM placed JOIN exam USING (id) WHERE linked HAVING count(*) > 0
    ) AS told
FROM arrival LEFT JOIN known USING (number) LEFT JOIN (SELECT number, has_place FROM placed) AS placed USING (number)
    LEFT JOIN exam ON exam.id = arrival.id
ORDER BY number
"""  # noqa: S608 - made of our own constants


async def write_arrivals(
    connection: asyncpg.Connection, arrivals: Sequence[Arrival], *, room: Room, limit: int
) -> list[Fate]:
    """Insert what is new, in one transaction; what became of each, in order. `limit`: see `Room`.

    A worker that listens is told once, whatever the number. An arrival that comes twice in one call, or that another
    process inserts meanwhile, is `beside` the one that was first.
    """
    columns = zip(
        *(
            (
                row.id,
                row.request_uuid,
                row.exam_uuid,
                row.customer_hash,
                row.download_url,
                row.submitted_at,
                row.trace,
            )
            for row in arrivals
        ),
        strict=True,
    )
    rows = await connection.fetch(ARRIVE, *map(list, columns), limit, *room.taken())
    fates = [Fate(row["fate"]) for row in rows]
    room.took(fates.count(Fate.WAITING), at=rows[0]["at"], counted_until=rows[0]["counted_until"])
    return fates
