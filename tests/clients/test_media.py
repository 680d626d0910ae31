"""Downloads: whole, resumed, changed, cut, expired, too large, too slow; and what is left on disk each time."""

import asyncio
import hashlib

import pytest

from app.clients.http import Credentials, Egress, Http, Limits
from app.clients.media import Partial, Policy, download, partial
from app.errors import (
    BadAnswer,
    CaptureUrlExpired,
    DiskFull,
    GiveUp,
    LocalTrouble,
    Rejected,
    RenewCredentials,
    SlowDown,
    TryLater,
)
from tests.clients.peer import Reply

BODY = bytes(range(256)) * 4096  # 1 MiB
CAP = 2 * len(BODY)
ETAG = '"v1"'
KEY = {"Authorization": "Service-API-Key canary-key"}


def ranged(body=BODY, etag=ETAG):
    """A host that serves ranges as S3 does."""

    def handler(seen):
        first = seen.headers.get("range", "")
        if first and seen.headers.get("if-range") == etag:
            at = int(first.removeprefix("bytes=").removesuffix("-"))
            if at >= len(body):
                return Reply(416, headers={"Content-Range": f"bytes */{len(body)}"})
            span = f"bytes {at}-{len(body) - 1}/{len(body)}"
            return Reply(206, body[at:], {"Content-Range": span, "ETag": etag})
        return Reply(200, body, {"ETag": etag, "Content-Type": "video/mp4"})

    return handler


async def cut_off(http, peer, dest, *, at=300_000, etag=ETAG):
    """A first attempt that is cut after `at` bytes."""
    peer.answer(Reply(200, BODY[:at], {"ETag": etag}, declared=len(BODY)))
    with pytest.raises(TryLater):
        await download(http, f"{peer.url}/c?sig=canary", dest, cap=CAP)


async def test_a_whole_file(http, peer, tmp_path):
    peer.handler = ranged()
    got = await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP)
    assert (tmp_path / "c").read_bytes() == BODY
    assert (got.bytes, got.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert (got.etag, got.content_type) == (ETAG, "video/mp4")
    assert peer.seen[0].headers["accept-encoding"] == "identity"
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


async def test_an_empty_file_is_a_file(http, peer, tmp_path):
    peer.answer(Reply(200, b""))
    assert (await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP)).bytes == 0


async def test_a_cut_keeps_what_came_and_goes_on_from_there(http, peer, tmp_path):
    dest = tmp_path / "c"
    await cut_off(http, peer, dest)
    held = partial(dest)
    assert held == Partial(300_000, ETAG)
    assert not dest.exists()
    peer.handler = ranged()
    got = await download(http, f"{peer.url}/c", dest, cap=CAP, resume=held)
    assert peer.seen[-1].headers["range"] == "bytes=300000-"
    assert dest.read_bytes() == BODY
    assert got.sha256 == hashlib.sha256(BODY).hexdigest()
    assert partial(dest) is None
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


async def test_a_file_that_changed_meanwhile_is_fetched_anew(http, peer, tmp_path):
    dest = tmp_path / "c"
    await cut_off(http, peer, dest)
    new = b"another version" * 1000
    peer.handler = ranged(new, '"v2"')
    got = await download(http, f"{peer.url}/c", dest, cap=CAP, resume=partial(dest))
    assert dest.read_bytes() == new
    assert got.etag == '"v2"'


async def test_a_range_of_another_version_is_not_joined(http, peer, tmp_path):
    dest = tmp_path / "c"
    await cut_off(http, peer, dest)
    peer.answer(Reply(206, BODY[300_000:], {"Content-Range": "bytes 300000-1048575/1048576", "ETag": '"v2"'}))
    with pytest.raises(TryLater):
        await download(http, f"{peer.url}/c", dest, cap=CAP, resume=partial(dest))
    assert partial(dest) is None


async def test_a_range_that_starts_elsewhere_is_not_joined(http, peer, tmp_path):
    dest = tmp_path / "c"
    await cut_off(http, peer, dest)
    peer.answer(Reply(206, BODY, {"Content-Range": "bytes 0-1048575/1048576", "ETag": ETAG}))
    with pytest.raises(TryLater):
        await download(http, f"{peer.url}/c", dest, cap=CAP, resume=partial(dest))
    assert partial(dest) is None


async def test_a_range_that_nobody_asked_for_is_taken_when_it_is_all(http, peer, tmp_path):
    peer.answer(Reply(206, BODY, {"Content-Range": "bytes 0-1048575/1048576", "ETag": ETAG}))
    got = await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP)
    assert got.sha256 == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    "span", ["bytes 0-1048575/2097152", "bytes 0-1048575/*", "bytes 1-1048576/1048576", "", "pages 0-1/2"]
)
async def test_a_part_that_nobody_asked_for_is_not_taken_for_the_whole(http, peer, tmp_path, span):
    peer.answer(Reply(206, BODY, {"Content-Range": span} if span else {}))
    with pytest.raises(TryLater, match="another range"):
        await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP)
    assert not (tmp_path / "c").exists()


async def test_a_range_past_the_end_starts_over(http, peer, tmp_path):
    dest = tmp_path / "c"
    await cut_off(http, peer, dest)
    peer.handler = ranged(b"short", ETAG)
    got = await download(http, f"{peer.url}/c", dest, cap=CAP, resume=partial(dest))
    assert (got.bytes, dest.read_bytes()) == (5, b"short")


@pytest.mark.parametrize("etag", ['W/"v1"', "", "v1"])
async def test_without_a_strong_etag_there_is_nothing_to_resume(http, peer, tmp_path, etag):
    await cut_off(http, peer, tmp_path / "c", etag=etag)
    assert partial(tmp_path / "c") is None


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_presigned_link_expires(http, peer, tmp_path, status):
    peer.answer(Reply(status, b"<Error>canary</Error>"))
    with pytest.raises(CaptureUrlExpired) as caught:
        await download(http, f"{peer.url}/c?sig=canary", tmp_path / "c", cap=CAP)
    assert caught.value.status == status
    assert "canary" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, RenewCredentials),
        (403, CaptureUrlExpired),
        (404, CaptureUrlExpired),
        (410, CaptureUrlExpired),
        (429, SlowDown),
    ],
)
async def test_a_link_on_clarius_own_origin_answers_for_the_key_and_the_exam(
    http, peer, tmp_path, status, expected
):
    peer.answer(Reply(status))
    with pytest.raises(expected):
        await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP, credentials=Credentials(peer.url, KEY))
    assert peer.seen[0].headers["authorization"] == KEY["Authorization"]


async def test_the_storages_code_tells_a_link_that_ran_out_from_a_bad_request(http, peer, tmp_path):
    body = "<Error><Code>{}</Code><Message>canary {}</Message></Error>"
    peer.answer(Reply(400, body.format("ExpiredToken", peer.url).encode()))
    with pytest.raises(CaptureUrlExpired) as expired:
        await download(http, f"{peer.url}/c?sig=canary", tmp_path / "c", cap=CAP)
    peer.answer(Reply(400, body.format("InvalidArgument", peer.url).encode()))
    with pytest.raises(Rejected) as wrong:
        await download(http, f"{peer.url}/c?sig=canary", tmp_path / "c", cap=CAP)
    for caught, code in ((expired, "ExpiredToken"), (wrong, "InvalidArgument")):
        assert str(caught.value) == f"media: the media link answered 400 ({code})"
        assert "canary" not in repr(caught.value)


async def test_a_presigned_link_gets_no_authorization_at_all(http, peer, other, tmp_path):
    other.handler = ranged()
    await download(http, f"{other.url}/c", tmp_path / "c", cap=CAP, credentials=Credentials(peer.url, KEY))
    assert "authorization" not in other.seen[0].headers


async def test_a_redirect_from_clarius_to_storage_drops_the_key(http, peer, other, tmp_path):
    peer.answer(Reply(302, headers={"Location": f"{other.url}/c?sig=s"}))
    other.handler = ranged()
    await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP, credentials=Credentials(peer.url, KEY))
    assert "authorization" in peer.seen[0].headers
    assert "authorization" not in other.seen[0].headers


async def test_a_file_said_to_be_over_the_cap_is_not_begun(http, peer, tmp_path):
    peer.handler = ranged()
    with pytest.raises(GiveUp) as caught:
        await download(http, f"{peer.url}/c", tmp_path / "c", cap=len(BODY) - 1)
    assert caught.value.code == "capture_too_large"
    assert list(tmp_path.iterdir()) == []


async def test_an_endless_file_is_stopped_at_the_cap(tls, tmp_path):
    async def endless(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Http(Egress(production=False), tls=tls) as fresh:
        with pytest.raises(GiveUp) as caught:
            await download(fresh, f"http://127.0.0.1:{port}/c", tmp_path / "c", cap=CAP)
    assert caught.value.code == "capture_too_large"
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_exactly_the_cap_is_taken(http, peer, tmp_path):
    peer.handler = ranged()
    assert (await download(http, f"{peer.url}/c", tmp_path / "c", cap=len(BODY))).bytes == len(BODY)


async def test_a_slow_drip_is_cut_and_what_came_is_kept(peer, tmp_path, tls):
    now = iter(range(0, 10_000, 20))  # each look at the clock is 20 s later
    peer.handler = ranged(b"x" * 200_000)
    async with Http(Egress(production=False), tls=tls, clock=lambda: float(next(now))) as http:
        policy = Policy(limits=Limits(least_bytes_per_second=1_000_000))
        with pytest.raises(TryLater) as caught:
            await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP, policy=policy)
    assert caught.value.code == "media_too_slow"
    held = partial(tmp_path / "c")
    assert held is not None
    assert 0 < held.bytes <= 200_000


async def test_a_media_host_that_says_nothing_is_tried_later(http, peer, tmp_path):
    peer.answer(Reply(hang=True))
    with pytest.raises(TryLater):
        await download(
            http, f"{peer.url}/c", tmp_path / "c", cap=CAP, policy=Policy(limits=Limits(total_seconds=0.1))
        )


async def test_compressed_media_is_refused(http, peer, tmp_path):
    peer.answer(Reply(200, b"x", {"Content-Encoding": "gzip"}))
    with pytest.raises(BadAnswer):
        await download(http, f"{peer.url}/c", tmp_path / "c", cap=CAP)


async def test_a_disk_without_room_is_seen_before_the_first_byte(http, peer, tmp_path):
    peer.handler = ranged()
    with pytest.raises(DiskFull):
        await download(
            http, f"{peer.url}/c", tmp_path / "c", cap=CAP, policy=Policy(room=lambda _: len(BODY) - 1)
        )
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_not_there_is_this_hosts_trouble(http, peer, tmp_path):
    peer.handler = ranged()
    with pytest.raises(LocalTrouble):
        await download(http, f"{peer.url}/c", tmp_path / "no" / "c", cap=CAP)
