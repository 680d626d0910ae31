"""Which certificate authorities outgoing connections trust: the public ones, this machine's, and the house's own.

HTTP, mail, S3, Redis and PostgreSQL ask here, so that a hospital's own authority is named once (SONOBRIDGE_CA_FILE).
"""

import ssl
from functools import cache
from pathlib import Path

import httpx

from app.errors import Misuse


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context of the caller's own, which takes tens of milliseconds. Raises Misuse for a file that is of no use.

    This machine's authorities are those of its store, or of SSL_CERT_FILE and SSL_CERT_DIR where they are set.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_file is not None:
        context.load_verify_locations(cadata=house_authorities(ca_file))
    return context


@cache
def http_tls(ca_file: Path | None) -> ssl.SSLContext:
    """The context of every HTTP connection of this process."""
    return tls_context(ca_file)


def house_authorities(ca_file: Path) -> str:
    """The certificates in the file, as PEM. Raises Misuse, which names the setting and what is wrong."""
    try:
        pem = ca_file.read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except OSError as error:
        raise Misuse(f"SONOBRIDGE_CA_FILE: can't be read ({error.strerror})", code="ca_file") from None
    except (ValueError, ssl.SSLError):
        raise Misuse("SONOBRIDGE_CA_FILE: holds no certificates in PEM", code="ca_file") from None
    return pem
