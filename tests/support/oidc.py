"""A small OpenID provider for tests: real HTTP, real RS256 keys, and a say in what it gets wrong."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.ports import free_port
from tests.support.serving import serving_app

CLIENT_ID = "sonobridge-test"
CLIENT_SECRET = "invented client+secret 100%: é"
"""Whose letters tell whether it was encoded as RFC 6749 2.3.1 says."""
ID_TOKEN_SECONDS = 300


@dataclass
class Provider:
    """`person` is who is signed in there. `claims` and `header` replace what an ID token would say.

    `sign_with` replaces the key. `told_by_userinfo` moves the e-mail address out of the ID token, `left_out` single
    claims. `secret` is what our client must know.
    """

    issuer: str
    person: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    told_by_userinfo: bool = False
    left_out: tuple[str, ...] = ()
    secret: str = CLIENT_SECRET
    deny: bool = False
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"use": "sig", "kid": "one"}))
    sign_with: RSAKey | None = None
    asked: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)

    async def discovery(self, _: Request) -> Response:
        """OpenID Connect Discovery 1.0."""
        self.asked.append("discovery")
        described = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }
        return JSONResponse(described | self.metadata)

    async def jwks(self, _: Request) -> Response:
        """The public key."""
        self.asked.append("jwks")
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        """Somebody is signed in here already, so the browser goes straight back with a code."""
        self.asked.append("authorize")
        given = dict(request.query_params)
        assert given["response_type"] == "code"
        assert given["client_id"] == CLIENT_ID
        assert given["code_challenge_method"] == "S256"
        assert "openid" in given["scope"].split()
        back = {"state": given["state"]}
        if self.deny:
            back["error"] = "access_denied"
        else:
            back["code"] = secrets.token_urlsafe(16)
            self._codes[back["code"]] = given
        return RedirectResponse(f"{given['redirect_uri']}?{urlencode(back)}", status_code=302)

    async def token(self, request: Request) -> Response:
        """Exchange a code, once, for the client that asked and knows the PKCE verifier."""
        self.asked.append("token")
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        scheme, _, coded = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(coded).decode().partition(":")
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        right = (
            scheme == "Basic"
            and (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, self.secret)
            and asked is not None
            and asked["redirect_uri"] == form.get("redirect_uri")
            and asked["code_challenge"] == challenge.decode().rstrip("=")
        )
        if not right or asked is None:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        access = secrets.token_urlsafe(16)
        self._tokens.add(access)
        return JSONResponse(
            {"access_token": access, "token_type": "Bearer", "id_token": self._id_token(asked)}
        )

    async def userinfo(self, request: Request) -> Response:
        """Who the access token is for."""
        self.asked.append("userinfo")
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return JSONResponse({"error": "invalid_token"}, status_code=401)
        return JSONResponse(self.person)

    def _id_token(self, asked: dict[str, str]) -> str:
        at = int(time.time())
        person = {"sub": self.person["sub"]} if self.told_by_userinfo else self.person
        person = {name: value for name, value in person.items() if name not in self.left_out}
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": at,
            "exp": at + ID_TOKEN_SECONDS,
            "nonce": asked["nonce"],
            **person,
            **self.claims,
        }
        key = self.sign_with or self.key
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)


@asynccontextmanager
async def open_provider() -> AsyncIterator[Provider]:
    """The provider on a free loopback port."""
    port = free_port()
    provider = Provider(issuer=f"http://127.0.0.1:{port}")
    routes = [
        Route("/.well-known/openid-configuration", provider.discovery),
        Route("/jwks", provider.jwks),
        Route("/authorize", provider.authorize),
        Route("/token", provider.token, methods=["POST"]),
        Route("/userinfo", provider.userinfo),
    ]
    async with serving_app(Starlette(routes=routes), port=port, lifespan="off"):
        yield provider
