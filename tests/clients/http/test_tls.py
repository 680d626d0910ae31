"""TLS goes on verifying the name although a checked address is dialled: SNI and certificate are of the URL's host."""

import ssl

import pytest

from app.clients.http import Call, Egress, Http
from app.config.trust import tls_context
from app.errors import TryLater
from tests.clients.peer import Reply, running_peer
from tests.support.certificates import make_certificate

NAME = "media.example.org"


@pytest.fixture
def certificate(tmp_path):
    """A certificate for NAME, signed by itself: the file of certificate and key, and of the certificate alone."""
    return make_certificate(tmp_path, NAME)


@pytest.fixture
def asked_for():
    """The server names that clients asked for."""
    return []


@pytest.fixture
async def secure_peer(certificate, asked_for):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate[0])
    server.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    async with running_peer(server) as peer:
        peer.answer(Reply(200, b"ok"))
        yield peer


async def here(_host, _port):
    return ["127.0.0.1"]


async def no_pause(_seconds):
    pass


def open_http(peer, name, tls):
    egress = Egress(True, frozenset({f"{name}:{peer.port}"}))
    return Http(egress, tls=tls, resolver=here, pause=no_pause)


def get(peer, name):
    return Call(
        upstream="media", operation="m", method="GET", url=f"https://{name}:{peer.port}/x", pinned=False
    )


async def test_the_name_of_the_url_is_asked_for_and_verified(secure_peer, certificate, asked_for):
    tls = ssl.create_default_context(cafile=certificate[1])
    async with open_http(secure_peer, NAME, tls) as http:
        assert (await http.request(get(secure_peer, NAME))).body == b"ok"
    assert asked_for == [NAME]
    assert secure_peer.seen[0].headers["host"] == f"{NAME}:{secure_peer.port}"


async def test_a_certificate_of_another_name_is_refused(secure_peer, certificate):
    tls = ssl.create_default_context(cafile=certificate[1])
    async with open_http(secure_peer, "other.example.org", tls) as http:
        with pytest.raises(TryLater, match="certificate of the media host is another host's") as caught:
            await http.request(get(secure_peer, "other.example.org"))
    assert caught.value.code == "media_certificate"
    assert secure_peer.seen == []


async def test_a_certificate_of_an_unknown_authority_is_refused(secure_peer, tls):
    async with open_http(secure_peer, NAME, tls) as http:
        with pytest.raises(TryLater, match="authority that is not trusted here; SONOBRIDGE_CA_FILE adds one"):
            await http.request(get(secure_peer, NAME))
    assert secure_peer.seen == []


async def test_an_expired_certificate_is_called_so(tmp_path):
    both, alone = make_certificate(tmp_path, NAME, days=-1)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(both)
    async with running_peer(server) as peer, open_http(peer, NAME, tls_context(alone)) as http:
        with pytest.raises(TryLater, match="certificate of the media host has expired"):
            await http.request(get(peer, NAME))


async def test_the_houses_own_authority_is_trusted_beside_the_public_ones(secure_peer, certificate):
    trust = tls_context(certificate[1])
    assert len(trust.get_ca_certs()) > len(tls_context(None).get_ca_certs())
    async with open_http(secure_peer, NAME, trust) as http:
        assert (await http.request(get(secure_peer, NAME))).body == b"ok"


async def test_what_this_machine_trusts_is_trusted(secure_peer, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    async with open_http(secure_peer, NAME, tls_context(None)) as http:
        assert (await http.request(get(secure_peer, NAME))).body == b"ok"
