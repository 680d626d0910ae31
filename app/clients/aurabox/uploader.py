"""Aurabox's uploader API (path 1 for images): sign-in, configuration and an upload's lifecycle; sends no image bytes.

The vendor's limits, in calls a minute: exchange 10, config 30, lifecycle 60. The sign-in is kept until shortly
before it expires, in a `SignIns` that outlives the clients made for each exam.
"""

import asyncio
import email.utils
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from app.clients.aurabox.signer import sign
from app.clients.http import Answer, Call, Credentials, Http, parse_url
from app.clients.record import join
from app.errors import RenewCredentials

TTL_SECONDS = 3600
RENEW_BEFORE_EXPIRY_SECONDS = 120.0
SCOPES = ("upload:init", "upload:manage", "integration:read")
UPLOAD_MODE = "uploader"


@dataclass(frozen=True, slots=True)
class SignIn:
    """A bearer token and until when (clock seconds of the `SignIns` that holds it) it is used."""

    token: SecretStr
    until: float


class SignIns:
    """The sign-ins of a process, by account; one lock each, so that a burst of exams signs in once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._held: dict[str, SignIn] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def lock(self, account: str) -> asyncio.Lock:
        """Held while an account signs in."""
        return self._locks.setdefault(account, asyncio.Lock())

    def get(self, account: str) -> SignIn | None:
        """The sign-in, unless it is about to expire."""
        held = self._held.get(account)
        return held if held is not None and self.clock() < held.until else None

    def put(self, account: str, sign_in: SignIn) -> None:
        """Keep a sign-in in place of the one held before."""
        self._held[account] = sign_in

    def drop(self, account: str, token: SecretStr) -> None:
        """Forget a token that was refused, if it is still the one held."""
        held = self._held.get(account)
        if held is not None and held.token == token:
            del self._held[account]


@dataclass(frozen=True, slots=True)
class Integration:
    """Who signs: the integration partner's id and secret, and the team's service API key."""

    app_id: str
    app_secret: SecretStr
    service_key: SecretStr


@dataclass(frozen=True, slots=True)
class Lift:
    """Where and with which token the bytes go (Tus)."""

    endpoint: str
    token: SecretStr
    bucket: str

    @property
    def credentials(self) -> Credentials:
        """The token, for the endpoint's origin only. The upstream named it, so it must be https on port 443."""
        bearer = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        return Credentials(self.endpoint, bearer, configured=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """What `init` says of a study. `study_date` is `YYYYMMDD`, `study_time` `HHMMSS`, as in DICOM."""

    study_uid: str
    patient_name: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    institution_name: str = ""
    modalities: tuple[str, ...] = ("US",)
    series_count: int = 0
    images: int = 0
    series: Mapping[str, Any] = field(default_factory=dict)


def _lifetime_seconds(expires_at: Any, answer: Answer) -> float:
    """How long a token lives, by the server's own clock; `TTL_SECONDS`, which was asked for, when it does not say."""
    try:
        until = datetime.fromisoformat(str(expires_at))
        now = email.utils.parsedate_to_datetime(answer.headers["date"])
        seconds = (until - now).total_seconds()
    except (ValueError, TypeError, KeyError):
        return TTL_SECONDS
    return min(max(seconds, 0.0), float(TTL_SECONDS))


class UploaderClient:
    """One per organisation. A lost answer of a lifecycle call is `LookFirst`; each may be sent again with its id."""

    def __init__(
        self,
        http: Http,
        *,
        base_url: str,
        integration: Integration,
        account: str,
        sign_ins: SignIns,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._base_url = base_url
        self._integration = integration
        self._account = account
        self._sign_ins = sign_ins
        self._now = now

    def _call(
        self, operation: str, method: str, path: str, *, secrets: Mapping[str, str], **more: Any
    ) -> Call:
        return Call(
            upstream="aurabox",
            operation=operation,
            method=method,
            url=join(self._base_url, f"api/{path}"),
            account=self._account,
            credentials=Credentials(self._base_url, secrets),
            **more,
        )

    async def _exchange(self) -> SignIn:
        """`POST auth/exchange`, signed. Nothing but a token comes of it, so it may be repeated."""
        body = json.dumps({"ttl": TTL_SECONDS, "scopes": SCOPES}, separators=(",", ":")).encode()
        url = parse_url(join(self._base_url, "api/auth/exchange"))
        content_type = "application/json"
        signature = sign(
            app_id=self._integration.app_id,
            app_secret=self._integration.app_secret.get_secret_value(),
            method="POST",
            target=url.raw_path.decode("ascii"),
            headers={"Host": url.netloc.decode("ascii"), "Content-Type": content_type},
            body=body,
            timestamp=int(self._now()),
            nonce=str(uuid.uuid4()),
        )
        key = {"X-Api-Key": self._integration.service_key.get_secret_value()}
        call = self._call(
            "auth/exchange",
            "POST",
            "auth/exchange",
            secrets={**signature.headers, **key},
            effect=False,
            content=body,
            headers={"Content-Type": content_type},
        )
        answer = await self._http.request(call)
        value = answer.object()
        token = value.get("token")
        if not isinstance(token, str) or not token:
            raise call.undocumented("the answer holds no token", status=answer.status)
        lifetime = _lifetime_seconds(value.get("expires_at"), answer)
        until = self._sign_ins.clock() + max(lifetime - RENEW_BEFORE_EXPIRY_SECONDS, 0.0)
        return SignIn(SecretStr(token), until)

    async def _token(self) -> SecretStr:
        async with self._sign_ins.lock(self._account):
            held = self._sign_ins.get(self._account)
            if held is None:
                held = await self._exchange()
                self._sign_ins.put(self._account, held)
            return held.token

    async def _ask(self, operation: str, method: str, *, json: Any = None) -> Answer:
        """A call with the token; a refused token is exchanged for a new one once. A 401 has had no effect."""
        for last in (False, True):
            token = await self._token()
            secrets = {
                "Authorization": f"Bearer {token.get_secret_value()}",
                "X-Api-Key": self._integration.service_key.get_secret_value(),
            }
            try:
                return await self._http.request(
                    self._call(operation, method, operation, secrets=secrets, json=json)
                )
            except RenewCredentials as error:
                self._sign_ins.drop(self._account, token)
                if last or error.status != 401:
                    raise
        raise AssertionError("the second attempt returns or raises")

    async def lift(self) -> Lift:
        """`GET uploader/config`: where the bytes go, with a token of their own."""
        answer = await self._ask("uploader/config", "GET")
        lift = answer.object().get("lift")
        if not isinstance(lift, dict) or not all(
            isinstance(lift.get(name), str) and lift[name] for name in ("endpoint", "token", "bucket")
        ):
            raise answer.call.undocumented("the answer does not say where to upload", status=answer.status)
        return Lift(lift["endpoint"], SecretStr(lift["token"]), lift["bucket"])

    async def init(
        self,
        upload_id: uuid.UUID,
        studies: Sequence[StudySummary],
        *,
        patient_id: str | None,
        context: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """`POST uploader/upload/init`: announce an upload; gives Aurabox's study ids, as far as it tells them."""
        body = {
            "upload_id": str(upload_id),
            "studies": {study.study_uid: asdict(study) for study in studies},
            "mode": "bulk",
            "type": UPLOAD_MODE,
            "source": "sonobridge",
            "patient_id": patient_id,
            "context": dict(context or {}),
        }
        answer = await self._ask("uploader/upload/init", "POST", json=body)
        value = answer.object().get("studies")
        entries = value if isinstance(value, list) else []
        return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and entry.get("id")]

    async def start(self, upload_id: uuid.UUID, assembly_id: str) -> None:
        """`POST uploader/upload/start`: bytes are about to come."""
        await self._tell("start", upload_id, assembly_id=assembly_id)

    async def complete(self, upload_id: uuid.UUID, assembly_id: str) -> None:
        """`POST uploader/upload/complete`: all bytes are there."""
        await self._tell("complete", upload_id, assembly_id=assembly_id)

    async def error(self, upload_id: uuid.UUID, message: str) -> None:
        """`POST uploader/upload/error`: the upload failed for good."""
        await self._tell("error", upload_id, message=message)

    async def cancel(self, upload_id: uuid.UUID) -> None:
        """`POST uploader/upload/cancel`: a person called it off."""
        await self._tell("cancel", upload_id)

    async def _tell(self, what: str, upload_id: uuid.UUID, **more: str) -> None:
        body = {"upload_id": str(upload_id), **more, "mode": UPLOAD_MODE}
        await self._ask(f"uploader/upload/{what}", "POST", json=body)
