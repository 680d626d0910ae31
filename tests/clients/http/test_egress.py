"""The SSRF set: what may not be reached is refused before anything is dialled, and credentials stay at home."""

import socket
from contextlib import ExitStack

import pytest

from app.clients.http import Call, Credentials, Egress, Http, parse_url
from app.clients.http.egress import is_public
from app.errors import BadAnswer, NotAllowed, TryLater
from tests.clients.peer import Reply, json_reply

SECRETS = {"Authorization": "Bearer canary-key", "X-Api-Key": "canary-key-2"}


def call(url, *, base=None, method="GET", pinned=False, **more):
    return Call(
        upstream="media",
        operation="test",
        method=method,
        url=url,
        credentials=Credentials(base, SECRETS) if base else None,
        pinned=pinned,
        **more,
    )


class Names:
    """A resolver that a test owns; remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "192.88.99.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address):
    assert is_public(address)


@pytest.mark.row(27)
@pytest.mark.parametrize(
    "url",
    [
        "http://media.example.org/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://user@media.example.org/x",
        "https://user:pass@media.example.org/x",
        "https://media.example.org:8443/x",
        "https://media.example.org:80/x",
        "ftp://media.example.org/x",
        "file:///etc/passwd",
        "gopher://media.example.org/x",
        "//media.example.org/x",
        "/x",
        "",
        "https://",
        "https:///x",
        "https://media.example.org\\@evil.example/x",
        "https://[::1/x",
        "https://media.example.org:99999999/x",
        "https://media.exam\nple.org/x",
        "javascript:alert(1)",
    ],
)
async def test_urls_that_may_not_be_followed_are_refused_before_a_name_is_looked_up(url, tls):
    names = Names(["8.8.8.8"])
    async with Http(Egress(production=True), tls=tls, resolver=names) as http:
        with pytest.raises(NotAllowed):
            await http.request(call(url))
    assert names.asked == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]],
)
async def test_a_name_at_a_private_address_is_refused_if_only_one_of_its_addresses_is(peer, addresses, tls):
    async with Http(Egress(production=True), tls=tls, resolver=Names(addresses)) as http:
        with pytest.raises(NotAllowed) as caught:
            await http.request(call("https://media.example.org/x?sig=canary"))
    assert peer.dialled == 0
    assert "canary" not in repr(caught.value)
    assert caught.value.code == "not_allowed"
    assert caught.value.upstream == "media"


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/x", "https://2130706433/x", "https://0x7f.1/x", "https://[::1]/x"]
)
async def test_an_address_in_the_url_is_checked_like_a_name(url, tls):
    async with Http(Egress(production=True), tls=tls) as http:
        with pytest.raises(NotAllowed):
            await http.request(call(url))


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(peer, tls):
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    egress = Egress(True, frozenset({f"media.example.org:{peer.port}"}))
    peer.answer(Reply(200, b"ok"))
    async with Http(egress, resolver=names, tls=tls) as http:
        answer = await http.request(call(f"http://media.example.org:{peer.port}/x"))
    assert answer.body == b"ok"
    assert names.asked == [("media.example.org", peer.port)]
    assert peer.seen[0].headers["host"] == f"media.example.org:{peer.port}"


@pytest.fixture
def silent(peer):
    """An address at the peer's port at which nobody answers: its queue is full."""
    with socket.socket() as listening, ExitStack() as held:
        listening.bind(("127.0.0.2", peer.port))
        listening.listen(0)
        for _ in range(4):
            waits = held.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(("127.0.0.2", peer.port))
        yield "127.0.0.2"


@pytest.mark.parametrize("before", [["silent"], ["silent"] * 3, ["127.0.0.3", "silent"]], ids=len)
async def test_an_address_that_answers_nothing_hides_no_other(peer, silent, before, tls):
    # urllib3#797, socketry/async#409, hexchat#1309
    addresses = [*(silent if one == "silent" else one for one in before), "127.0.0.1"]
    egress = Egress(True, frozenset({f"media.example.org:{peer.port}"}))
    peer.answer(Reply(200, b"ok"))
    async with Http(egress, resolver=Names(addresses), tls=tls) as http:
        answer = await http.request(call(f"http://media.example.org:{peer.port}/x"))
    assert (answer.body, peer.dialled) == (b"ok", 1)


@pytest.mark.row(27)
async def test_a_name_that_rebinds_is_refused_at_the_next_connection(peer, tls):
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    peer.answer(Reply(200, b"ok", {"Connection": "close"}))
    async with Http(Egress(production=False), resolver=names, tls=tls) as http:
        await http.request(call(f"http://media.example.org:{peer.port}/x"))
        with pytest.raises(NotAllowed):
            await http.request(call(f"http://media.example.org:{peer.port}/x"))
    assert peer.dialled == 1


@pytest.mark.row(27)
async def test_a_redirect_to_loopback_is_refused_and_not_dialled(peer, other, tls):
    peer.answer(Reply(302, headers={"Location": f"{other.url}/x?sig=canary"}))
    async with Http(Egress(True, frozenset({f"127.0.0.1:{peer.port}"})), tls=tls) as http:
        with pytest.raises(NotAllowed) as caught:
            await http.request(call(f"{peer.url}/x"))
    assert other.dialled == 0
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/", "https://user@media.example.org/", "file:///etc/passwd", "http://[::1"],
)
async def test_each_redirect_is_checked_as_if_it_were_the_first(http, peer, location):
    peer.answer(Reply(302, headers={"Location": location}))
    with pytest.raises(NotAllowed):
        await http.request(call(f"{peer.url}/x"))


async def test_all_credentials_are_dropped_when_the_origin_changes_and_stay_dropped(http, peer, other):
    def at_home(seen):
        return (
            Reply(302, headers={"Location": f"{other.url}/away"}) if seen.path == "/x" else Reply(200, b"ok")
        )

    peer.handler = at_home
    other.answer(Reply(302, headers={"Location": f"{peer.url}/back"}))
    await http.request(call(f"{peer.url}/x", base=peer.url))
    assert peer.seen[0].headers["x-api-key"] == "canary-key-2"
    for seen in (other.seen[0], peer.seen[1]):
        assert "authorization" not in seen.headers
        assert "x-api-key" not in seen.headers


async def test_credentials_do_not_go_to_another_place(http, peer, other):
    other.answer(Reply(200, b"ok"))
    await http.request(call(f"{other.url}/x", base=peer.url))
    assert "authorization" not in other.seen[0].headers
    with pytest.raises(NotAllowed):
        await http.request(call(f"{other.url}/x", base=peer.url, pinned=True))
    assert len(other.seen) == 1


async def test_a_call_that_must_be_authorised_is_refused_without_credentials(http, peer):
    with pytest.raises(NotAllowed):
        await http.request(call(f"{peer.url}/x", pinned=True))
    assert peer.dialled == 0


async def test_more_than_three_redirects_are_too_many(http, peer):
    peer.handler = lambda seen: Reply(302, headers={"Location": seen.path + "x"})
    with pytest.raises(BadAnswer, match="redirects"):
        await http.request(call(f"{peer.url}/x"))
    assert [seen.path for seen in peer.seen] == ["/x", "/xx", "/xxx", "/xxxx"]


async def test_cookies_are_not_carried(http, peer):
    peer.answer(Reply(200, b"ok", {"Set-Cookie": "session=canary; Path=/"}))
    await http.request(call(f"{peer.url}/x"))
    await http.request(call(f"{peer.url}/x"))
    assert "cookie" not in peer.seen[1].headers


async def test_development_permits_plain_http_on_loopback_and_nothing_else_private(peer, tls):
    peer.answer(json_reply({}))
    async with Http(Egress(production=False), tls=tls) as http:
        assert (await http.request(call(f"{peer.url}/x"))).json() == {}
    for address in ("10.0.0.1", "169.254.169.254", "fe80::1"):
        async with Http(Egress(production=False), tls=tls, resolver=Names([address])) as http:
            with pytest.raises(NotAllowed):
                await http.request(call("http://media.example.org/x"))


async def test_a_name_without_an_address_is_tried_later(tls):
    async def nowhere(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def no_pause(seconds):
        pass

    async with Http(Egress(production=True), tls=tls, resolver=nowhere, pause=no_pause) as http:
        with pytest.raises(TryLater):
            await http.request(call("https://media.example.org/x"))


def test_allowed_entries_may_name_a_port_or_all_of_them():
    egress = Egress(True, frozenset({"Box.example:8443", "lab.example", "[::1]:9000"}))
    assert egress.permits("box.example", 8443)
    assert not egress.permits("box.example", 443)
    assert egress.permits("LAB.example", 1)
    assert egress.permits("::1", 9000)
    assert not egress.permits("lab.example.evil", 443)


def test_a_configured_base_may_use_another_port_but_not_plain_http():
    egress = Egress(production=True)
    egress.check_url(parse_url("https://aurabox.example:8443/api"), configured=True)
    with pytest.raises(NotAllowed):
        egress.check_url(parse_url("https://aurabox.example:8443/api"), configured=False)
    with pytest.raises(NotAllowed):
        egress.check_url(parse_url("http://aurabox.example/api"), configured=True)
