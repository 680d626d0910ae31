"""Tus against a server that follows the protocol and goes wrong as told: every byte once, the URL stored first."""

import base64

import pytest

from app.clients.http import Credentials
from app.clients.tus import PATCH_BYTES, Hooks, Target, encode_metadata, send_file
from app.errors import LookFirst, Rejected, RenewCredentials, SlowDown, TryLater
from tests.clients.peer import Reply

LENGTH = 2 * PATCH_BYTES + 12_345
METADATA = {
    "upload_id": "u-1",
    "bucket": "b",
    "mode": "uploader",
    "filename": "ü.zip",
    "filetype": "application/zip",
}


class TusServer:
    """Holds bytes by upload. `trouble` maps (method, nth request of that method) to what happens instead."""

    def __init__(self):
        self.uploads = {}
        self.ranges = []
        self.tokens = {"t-1"}
        self.trouble = {}
        self.count = {}
        self.metadata = None
        self.location = "/files/{n}"
        self.silent_about_offset = False

    def __call__(self, seen):
        nth = self.count[seen.method] = self.count.get(seen.method, 0) + 1
        trouble = self.trouble.get((seen.method, nth))
        if callable(trouble):
            trouble = trouble(seen)
        if isinstance(trouble, Reply):
            return trouble
        assert seen.headers["tus-resumable"] == "1.0.0"
        if seen.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return Reply(401)
        if seen.method == "POST":
            return self.create(seen)
        data = self.uploads.get(seen.path)
        if data is None:
            return Reply(404)
        if seen.method == "HEAD":
            return Reply(200, headers={"Upload-Offset": str(len(data)), "Upload-Length": str(LENGTH)})
        return self.patch(seen, data)

    def create(self, seen):
        assert int(seen.headers["upload-length"]) == LENGTH
        self.metadata = seen.headers["upload-metadata"]
        path = f"/files/{len(self.uploads) + 1}"
        self.uploads[path] = bytearray()
        return Reply(201, headers={"Location": self.location.format(n=len(self.uploads))})

    def patch(self, seen, data):
        assert seen.headers["content-type"] == "application/offset+octet-stream"
        start = int(seen.headers["upload-offset"])
        if start != len(data):
            return Reply(409)
        self.take(seen, data, seen.body)
        return Reply(204, headers={} if self.silent_about_offset else {"Upload-Offset": str(len(data))})

    def take(self, seen, data, body):
        self.ranges.append((seen.path, len(data), len(data) + len(body)))
        data += body

    def takes_then(self, count, reply):
        """The server keeps `count` bytes of the request and then says something else."""

        def happen(seen):
            self.take(seen, self.uploads[seen.path], seen.body[:count])
            return reply

        return happen


@pytest.fixture
def server(peer):
    peer.handler = TusServer()
    return peer.handler


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "u-1.zip"
    path.write_bytes(bytes(range(251)) * (LENGTH // 251) + b"e" * (LENGTH % 251))
    assert path.stat().st_size == LENGTH
    return path


class Caller:
    """What the delivery step does: stores the URL, gives a fresh token, hears of progress."""

    def __init__(self, http, peer, path):
        self.http, self.peer, self.path = http, peer, path
        self.stored = []
        self.progress = []
        self.pauses = []
        self.sent_before_stored = None
        self.token = "t-1"

    def target(self):
        credentials = Credentials(self.peer.url, {"Authorization": f"Bearer {self.token}"})
        return Target(f"{self.peer.url}/files", credentials)

    async def created(self, url):
        self.sent_before_stored = [seen for seen in self.peer.seen if seen.method == "PATCH"]
        self.stored.append(url)

    async def renewed(self):
        self.token = "t-2"
        return self.target()

    async def heard(self, offset):
        self.progress.append(offset)

    async def pause(self, seconds):
        self.pauses.append(seconds)

    async def send(self, stored_url=None):
        hooks = Hooks(created=self.created, renewed=self.renewed, progress=self.heard, pause=self.pause)
        return await send_file(
            self.http,
            self.target(),
            self.path,
            metadata=METADATA,
            stored_url=stored_url,
            account="clinic",
            hooks=hooks,
        )


@pytest.fixture
def caller(http, peer, path):
    return Caller(http, peer, path)


def assert_whole(server, path, upload="/files/1"):
    assert bytes(server.uploads[upload]) == path.read_bytes()
    mine = sorted((start, end) for where, start, end in server.ranges if where == upload)
    assert [start for start, _ in mine] == [0, *[end for _, end in mine[:-1]]]


async def test_a_file_goes_in_pieces_of_5_mib(server, caller, peer, path):
    url = await caller.send()
    assert url == f"{peer.url}/files/1"
    assert caller.stored == [url]
    assert caller.sent_before_stored == []
    assert_whole(server, path)
    assert [end - start for _, start, end in server.ranges] == [PATCH_BYTES, PATCH_BYTES, 12_345]
    assert caller.progress == [0, PATCH_BYTES, 2 * PATCH_BYTES, LENGTH]
    pairs = dict(pair.split(" ") for pair in server.metadata.split(","))
    assert {name: base64.b64decode(value).decode() for name, value in pairs.items()} == METADATA


async def test_the_location_may_be_whole_or_relative(server, caller, peer, path):
    server.location = f"{peer.url}/files/{{n}}"
    assert await caller.send() == f"{peer.url}/files/1"
    assert_whole(server, path)


async def test_a_later_run_goes_on_where_the_server_stands(server, caller, peer, path):
    server.uploads["/files/1"] = bytearray(path.read_bytes()[:1_000_000])
    server.ranges.append(("/files/1", 0, 1_000_000))
    await caller.send(stored_url=f"{peer.url}/files/1")
    assert_whole(server, path)
    assert peer.seen[0].method == "HEAD"
    assert caller.stored == []


async def test_a_file_that_is_there_already_is_not_sent(server, caller, peer, path):
    server.uploads["/files/1"] = bytearray(path.read_bytes())
    await caller.send(stored_url=f"{peer.url}/files/1")
    assert [seen.method for seen in peer.seen] == ["HEAD"]


@pytest.mark.parametrize("reply", [Reply(silent=True), Reply(500), Reply(503), Reply(423), Reply(409)])
@pytest.mark.parametrize("kept", [0, 1, 777_777, PATCH_BYTES])
async def test_a_cut_is_gone_on_from_what_the_server_kept(server, caller, path, reply, kept):
    server.trouble[("PATCH", 2)] = server.takes_then(kept, reply)
    await caller.send()
    assert_whole(server, path)
    assert len(caller.pauses) == 1


async def test_an_answer_without_an_offset_is_asked_for(server, caller, peer, path):
    server.silent_about_offset = True
    await caller.send()
    assert_whole(server, path)
    assert [seen.method for seen in peer.seen].count("HEAD") == 3


@pytest.mark.parametrize("status", [404, 410])
async def test_an_upload_that_is_gone_starts_over_and_stores_the_new_url(server, caller, peer, path, status):
    def vanish(seen):
        del server.uploads["/files/1"]
        server.uploads["/gone"] = bytearray()
        return Reply(status)

    server.trouble[("PATCH", 2)] = vanish
    await caller.send()
    assert caller.stored == [f"{peer.url}/files/1", f"{peer.url}/files/2"]
    assert_whole(server, path, "/files/2")


async def test_an_upload_of_another_file_starts_over(server, caller, peer, path):
    server.uploads["/files/1"] = bytearray(10)
    server.trouble[("HEAD", 1)] = Reply(200, headers={"Upload-Offset": "10", "Upload-Length": "11"})
    assert await caller.send(stored_url=f"{peer.url}/files/1") == f"{peer.url}/files/2"
    assert_whole(server, path, "/files/2")


async def test_an_upload_that_keeps_vanishing_is_left_for_later(server, caller):
    for nth in range(1, 10):
        server.trouble[("PATCH", nth)] = Reply(404)
    with pytest.raises(TryLater, match="vanishing"):
        await caller.send()
    assert len(caller.stored) == 3


async def test_a_token_that_expires_is_renewed_and_the_url_kept(server, caller, peer, path):
    def expire(_seen):
        server.tokens = {"t-2"}

    server.trouble[("PATCH", 2)] = expire
    await caller.send()
    assert caller.stored == [f"{peer.url}/files/1"]
    assert_whole(server, path)
    assert peer.seen[-1].headers["authorization"] == "Bearer t-2"


async def test_a_token_that_is_refused_again_and_again_is_the_accounts_trouble(server, caller):
    server.tokens = set()
    with pytest.raises(RenewCredentials):
        await caller.send()


async def test_no_progress_gives_up_for_now_with_the_url_stored(server, caller, peer):
    for nth in range(1, 20):
        server.trouble[("PATCH", nth)] = Reply(503)
    with pytest.raises(LookFirst):
        await caller.send()
    assert caller.stored == [f"{peer.url}/files/1"]
    assert len(caller.pauses) == 4
    assert all(pause <= 8 for pause in caller.pauses)


async def test_a_429_makes_the_account_wait(server, caller):
    server.trouble[("PATCH", 1)] = Reply(429, headers={"Retry-After": "30"})
    with pytest.raises(SlowDown) as caught:
        await caller.send()
    assert caught.value.retry_after == 30
    assert caller.pauses == []


async def test_a_refused_creation_is_refused(server, caller):
    server.trouble[("POST", 1)] = Reply(413)
    with pytest.raises(Rejected):
        await caller.send()
    assert caller.stored == []


async def test_a_stored_url_at_another_place_gets_no_token(server, caller, other, path):
    await caller.send(stored_url=f"{other.url}/files/1")
    assert other.dialled == 0
    assert_whole(server, path)


def test_metadata_without_a_value():
    assert encode_metadata({"a": "", "b": "x"}) == "a,b eA=="
