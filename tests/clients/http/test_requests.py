"""The one request function: what each way of failing comes out as, caps, short retries, what is observed."""

import gzip
import zlib

import pytest

from app.clients.http import Call, Credentials, Egress, Http, Limits, Upload
from app.errors import (
    BadAnswer,
    LocalTrouble,
    LookFirst,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    TryLater,
    UpstreamError,
)
from tests.clients.peer import Reply, json_reply


def call(peer, method="GET", **more):
    return Call(
        upstream="clarius",
        operation="C0",
        method=method,
        url=f"{peer.url}/x",
        account="clarius",
        credentials=Credentials(peer.url, {"Authorization": "Bearer canary-key"}),
        **more,
    )


SLOW = Limits(read_seconds=0.1)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(silent=True),
        Reply(hang=True),
        Reply(200, b"{}", declared=100),
        Reply(500),
        Reply(502),
        Reply(599),
    ],
    ids=["cut", "time-out", "half an answer", "500", "502", "599"],
)
@pytest.mark.parametrize(
    ("method", "more", "expected"),
    [
        ("GET", {}, TryLater),
        ("POST", {}, LookFirst),
        ("PUT", {}, LookFirst),
        ("PATCH", {}, LookFirst),
        ("DELETE", {}, LookFirst),
        ("POST", {"effect": False}, TryLater),
    ],
)
async def test_a_lost_answer_is_ambiguous_only_for_what_has_an_effect(
    http, peer, reply, method, more, expected
):
    peer.answer(reply)
    with pytest.raises(UpstreamError) as caught:
        await http.request(call(peer, method, limits=SLOW, **more))
    assert type(caught.value) is expected
    assert caught.value.retryable
    assert "canary" not in f"{caught.value!r}{caught.value}"


async def test_no_answer_within_the_total_time_is_cut(http, peer):
    peer.answer(Reply(hang=True))
    with pytest.raises(LookFirst, match="too long"):
        await http.request(call(peer, "POST", limits=Limits(total_seconds=0.1)))


async def test_a_write_that_could_not_connect_has_sent_nothing(tls):
    async with Http(Egress(False), tls=tls) as fresh:
        with pytest.raises(TryLater, match="could not connect"):
            # Nobody listens on port 9 of this loopback address.
            await fresh.request(
                Call(
                    upstream="aurabox",
                    operation="A2",
                    method="POST",
                    url="http://127.0.0.9:9/x",
                    credentials=Credentials("http://127.0.0.9:9", {}),
                )
            )


@pytest.mark.parametrize("reply", [Reply(silent=True), Reply(502), Reply(503), Reply(504)])
async def test_a_read_is_repeated_twice_at_once(http, peer, reply):
    peer.answer(reply, reply, json_reply({"ok": 1}))
    assert (await http.request(call(peer))).object() == {"ok": 1}
    peer.seen.clear()
    peer.answer(reply)
    with pytest.raises(TryLater):
        await http.request(call(peer))
    assert len(peer.seen) == 3


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("POST", Reply(502)),
        ("DELETE", Reply(silent=True)),
        ("GET", Reply(429)),
        ("GET", Reply(500)),
        ("GET", Reply(404)),
        ("GET", Reply(503, headers={"Retry-After": "60"})),
    ],
)
async def test_everything_else_is_left_to_the_row(http, peer, method, reply):
    peer.answer(reply)
    with pytest.raises(UpstreamError):
        await http.request(call(peer, method))
    assert len(peer.seen) == 1


async def test_a_read_that_took_too_long_is_not_repeated_at_once(http, peer):
    peer.answer(Reply(hang=True))
    with pytest.raises(TryLater) as caught:
        await http.request(call(peer, limits=SLOW))
    assert caught.value.code == "clarius_timeout"
    assert len(peer.seen) == 1


async def test_accepted_statuses_are_handed_back(http, peer):
    peer.answer(Reply(409, b"taken"))
    answer = await http.request(call(peer, accept=frozenset({409})))
    assert (answer.status, answer.body) == (409, b"taken")


async def test_a_429_says_how_long_to_wait(http, peer):
    peer.answer(json_reply({}, 429, **{"Retry-After": "7"}))
    with pytest.raises(SlowDown) as caught:
        await http.request(call(peer, "POST"))
    assert caught.value.retry_after == 7


async def test_a_compressed_answer_is_read(http, peer):
    plain = b'{"a": "' + b"x" * 600_000 + b'"}'
    for body, encoding in ((gzip.compress(plain), "gzip"), (zlib.compress(plain), "deflate")):
        peer.answer(Reply(200, body, {"Content-Encoding": encoding}))
        assert (await http.request(call(peer))).body == plain


@pytest.mark.row(16)
async def test_a_gzip_bomb_is_cut_at_the_cap(http, peer):
    bomb = gzip.compress(b"0" * 50_000_000)
    peer.answer(Reply(200, bomb, {"Content-Encoding": "gzip"}))
    with pytest.raises(BadAnswer, match="larger than 1000000 bytes"):
        await http.request(call(peer, limits=Limits(cap_bytes=1_000_000)))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"no gzip", "gzip"), (gzip.compress(b"{}", mtime=0)[:-9], "gzip"), (b"{}", "br")],
    ids=["no gzip", "cut", "not asked for"],
)
async def test_an_encoding_that_is_wrong_or_was_not_asked_for_is_a_bad_answer(http, peer, body, encoding):
    peer.answer(Reply(200, body, {"Content-Encoding": encoding}))
    with pytest.raises(BadAnswer, match="encoding"):
        await http.request(call(peer))


async def test_an_answer_over_the_cap_is_a_bad_answer_or_an_ambiguous_write(http, peer):
    peer.answer(Reply(200, b"x" * 101))
    with pytest.raises(BadAnswer):
        await http.request(call(peer, limits=Limits(cap_bytes=100)))
    with pytest.raises(LookFirst):
        await http.request(call(peer, "POST", limits=Limits(cap_bytes=100)))
    assert (await http.request(call(peer, limits=Limits(cap_bytes=101)))).body == b"x" * 101


async def test_an_upload_is_streamed_with_its_exact_length(http, peer):
    async def chunks():
        for part in (b"one", b"two"):
            yield part

    peer.answer(Reply(204))
    await http.request(call(peer, "PATCH", content=Upload(length=6, chunks=chunks)))
    assert peer.seen[0].body == b"onetwo"
    assert peer.seen[0].headers["content-length"] == "6"
    assert "transfer-encoding" not in peer.seen[0].headers


@pytest.mark.parametrize("parts", [[b"one"], [b"one", b"twoo"], []])
async def test_an_upload_that_is_not_as_long_as_it_said_is_our_own_trouble(http, peer, parts):
    async def chunks():
        for part in parts:
            yield part

    with pytest.raises(LocalTrouble):
        await http.request(call(peer, "PATCH", content=Upload(length=6, chunks=chunks)))
    assert peer.seen == []


@pytest.mark.parametrize("key", ["Bearer canary\nkey", "Bearer canary\u2026key", "Bearer ", ""])
async def test_a_key_that_is_empty_or_that_no_header_can_hold_is_a_wrong_key(http, peer, key):
    wrong = Call(
        upstream="clarius",
        operation="C6",
        method="GET",
        url=f"{peer.url}/x",
        credentials=Credentials(peer.url, {"Authorization": key}),
    )
    with pytest.raises(RenewCredentials) as caught:
        await http.request(wrong)
    assert "canary" not in f"{caught.value!r}{caught.value}{caught.value.__cause__}"
    assert peer.dialled == 0


async def test_each_exchange_is_observed(http, peer, observed):
    peer.answer(Reply(200), Reply(404), Reply(silent=True))
    await http.request(call(peer))
    with pytest.raises(NotThere):
        await http.request(call(peer))
    with pytest.raises(LookFirst):
        await http.request(call(peer, "POST"))
    assert [(one.outcome, one.failed) for one in observed] == [
        (200, False),
        (404, True),
        ("clarius_unclear", True),
    ]
    assert {(one.upstream, one.operation, one.account) for one in observed} == {("clarius", "C0", "clarius")}
    assert all(one.seconds >= 0 for one in observed)


async def test_the_upstreams_words_are_kept_on_one_line_without_what_was_sent(http, peer):
    said = "Name\r\nJessica\x1b[31m is taken, key canary-key too " + "x" * 1000
    peer.answer(json_reply({"error": {"message": said}}, 409))
    with pytest.raises(Rejected) as caught:
        await http.request(call(peer, "POST", json={"who": ["Jessica"]}))
    text = caught.value.words
    assert "is taken" in text
    assert not [part for part in ("Jessica", "canary-key", "\n", "\x1b") if part in text]
    assert len(text) < 400
    assert str(caught.value).endswith("answered 409")


async def test_a_hanging_error_body_does_not_hide_the_status(http, peer):
    peer.answer(Reply(404, b"x", declared=100))
    with pytest.raises(NotThere):
        await http.request(call(peer))
