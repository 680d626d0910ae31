"""Clarius's Research API (C17–C19), which has its own sign-in; must not download what it links to."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic import SecretStr

from app.accounts import AccountKind
from app.clients.clarius.client import API_PATH
from app.clients.clarius.models import RawCapture
from app.clients.http import Answer, Call, Credentials, Http
from app.clients.record import join, read_listed, segment
from app.errors import Forbidden, Rejected, RenewCredentials, StillProcessing

Syntax = Literal["jpeg lossless nonheirarchical process 14", "jpeg ls lossless"]  # spelled as Clarius does
Demographic = Literal[
    "PATIENT_NAME",
    "PATIENT_ID",
    "PATIENT_GENDER",
    "PATIENT_DATE_OF_BIRTH",
    "INSTITUTION_NAME",
    "INSTITUTION_ADDRESS",
    "OPERATOR_ID",
    "EXAM_DATE",
    "PROBE_MODEL",
    "APPLICATION",
    "ACOUSTIC_INDICES",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomOptions:
    """Parameters of C19; None leaves Clarius's default. `resolution` is `<n>x<n>`, `tz` an IANA name."""

    syntax: Syntax | None = None
    b_image_only: bool | None = None
    resolution: str | None = None
    include_annotations: bool | None = None
    include_demographics: bool | None = None
    include_measurements: bool | None = None
    include_scan_parameters: bool | None = None
    demographics: tuple[Demographic, ...] | None = None
    tz: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON body: only what was set."""
        options = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in options.items()
            if value is not None
        }


async def login(http: Http, *, base_url: str, username: str, password: SecretStr) -> SecretStr:
    """C17: a token for the Research API; `RenewCredentials` when the name or the password is wrong."""
    call = Call(
        upstream="clarius",
        operation="sign in for research",
        method="POST",
        url=join(base_url, f"{API_PATH}/token-auth/"),
        account=AccountKind.RESEARCH,
        credentials=Credentials(base_url, {}),
        effect=False,
        json={"username": username, "password": password.get_secret_value()},
    )
    try:
        answer = await http.request(call)
    except Rejected as error:
        if error.status != 400:
            raise
        raise RenewCredentials(
            "sign in for research: Clarius refused the name or the password",
            upstream="clarius",
            status=400,
            account=AccountKind.RESEARCH,
        ) from None
    token = answer.object().get("token")
    if not isinstance(token, str) or not token:
        raise call.undocumented("the answer holds no token", status=answer.status)
    return SecretStr(token)


class ClariusResearchClient:
    """`token` comes from `login`. A 403 here speaks of one exam and not of the token: it is `Forbidden`."""

    def __init__(self, http: Http, *, base_url: str, token: SecretStr) -> None:
        self._http = http
        self._base_url = base_url
        self._token = token

    async def _ask(self, operation: str, method: str, path: str, *, json: Any = None) -> Answer:
        call = Call(
            upstream="clarius",
            operation=operation,
            method=method,
            url=join(self._base_url, f"{API_PATH}/{path}"),
            account=AccountKind.RESEARCH,
            credentials=Credentials(
                self._base_url, {"Authorization": f"Token {self._token.get_secret_value()}"}
            ),
            # Asking for an export twice changes nothing that anybody keeps.
            effect=False,
            forbidden_is_credentials=False,
            json=json,
        )
        try:
            return await self._http.request(call)
        except Rejected as error:
            if error.status == 403:
                raise Forbidden(
                    error.message,
                    upstream="clarius",
                    status=403,
                    upstream_message=error.upstream_message,
                    fields=error.fields,
                    account=AccountKind.RESEARCH,
                ) from None
            # C19 answers 400 for wrong parameters too, and then names them.
            if error.status != 400 or error.fields:
                raise
            raise StillProcessing(
                f"{operation}: Clarius is still processing the exam",
                upstream="clarius",
                status=400,
                account=AccountKind.RESEARCH,
            ) from None

    async def raw_data(self, exam_id: UUID | str) -> list[RawCapture]:
        """C18: raw data of each capture; the links live 7 days. `StillProcessing`, `NotThere`, `Forbidden` (403)."""
        answer = await self._ask("read raw data", "GET", f"exams/rawdata/{segment(exam_id)}")
        return read_listed(RawCapture, answer.array(), answer.call)

    async def dicom(self, exam_id: UUID | str, options: DicomOptions | None = None) -> str:
        """C19: the URL (7 days) of the exam as DICOM. `StillProcessing`, `NotThere`, `Forbidden` (403), `Rejected` (parameters)."""
        body = (options or DicomOptions()).body()
        answer = await self._ask("request DICOM", "POST", f"exams/dicom/{segment(exam_id)}", json=body)
        url = answer.object().get("download_url")
        if not isinstance(url, str) or not url:
            raise answer.call.undocumented("the answer holds no download URL", status=answer.status)
        return url
