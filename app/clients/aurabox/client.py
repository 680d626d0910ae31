"""Aurabox's REST API (A1–A15), one typed method for each call; must not decide what follows from an answer.

Aurabox has no idempotency keys: a create that ends in `LookFirst` may have happened.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import SecretStr

from app.clients.aurabox.models import Case, CaseFields, Patient, PatientFields, Study
from app.clients.aurabox.paging import Listing
from app.clients.http import Answer, Call, Credentials, Http
from app.clients.record import R, join, read_record, segment

MAX_PER_PAGE = 100

Direction = Literal["asc", "desc"]
PatientSort = Literal["name", "created_at", "updated_at", "date_of_birth"]
CaseSort = Literal["label", "created_at", "updated_at", "date_of_birth"]


def _list_params(
    *, search: str | None, per_page: int, sort: str | None, direction: str | None, archived: bool | None
) -> dict[str, str | int]:
    params: dict[str, str | int] = {"per_page": per_page}
    filters = {"search": search, "sort": sort, "direction": direction}
    params.update({name: value for name, value in filters.items() if value is not None})
    if archived is not None:
        params["archived"] = "true" if archived else "false"
    return params


def _single(answer: Answer, model: type[R]) -> R:
    """Single things come as `{"data": {…}}`; a bare object is read too."""
    value = answer.object()
    inner = value.get("data")
    return read_record(model, inner if isinstance(inner, dict) else value, answer.call)


class AuraboxClient:
    """One per organisation: the key is scoped to one team. Every method raises from the tree in `app.errors`."""

    def __init__(self, http: Http, *, base_url: str, api_key: SecretStr, account: str) -> None:
        self._http = http
        self._base_url = base_url
        self._api_key = api_key
        self._account = account

    def _call(self, operation: str, method: str, path: str, **more: Any) -> Call:
        return Call(
            upstream="aurabox",
            operation=operation,
            method=method,
            url=join(self._base_url, f"api/v1/{path}"),
            account=self._account,
            credentials=Credentials(
                self._base_url, {"Authorization": f"Bearer {self._api_key.get_secret_value()}"}
            ),
            **more,
        )

    async def _ask(self, operation: str, method: str, path: str, *, json: Any = None) -> Answer:
        return await self._http.request(self._call(operation, method, path, json=json))

    def patients(
        self,
        *,
        search: str | None = None,
        per_page: int = MAX_PER_PAGE,
        sort: PatientSort | None = None,
        direction: Direction | None = None,
        archived: bool | None = None,
    ) -> Listing[Patient]:
        """A1: the team's patients. `search` at most 255 characters, `per_page` 1 to 100."""
        params = _list_params(
            search=search, per_page=per_page, sort=sort, direction=direction, archived=archived
        )
        return Listing(self._http, self._call("list patients", "GET", "patients", params=params), Patient)

    async def create_patient(self, fields: PatientFields) -> Patient:
        """A2: a new patient. `Rejected` with `fields` when a value is refused; `LookFirst` when it may exist."""
        return _single(await self._ask("create patient", "POST", "patients", json=fields.body()), Patient)

    async def patient(self, patient_id: str) -> Patient:
        """A3: the patient; `NotThere` when the team has none with this id."""
        return _single(await self._ask("read patient", "GET", f"patients/{segment(patient_id)}"), Patient)

    async def update_patient(self, patient_id: str, fields: PatientFields) -> Patient:
        """A4: change a patient; only the fields that are set."""
        answer = await self._ask(
            "replace patient", "PUT", f"patients/{segment(patient_id)}", json=fields.body()
        )
        return _single(answer, Patient)

    async def delete_patient(self, patient_id: str) -> None:
        """A5: delete a patient; `NotThere` when it is gone already."""
        await self._ask("delete patient", "DELETE", f"patients/{segment(patient_id)}")

    def cases(
        self,
        *,
        search: str | None = None,
        per_page: int = MAX_PER_PAGE,
        sort: CaseSort | None = None,
        direction: Direction | None = None,
        archived: bool | None = None,
    ) -> Listing[Case]:
        """A6: the team's cases; `search` looks in the label."""
        params = _list_params(
            search=search, per_page=per_page, sort=sort, direction=direction, archived=archived
        )
        return Listing(self._http, self._call("list cases", "GET", "cases", params=params), Case)

    async def create_case(self, fields: CaseFields) -> Case:
        """A7: a new case. `Rejected` with `fields` when a value is refused; `LookFirst` when it may exist."""
        return _single(await self._ask("create case", "POST", "cases", json=fields.body()), Case)

    async def case(self, case_id: str) -> Case:
        """A8: the case; `NotThere` when the team has none with this id."""
        return _single(await self._ask("read case", "GET", f"cases/{segment(case_id)}"), Case)

    async def update_case(self, case_id: str, fields: CaseFields) -> Case:
        """A9: change a case; only the fields that are set."""
        return _single(
            await self._ask("replace case", "PUT", f"cases/{segment(case_id)}", json=fields.body()), Case
        )

    async def delete_case(self, case_id: str) -> None:
        """A10: delete a case; `NotThere` when it is gone already."""
        await self._ask("delete case", "DELETE", f"cases/{segment(case_id)}")

    def studies(self, patient_id: str) -> Listing[Study]:
        """A11: the studies of a patient or case; no order can be asked for."""
        return Listing(
            self._http, self._call("list studies", "GET", f"patients/{segment(patient_id)}/studies"), Study
        )

    async def create_study(self, patient_id: str, fields: Mapping[str, Any]) -> Study:
        """A12: a new study under a patient or case; the field names are each team's own."""
        answer = await self._ask(
            "create study", "POST", f"patients/{segment(patient_id)}/studies", json=dict(fields)
        )
        return _single(answer, Study)

    async def study(self, patient_id: str, study_id: str) -> Study:
        """A13: the study of a patient or case; `NotThere` when there is none with this id."""
        path = f"patients/{segment(patient_id)}/studies/{segment(study_id)}"
        return _single(await self._ask("read study", "GET", path), Study)

    async def update_study(self, patient_id: str, study_id: str, fields: Mapping[str, Any]) -> Study:
        """A14: change a study; only the given fields are sent."""
        path = f"patients/{segment(patient_id)}/studies/{segment(study_id)}"
        return _single(await self._ask("replace study", "PUT", path, json=dict(fields)), Study)

    async def delete_study(self, patient_id: str, study_id: str) -> None:
        """A15: delete a study; `NotThere` when it is gone already."""
        await self._ask(
            "delete study", "DELETE", f"patients/{segment(patient_id)}/studies/{segment(study_id)}"
        )
