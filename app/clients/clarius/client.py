"""Clarius's Service API (C1–C16), one typed method for each call; must not decide what follows from an answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from app.accounts import AccountKind
from app.clients.clarius.models import (
    Annotation,
    ApiKey,
    Application,
    CustomisedApplication,
    ExamData,
    ExamNotice,
    NewApiKey,
    NotificationRecord,
    ServiceSettings,
)
from app.clients.clarius.paging import result_pages
from app.clients.http import Answer, Call, Credentials, Http
from app.clients.record import join, read_listed, read_record, segment

API_PATH = "api/public/v0"
EXAMS_PER_PAGE = 100
TOKENS_PER_PAGE = 10_000
RECORDS_PER_PAGE = 100


class ClariusClient:
    """Every method raises from the tree in `app.errors`; 401 and 403 are `RenewCredentials`, 429 is `SlowDown`.

    The key is the installation's: errors and observations name the one account `clarius`.
    """

    def __init__(self, http: Http, *, base_url: str, api_key: SecretStr) -> None:
        self._http = http
        self._base_url = base_url
        self._api_key = api_key

    @property
    def credentials(self) -> Credentials:
        """The key as a header for Clarius's own origin; media on that origin need it too."""
        key = self._api_key.get_secret_value()
        return Credentials(self._base_url, {"Authorization": f"Service-API-Key {key}"})

    def _call(self, operation: str, method: str, path: str, **more: Any) -> Call:
        return Call(
            upstream="clarius",
            operation=operation,
            method=method,
            url=join(self._base_url, f"{API_PATH}/{path}"),
            account=AccountKind.CLARIUS,
            credentials=self.credentials,
            **more,
        )

    async def _ask(self, operation: str, method: str, path: str, **more: Any) -> Answer:
        return await self._http.request(self._call(operation, method, path, **more))

    async def accessible_exam_pages(
        self, *, customer_id: str | None = None, limit: int = EXAMS_PER_PAGE, offset: int = 0
    ) -> AsyncIterator[list[ExamNotice]]:
        """C1: the exams that may be downloaded, newest first, page by page, beginning with the one at `offset`."""
        params: dict[str, str | int] = {"limit": limit, "offset": offset}
        if customer_id is not None:
            params["customer_id"] = customer_id
        call = self._call("list exams", "GET", "exams/accessible/", params=params)
        async for items in result_pages(self._http, call):
            yield read_listed(ExamNotice, items, call)

    async def accessible_exams(
        self, *, customer_id: str | None = None, limit: int = EXAMS_PER_PAGE
    ) -> AsyncIterator[ExamNotice]:
        """C1: the exams that may be downloaded, newest first, one by one."""
        async for page in self.accessible_exam_pages(customer_id=customer_id, limit=limit):
            for notice in page:
                yield notice

    async def exam_data(self, download_url: str) -> ExamData:
        """C2: the exam data at the URL that Clarius gave. `NotThere` when it is gone; `BadAnswer` unless an object."""
        call = Call(
            upstream="clarius",
            operation="read exam data",
            method="GET",
            url=download_url,
            account=AccountKind.CLARIUS,
            credentials=self.credentials,
        )
        return ExamData.from_raw((await self._http.request(call)).object())

    async def confirm_customer(self, token: str) -> None:
        """C3: tell Clarius that the token is linked. `NotThere` when there is no such customer."""
        await self._ask("confirm customer", "POST", "services/customer-confirmations/", json={"token": token})

    async def confirmed_tokens(self, *, limit: int = TOKENS_PER_PAGE) -> AsyncIterator[str]:
        """C4: the tokens of all confirmed users."""
        call = self._call(
            "list confirmed tokens", "GET", "services/confirmed-tokens/", params={"limit": limit, "offset": 0}
        )
        async for items in result_pages(self._http, call):
            for item in items:
                if isinstance(item, str) and item:
                    yield item

    async def upload_report(
        self, request_uuid: UUID | str, *, name: str, filename: str, content: bytes, content_type: str
    ) -> None:
        """C5: put a report file onto the exam of a request; `name` is shown to the user."""
        await self._ask(
            "upload report",
            "POST",
            f"services/requests/{segment(request_uuid)}/reports/",
            data={"name": name},
            files={"file": (filename, content, content_type)},
        )

    async def settings(self) -> ServiceSettings:
        """C6: the URLs that are registered."""
        answer = await self._ask("read settings", "GET", "services/settings/")
        return read_record(ServiceSettings, answer.object(), answer.call)

    async def update_settings(
        self, *, notification_url: str | None = None, token_transfer_url: str | None = None
    ) -> ServiceSettings:
        """C7: change the URLs: None leaves one as it is, "" clears it. Gives what is registered afterwards."""
        urls = {"notification_url": notification_url, "token_transfer_url": token_transfer_url}
        body = {name: url for name, url in urls.items() if url is not None}
        await self._ask("change settings", "PATCH", "services/settings/", json=body)
        # What C7 answers is not documented, so the truth is read back.
        return await self.settings()

    async def notification_records(
        self, *, limit: int = RECORDS_PER_PAGE
    ) -> AsyncIterator[NotificationRecord]:
        """C8: Clarius's log of its webhook calls, of the last 14 days."""
        call = self._call(
            "list notifications",
            "GET",
            "services/notifications/records/",
            params={"limit": limit, "offset": 0},
        )
        async for items in result_pages(self._http, call):
            for record in read_listed(NotificationRecord, items, call):
                yield record

    async def api_keys(self) -> list[ApiKey]:
        """C9: the API keys, without their secrets."""
        answer = await self._ask("list API keys", "GET", "services/api-keys/")
        return read_listed(ApiKey, answer.array(), answer.call)

    async def create_api_key(self, name: str) -> NewApiKey:
        """C10: a new API key; its secret is never shown again. `LookFirst` when it may exist without us knowing it."""
        answer = await self._ask("create API key", "POST", "services/api-keys/", json={"name": name})
        return read_record(NewApiKey, answer.object(), answer.call)

    async def revoke_api_key(self, prefix: str) -> None:
        """C11: revoke a key; Clarius refuses that for the key in use (`Rejected`)."""
        await self._ask(
            "revoke API key",
            "DELETE",
            f"services/api-keys/{segment(prefix)}/",
            forbidden_is_credentials=False,
        )

    async def applications(self) -> list[Application]:
        """C12: the exam applications on Clarius Cloud."""
        answer = await self._ask("list applications", "GET", "exams/applications/")
        return read_listed(Application, answer.array(), answer.call)

    async def customised_applications(self) -> list[CustomisedApplication]:
        """C13: the applications that we customised."""
        answer = await self._ask("list annotated applications", "GET", "services/applications/")
        return read_listed(CustomisedApplication, answer.array(), answer.call)

    async def customised_application(self, uuid: UUID | str) -> CustomisedApplication:
        """C14: one application with our annotations; `NotThere` when we have none for it."""
        answer = await self._ask("read annotations", "GET", f"services/applications/{segment(uuid)}/")
        return read_record(CustomisedApplication, answer.object(), answer.call)

    async def customise_application(self, uuid: UUID | str, annotations: Sequence[Annotation]) -> None:
        """C15: replace our annotations for an application."""
        body = {"annotations": [item.model_dump(mode="json") for item in annotations]}
        await self._ask("replace annotations", "PUT", f"services/applications/{segment(uuid)}/", json=body)

    async def remove_customisation(self, uuid: UUID | str) -> None:
        """C16: remove our annotations for an application."""
        await self._ask("remove annotations", "DELETE", f"services/applications/{segment(uuid)}/")
