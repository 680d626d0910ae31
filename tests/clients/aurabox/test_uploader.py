"""The uploader API: what is signed is what is sent, the sign-in is kept and renewed, the lifecycle's bodies."""

import asyncio
import uuid

import pytest
from pydantic import SecretStr

from app.clients.aurabox.signer import sign
from app.clients.aurabox.uploader import Integration, SignIns, StudySummary, UploaderClient
from app.errors import BadAnswer, LookFirst, NotAllowed, RenewCredentials, SlowDown
from tests.clients.peer import Reply, json_reply

UPLOAD = uuid.UUID("7f1f8d5e-3f0a-4b43-9d5c-0a5f7f0c2b11")
INTEGRATION = Integration("app-1", SecretStr("canary-secret"), SecretStr("canary-service-key"))
LIFT = {
    "lift": {"endpoint": "https://lift.example.org/files", "token": "canary-lift", "bucket": "b"},
    "mode": "x",
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Bounce:
    """Answers as docs/vendors.md says; counts sign-ins; `refused` tokens get 401."""

    def __init__(self):
        self.tokens = 0
        self.refused = set()
        self.expires = {"expires_at": "2026-01-01T01:00:00Z"}
        self.answers = {}

    def __call__(self, seen):
        if seen.path == "/api/auth/exchange":
            self.tokens += 1
            answer = {"token": f"aubt_{self.tokens}", "scopes": [], "max_uses": None, **self.expires}
            return json_reply(answer, Date="Thu, 01 Jan 2026 00:00:00 GMT")
        if seen.headers.get("authorization") in {f"Bearer {token}" for token in self.refused}:
            return json_reply({"error": {"message": "expired"}}, 401)
        return self.answers.get(seen.path, json_reply({"studies": [{"id": "s-1"}, {"id": None}]}))


@pytest.fixture
def bounce(peer):
    peer.handler = Bounce()
    return peer.handler


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(http, peer, clock):
    return UploaderClient(
        http,
        base_url=peer.url,
        integration=INTEGRATION,
        account="clinic",
        sign_ins=SignIns(clock),
        now=lambda: 1_706_140_800.9,
    )


async def test_what_is_signed_is_what_is_sent(client, peer, bounce):
    bounce.answers["/api/uploader/config"] = json_reply(LIFT)
    await client.lift()
    seen = peer.seen[0]
    assert (seen.method, seen.target) == ("POST", "/api/auth/exchange")
    assert seen.json() == {"ttl": 3600, "scopes": ["upload:init", "upload:manage", "integration:read"]}
    assert seen.headers["x-api-key"] == "canary-service-key"
    assert uuid.UUID(seen.headers["x-aura-nonce"]).version == 4
    again = sign(
        app_id="app-1",
        app_secret="canary-secret",
        method=seen.method,
        target=seen.target,
        headers={"host": seen.headers["host"], "content-type": seen.headers["content-type"]},
        body=seen.body,
        timestamp=1_706_140_800,
        nonce=seen.headers["x-aura-nonce"],
    )
    assert seen.headers["host"] == f"127.0.0.1:{peer.port}"
    assert seen.headers["authorization"] == again.authorization


async def test_lift_says_where_the_bytes_go_and_shows_no_token(client, peer, bounce):
    bounce.answers["/api/uploader/config"] = json_reply(LIFT)
    lift = await client.lift()
    assert (lift.endpoint, lift.bucket) == ("https://lift.example.org/files", "b")
    assert lift.credentials.headers == {"Authorization": "Bearer canary-lift"}
    assert not lift.credentials.configured
    assert "canary" not in f"{lift!r}{lift.credentials!r}{INTEGRATION!r}{client!r}"
    seen = peer.seen[1]
    assert (seen.method, seen.path) == ("GET", "/api/uploader/config")
    assert (seen.headers["authorization"], seen.headers["x-api-key"]) == (
        "Bearer aubt_1",
        "canary-service-key",
    )


@pytest.mark.parametrize(
    "answer", [{}, {"lift": None}, {"lift": {"endpoint": "x", "token": "", "bucket": "b"}}]
)
async def test_a_config_without_a_place_is_a_bad_answer(client, bounce, answer):
    bounce.answers["/api/uploader/config"] = json_reply(answer)
    with pytest.raises(BadAnswer):
        await client.lift()


async def test_the_lifecycle(client, peer, bounce):
    study = StudySummary(study_uid="2.25.1", patient_name="Quill^Ada", images=3, series_count=1)
    assert await client.init(UPLOAD, [study], patient_id="p-1", context={"exam": "e"}) == ["s-1"]
    await client.start(UPLOAD, "assembly-1")
    await client.complete(UPLOAD, "assembly-1")
    await client.error(UPLOAD, "the archive was refused")
    await client.cancel(UPLOAD)
    steps = {seen.path.removeprefix("/api/uploader/upload/"): seen.json() for seen in peer.seen[1:]}
    assert list(steps) == ["init", "start", "complete", "error", "cancel"]
    init = steps["init"]
    assert (init["mode"], init["type"], init["source"]) == ("bulk", "uploader", "sonobridge")
    assert (init["upload_id"], init["patient_id"], init["context"]) == (str(UPLOAD), "p-1", {"exam": "e"})
    assert init["studies"]["2.25.1"] == {
        "study_uid": "2.25.1",
        "patient_name": "Quill^Ada",
        "patient_id": "",
        "study_date": "",
        "study_time": "",
        "study_description": "",
        "institution_name": "",
        "modalities": ["US"],
        "series_count": 1,
        "images": 3,
        "series": {},
    }
    held = {"upload_id": str(UPLOAD), "assembly_id": "assembly-1", "mode": "uploader"}
    assert steps["start"] == steps["complete"] == held
    assert steps["error"] == {
        "upload_id": str(UPLOAD),
        "message": "the archive was refused",
        "mode": "uploader",
    }
    assert steps["cancel"] == {"upload_id": str(UPLOAD), "mode": "uploader"}
    assert bounce.tokens == 1
    assert "Quill" not in repr(study)


async def test_the_sign_in_is_renewed_shortly_before_it_expires(client, clock, bounce):
    await client.cancel(UPLOAD)
    clock.now = 3600 - 121
    await client.cancel(UPLOAD)
    assert bounce.tokens == 1
    clock.now = 3600 - 120
    await client.cancel(UPLOAD)
    assert bounce.tokens == 2


@pytest.mark.parametrize("expires", [{"expires_at": "soon"}, {"expires_at": None}, {"expires_at": 1}])
async def test_a_sign_in_of_unknown_length_is_held_as_long_as_was_asked_for(client, clock, bounce, expires):
    bounce.expires = expires
    await client.cancel(UPLOAD)
    clock.now = 3400
    await client.cancel(UPLOAD)
    assert bounce.tokens == 1


async def test_a_refused_token_is_exchanged_once(client, peer, bounce):
    bounce.refused = {"aubt_1"}
    await client.start(UPLOAD, "a")
    assert bounce.tokens == 2
    bounce.refused = {"aubt_2", "aubt_3"}
    with pytest.raises(RenewCredentials) as caught:
        await client.start(UPLOAD, "a")
    assert bounce.tokens == 3
    assert "canary" not in f"{caught.value!r}{caught.value}"


async def test_many_exams_at_once_sign_in_once(client, bounce):
    await asyncio.gather(*(client.cancel(UPLOAD) for _ in range(10)))
    assert bounce.tokens == 1


async def test_accounts_do_not_share_a_sign_in(http, peer, bounce):
    sign_ins = SignIns()
    for account in ("one", "two"):
        await UploaderClient(
            http, base_url=peer.url, integration=INTEGRATION, account=account, sign_ins=sign_ins
        ).cancel(UPLOAD)
    assert bounce.tokens == 2


@pytest.mark.parametrize(("status", "expected"), [(429, SlowDown), (401, RenewCredentials)])
async def test_a_refused_exchange(client, peer, status, expected):
    peer.answer(json_reply({"error": {"message": "Too Many Attempts."}}, status))
    with pytest.raises(expected) as caught:
        await client.cancel(UPLOAD)
    assert caught.value.words == "Too Many Attempts."


async def test_a_lost_complete_is_to_be_looked_at(client, bounce):
    bounce.answers["/api/uploader/upload/complete"] = Reply(silent=True)
    with pytest.raises(LookFirst):
        await client.complete(UPLOAD, "a")


async def test_a_service_key_is_not_sent_to_another_base(http, other, bounce):
    stranger = UploaderClient(
        http,
        base_url="http://media.example.org",
        integration=INTEGRATION,
        account="clinic",
        sign_ins=SignIns(),
    )
    with pytest.raises(NotAllowed):
        await stranger.cancel(UPLOAD)
    assert other.dialled == 0
