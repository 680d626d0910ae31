"""Single sign-on by OpenID Connect: code flow with PKCE, state and nonce; must not make accounts by itself.

Authlib makes the requests' parts and checks the claims; they travel by our own HTTP client, whose egress rules hold
for issuers too. OpenID Connect Core 1.0, "Authorization Code Flow"; RFC 7636.
"""

import secrets
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote_plus

import structlog
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.clients.http import Answer, Call, Credentials, Limits, parse_url, same_origin
from app.errors import SonobridgeError, UpstreamError
from app.people.sessions import CredentialsChanged, Visitor, begin_session
from app.people.throttling import admit, forgive
from app.resources import Resources
from app.store.audit import By, audit
from app.store.oidc_attempts import OidcAttempt, take_oidc_attempt
from app.store.one_time_links import OneTimeLinkKind, end_one_time_links, hash_token
from app.store.users import User, find_user

CALLBACK_PATH = "/login/oidc/callback"
SCOPES = "openid email"
LEEWAY_SECONDS = 60
# Signatures by the issuer's own key only: neither "none" nor a secret that both sides share.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LIMITS = Limits(connect_seconds=5.0, read_seconds=10.0, total_seconds=20.0, cap_bytes=1024 * 1024)

log = structlog.get_logger(__name__)


class SsoFailed(SonobridgeError):
    """Single sign-on ended without anybody signed in. `message` is for the person, `code` for the audit."""

    kind = "sso_failed"


@dataclass(frozen=True)
class SignedInAs:
    """Whom the issuer vouches for: `subject` is unique with it, `email` is verified by it."""

    subject: str
    email: str


async def begin_sso(resources: Resources, visitor: Visitor) -> str:
    """The address at the issuer where the browser goes; what must come back is kept.

    Raises SsoFailed, TooManyAttempts.
    """
    if resources.settings.oidc_issuer is not None:
        # each attempt makes a row here and a call there
        await admit(resources, purpose="sso", email=None, address=visitor.address)
    metadata = await _metadata(resources)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    async with resources.sessions.begin() as session:
        session.add(
            OidcAttempt(
                state_hash=hash_token(state),
                browser_hash=visitor.hash,
                nonce=nonce,
                verifier_sealed=resources.seal_text(verifier),
            )
        )
    url: str = prepare_grant_uri(
        metadata["authorization_endpoint"],
        client_id=resources.settings.oidc_client_id,
        response_type="code",
        redirect_uri=redirect_uri(resources),
        scope=SCOPES,
        state=state,
        nonce=nonce,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
    )
    return url


async def finish_sso(
    resources: Resources, visitor: Visitor, *, state: str, code: str, error: str = ""
) -> str:
    """What the issuer sent the browser back with; signs in an invited user. The browser's new cookie.

    Raises SsoFailed (audited) for a state that this browser did not begin, a token that does not hold, an e-mail
    address that is not verified, and anybody who was not invited.
    """
    try:
        async with resources.sessions.begin() as session:
            attempt = await take_oidc_attempt(
                session, state_hash=hash_token(state), browser_hash=visitor.hash
            )
        if attempt is None:
            raise SsoFailed("It took too long, or began in another browser.", code="sso_state")
        if error or not code:
            raise SsoFailed("The sign-in service did not sign you in.", code="sso_refused")
        identity = await _redeem(resources, attempt, code)
        cookie = await _sign_in(resources, identity, visitor)
    except SsoFailed as failed:
        async with resources.sessions.begin() as session:
            await audit(
                session,
                by=By("unknown", visitor.address),
                action="session.sign_in_failed",
                result="refused",
                detail=failed.code,
            )
        raise
    await forgive(resources, purpose="sso", email=None, address=visitor.address)
    return cookie


def redirect_uri(resources: Resources) -> str:
    """Where the issuer sends the browser back to; to be registered there."""
    return resources.settings.public_url + CALLBACK_PATH


async def _sign_in(resources: Resources, identity: SignedInAs, visitor: Visitor) -> str:
    async with resources.sessions.begin() as session:
        user = await _invited(session, identity)
        if user is None:
            raise SsoFailed("There is no invitation for your e-mail address.", code="sso_not_invited")
        user.oidc_subject = identity.subject
        await end_one_time_links(session, OneTimeLinkKind.INVITATION, user.id)
        try:
            return await begin_session(session, user, visitor, how="single sign-on")
        except CredentialsChanged:
            raise SsoFailed("Your account was changed just now.", code="sso_not_invited") from None


async def _invited(session: AsyncSession, identity: SignedInAs) -> User | None:
    """Who signed in before as this subject, else whoever was invited at this address and never did."""
    user = (await session.scalars(select(User).where(User.oidc_subject == identity.subject))).one_or_none()
    if user is None:
        user = await find_user(session, identity.email)
        if user is not None and user.oidc_subject is not None:
            return None
    return user if user is not None and user.disabled_at is None else None


async def _redeem(resources: Resources, attempt: OidcAttempt, code: str) -> SignedInAs:
    """Exchange the code and check the ID token; who it is for."""
    metadata = await _metadata(resources)
    settings = resources.settings
    token = await _token(resources, metadata, code, verifier=resources.unseal_text(attempt.verifier_sealed))
    claims = await _claims(resources, metadata, token, nonce=attempt.nonce)
    address, verified = claims.get(settings.oidc_email_claim), claims.get("email_verified")
    unsaid = address is None or (verified is None and not settings.oidc_trust_email)
    if unsaid and "userinfo_endpoint" in metadata:
        userinfo = await _userinfo(resources, metadata, token, subject=claims["sub"])
        named = userinfo.get(settings.oidc_email_claim)
        if address is None or str(named).casefold() == str(address).casefold():
            # what it says is about the address that it names, and about no other
            address, verified = named, userinfo.get("email_verified")
    return SignedInAs(
        subject=f"{settings.oidc_issuer}|{claims['sub']}",
        email=_vouched(address, verified, trusted=settings.oidc_trust_email),
    )


async def _userinfo(
    resources: Resources, metadata: dict[str, Any], token: dict[str, Any], *, subject: str
) -> dict[str, Any]:
    bearer = {"Authorization": f"Bearer {token.get('access_token', '')}"}
    userinfo = _object(
        await _ask(resources, "userinfo", "GET", metadata["userinfo_endpoint"], secret_headers=bearer)
    )
    if userinfo.get("sub") != subject:
        raise SsoFailed("The sign-in service contradicted itself.", code="sso_userinfo")
    return userinfo


def _vouched(address: Any, verified: Any, *, trusted: bool) -> str:
    """The address, if the issuer vouches for it.

    Microsoft Entra ID never says whether it verified one. An operator whose issuer is their own directory can trust what
    it says; what it calls unverified is not trusted then either.
    """
    if not isinstance(address, str) or "@" not in address:
        raise SsoFailed("The sign-in service did not tell your e-mail address.", code="sso_no_email")
    if verified in (True, "true") or (trusted and verified is None):
        return address
    raise SsoFailed(
        "The sign-in service has not verified your e-mail address.", code="sso_email_not_verified"
    )


async def _token(
    resources: Resources, metadata: dict[str, Any], code: str, *, verifier: str
) -> dict[str, Any]:
    settings = resources.settings
    assert settings.oidc_client_secret is not None
    methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
    body = prepare_token_request(
        "authorization_code", redirect_uri=redirect_uri(resources), code=code, code_verifier=verifier
    )
    client = [settings.oidc_client_id or "", settings.oidc_client_secret.get_secret_value()]
    if method == "client_secret_basic":
        # RFC 6749 2.3.1: form-encoded before they are joined by a colon
        client = [quote_plus(part) for part in client]
    auth = ClientAuth(client[0], client[1], method)
    url, headers, body = auth.prepare("POST", metadata["token_endpoint"], {}, body)
    answer = await _ask(resources, "token", "POST", url, secret_headers=headers, body=body.encode())
    return _object(answer)


async def _claims(
    resources: Resources, metadata: dict[str, Any], token: dict[str, Any], *, nonce: str
) -> dict[str, Any]:
    """The claims of the ID token, after its signature, issuer, audience, times and nonce were checked."""
    client_id = resources.settings.oidc_client_id
    keys = _object(await _ask(resources, "jwks", "GET", metadata["jwks_uri"]))
    try:
        key_set = KeySet.import_key_set(cast("KeySetSerialization", keys))
        signed = jwt.decode(str(token.get("id_token", "")), key_set, algorithms=ALGORITHMS)
        claims = CodeIDToken(
            signed.claims,
            signed.header,
            options={
                "iss": {"essential": True, "value": metadata["issuer"]},
                "aud": {"essential": True, "value": client_id},
                "nonce": {"essential": True, "value": nonce},
            },
            params={"nonce": nonce, "client_id": client_id, "access_token": token.get("access_token")},
        )
        claims.validate(leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        log.warning("sso_token_refused", detail_code=type(error).__name__)
        raise SsoFailed("The sign-in service's answer did not hold.", code="sso_token") from None
    return dict(claims)


async def _metadata(resources: Resources) -> dict[str, Any]:
    """The issuer's own description (OpenID Connect Discovery 1.0); read for each sign-in, so never outdated."""
    issuer = resources.settings.oidc_issuer
    if issuer is None:
        raise SsoFailed("Single sign-on is not set up here.", code="sso_not_configured")
    metadata = _object(await _ask(resources, "discovery", "GET", get_well_known_url(issuer, external=True)))
    endpoints = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
    if any(not isinstance(metadata.get(name), str) for name in endpoints):
        raise SsoFailed("The sign-in service's description is incomplete.", code="sso_metadata")
    if metadata["issuer"].rstrip("/") != issuer:
        raise SsoFailed("The sign-in service calls itself by another name.", code="sso_issuer")
    return metadata


async def _ask(
    resources: Resources,
    operation: str,
    method: str,
    url: str,
    *,
    secret_headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One call to the issuer or to an endpoint that it named; our secret goes to that endpoint only."""
    issuer = resources.settings.oidc_issuer or ""
    try:
        at_home = same_origin(parse_url(url), parse_url(issuer))
        return await resources.http.request(
            Call(
                upstream="oidc",
                operation=operation,
                method=method,
                url=url,
                # an endpoint on the issuer's own origin may use the port that the operator configured
                credentials=Credentials(base=url, headers=secret_headers or {}, configured=at_home),
                headers={"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {},
                content=body,
                limits=LIMITS,
            )
        )
    except UpstreamError as error:
        log.warning("sso_call_failed", operation=operation, detail_code=error.code, status=error.status)
        if error.status is not None and 400 <= error.status < 500:
            raise SsoFailed(
                f"The sign-in service answered our request with {error.status}. "
                "Please tell whoever runs this service.",
                code="sso_refused",
            ) from None
        raise SsoFailed("The sign-in service can't be reached just now.", code="sso_unavailable") from None


def _object(answer: Answer) -> dict[str, Any]:
    try:
        return answer.object()
    except UpstreamError as error:
        log.warning("sso_call_failed", operation=answer.call.operation, detail_code=error.code)
        raise SsoFailed("The sign-in service's answer can't be read.", code="sso_unavailable") from None
