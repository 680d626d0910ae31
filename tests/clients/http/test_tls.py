"""TLS goes on verifying the name although a checked address is dialled: SNI and certificate are of the URL's host."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.clients.http import Call, Egress, Http
from app.errors import TryLater
from tests.clients.peer import Reply, running_peer

NAME = "media.example.org"


@pytest.fixture
def certificate(tmp_path):
    """A certificate for NAME, signed by itself: the file of certificate and key, and of the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both, alone = tmp_path / "both.pem", tmp_path / "alone.pem"
    both.write_bytes(public + private)
    alone.write_bytes(public)
    return both, alone


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
        with pytest.raises(TryLater, match="could not connect"):
            await http.request(get(secure_peer, "other.example.org"))
    assert secure_peer.seen == []


async def test_a_certificate_of_an_unknown_authority_is_refused(secure_peer, tls):
    async with open_http(secure_peer, NAME, tls) as http:
        with pytest.raises(TryLater, match="could not connect"):
            await http.request(get(secure_peer, NAME))
    assert secure_peer.seen == []
