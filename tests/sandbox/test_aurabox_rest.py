"""A1–A15, over HTTP against the running sandbox."""

from datetime import UTC, datetime, timedelta

import pytest

PATIENT = {
    "given_names": "Ada Greta",
    "family_name": "Ashgrove",
    "date_of_birth": "1980-01-02",
    "sex": "female",
    "address": {"city": "Sydney", "postcode": "2000", "country": "au"},
}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
TODAY = datetime.now(UTC).date().isoformat()
NOBODY = "00000000-0000-4000-8000-000000000000"


async def test_the_key_is_wanted_and_chooses_the_team(sandbox, aurabox, stranger):
    made = (await aurabox.post("patients", json=PATIENT)).json()["data"]
    url = f"{sandbox.aurabox_url}/api/v1/patients"
    assert (await stranger.get(url)).status_code == 401
    wrong = await stranger.get(url, headers={"authorization": "Bearer wrong"})
    assert (wrong.status_code, wrong.json()) == (401, {"message": "Unauthenticated."})
    other = {"authorization": f"Bearer {sandbox.add_team('Other').key}"}
    assert (await aurabox.get("patients", headers=other)).json()["meta"]["total"] == 0
    for method in ("GET", "PUT", "DELETE"):
        assert (
            await aurabox.request(method, f"patients/{made['id']}", headers=other, json={})
        ).status_code == 404
    assert (await aurabox.get(f"patients/{made['id']}/studies", headers=other)).status_code == 404


async def test_a_patient_is_made_read_changed_and_deleted(sandbox, aurabox):
    made = await aurabox.post("patients", json={**PATIENT, "nickname": "A"})
    assert made.status_code == 201
    data = made.json()["data"]
    assert {k: data[k] for k in PATIENT} == PATIENT
    assert (data["status"], data["archived"], "nickname" in data) == ("active", False, False)
    assert (await aurabox.get(f"patients/{data['id']}")).json()["data"] == data
    changed = (await aurabox.put(f"patients/{data['id']}", json={"family_name": "Elmstead"})).json()["data"]
    assert (changed["family_name"], changed["given_names"]) == ("Elmstead", "Ada Greta")
    assert changed["updated_at"] > data["updated_at"]
    assert (await aurabox.put(f"patients/{data['id']}", json={"sex": ""})).status_code == 422
    deleted = await aurabox.delete(f"patients/{data['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    missing = await aurabox.get(f"patients/{data['id']}")
    assert (missing.status_code, missing.json()) == (404, {"message": "Not found"})
    kinds = [e.kind.rpartition(".")[2] for e in sandbox.journal.effects]
    assert kinds == ["create", "update", "delete"]
    assert {e.remote_id for e in sandbox.journal.effects} == {data["id"]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("given_names", None),
        ("given_names", "  "),
        ("given_names", "x" * 256),
        ("family_name", 7),
        ("date_of_birth", TODAY),
        ("date_of_birth", TOMORROW),
        ("date_of_birth", "1980-02-30"),
        ("date_of_birth", "02/01/1980"),
        ("sex", "F"),
        ("address", "Sydney"),
        ("address.postcode", "1" * 21),
        ("address.country", "aus"),
        ("address.city", "x" * 256),
    ],
)
async def test_each_patient_rule_is_enforced(sandbox, aurabox, field, value):
    head, _, tail = field.partition(".")
    body = {**PATIENT, head: {tail: value} if tail else value}
    answer = await aurabox.post("patients", json=body)
    assert answer.status_code == 422
    assert answer.json()["message"] == "The given data was invalid."
    assert list(answer.json()["errors"]) == [field]
    assert sandbox.journal.effects == []


async def test_every_missing_field_is_named_and_the_limits_are_allowed(aurabox):
    answer = await aurabox.post("patients", content=b"nonsense")
    assert set(answer.json()["errors"]) == {"given_names", "family_name", "date_of_birth", "sex"}
    assert answer.json()["errors"]["given_names"] == ["The given names field is required."]
    longest = {**PATIENT, "given_names": "x" * 255, "sex": "unknown"}
    assert (await aurabox.post("patients", json=longest)).status_code == 201


async def test_a_case_has_a_label_and_little_else(sandbox, aurabox):
    bare = (await aurabox.post("cases", json={"label": "CASE-1"})).json()["data"]
    assert (bare["label"], bare["status"]) == ("CASE-1", "deidentified")
    assert "given_names" not in bare
    full = {"label": "CASE-2", "sex": "male", "date_of_birth": "1970-01-01"}
    assert (await aurabox.post("cases", json=full)).status_code == 201
    wrongs = ({}, {"label": "x" * 256}, {**full, "sex": "m"}, {**full, "date_of_birth": TOMORROW})
    assert [(await aurabox.post("cases", json=wrong)).status_code for wrong in wrongs] == [422] * 4
    assert (await aurabox.put(f"cases/{bare['id']}", json={"label": "CASE-1b"})).json()["data"][
        "label"
    ] == "CASE-1b"
    assert (await aurabox.get(f"patients/{bare['id']}")).status_code == 404
    assert (await aurabox.get("patients")).json()["meta"]["total"] == 0
    found = (await aurabox.get("cases", params={"search": "case-1"})).json()["data"]
    assert [c["id"] for c in found] == [bare["id"]]
    assert (await aurabox.delete(f"cases/{bare['id']}")).status_code == 204


async def test_lists_page_as_laravel_does(aurabox):
    for number in range(5):
        await aurabox.post("patients", json={**PATIENT, "family_name": f"Ashgrove-{number}"})
    page = (await aurabox.get("patients", params={"per_page": 2})).json()
    meta = {k: page["meta"][k] for k in ("current_page", "from", "last_page", "per_page", "to", "total")}
    assert meta == {"current_page": 1, "from": 1, "last_page": 3, "per_page": 2, "to": 2, "total": 5}
    assert page["links"]["prev"] is None
    names = []
    while True:
        names += [p["family_name"] for p in page["data"]]
        if (following := page["links"]["next"]) is None:
            break
        page = (await aurabox.get(following)).json()
    assert names == [f"Ashgrove-{n}" for n in (4, 3, 2, 1, 0)]
    past = (await aurabox.get("patients", params={"page": 9})).json()
    assert (past["data"], past["meta"]["from"]) == ([], None)


async def test_lists_search_sort_and_hide_the_archived(sandbox, aurabox):
    for given, family in (("Ada", "Birchwood"), ("Bruno", "Ashgrove"), ("Chidi", "Dunmore")):
        await aurabox.post("patients", json={**PATIENT, "given_names": given, "family_name": family})

    async def names(**params):
        return [p["family_name"] for p in (await aurabox.get("patients", params=params)).json()["data"]]

    assert await names(sort="name") == ["Ashgrove", "Birchwood", "Dunmore"]
    assert await names(sort="name", direction="desc") == ["Dunmore", "Birchwood", "Ashgrove"]
    assert await names(search="ADA birch") == ["Birchwood"]
    assert await names(search="nobody") == []
    next(iter(sandbox.team().people.values())).archived = True
    assert await names(sort="name", archived="false") == ["Ashgrove", "Dunmore"]
    assert await names(archived="true") == ["Birchwood"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_page", "0"),
        ("per_page", "101"),
        ("per_page", "many"),
        ("page", "0"),
        ("search", "x" * 256),
        ("sort", "shoe_size"),
        ("direction", "up"),
        ("archived", "maybe"),
    ],
)
async def test_list_parameters_are_checked(aurabox, name, value):
    answer = await aurabox.get("patients", params={name: value})
    assert (answer.status_code, list(answer.json()["errors"])) == (422, [name])


@pytest.mark.parametrize("kind", ["patients", "cases"])
async def test_studies_below_a_patient_or_a_case(sandbox, aurabox, kind):
    body = PATIENT if kind == "patients" else {"label": "CASE-1"}
    owner = (await aurabox.post(kind, json=body)).json()["data"]["id"]
    path = f"patients/{owner}/studies"
    fields = {"study_instance_uid": "2.25.77", "modality": "US", "anything": {"nested": [1]}}
    made = await aurabox.post(path, json=fields)
    assert made.status_code == 201
    study = made.json()["data"]
    assert {k: study[k] for k in fields} == fields
    assert (await aurabox.get(f"{path}/{study['id']}")).json()["data"] == study
    assert (await aurabox.get(path)).json()["data"] == [study]
    assert (await aurabox.get(path, params={"search": "2.25.77"})).json()["meta"]["total"] == 1
    assert (await aurabox.get(path, params={"search": "2.25.78"})).json()["meta"]["total"] == 0
    changed = (await aurabox.put(f"{path}/{study['id']}", json={"modality": "OT"})).json()["data"]
    assert (changed["modality"], changed["anything"]) == ("OT", {"nested": [1]})
    created = sandbox.journal.effects_of("aurabox.study.create")
    assert [e.natural_key for e in created] == [f"{owner}/2.25.77"]
    assert (await aurabox.get(f"patients/{NOBODY}/studies/{study['id']}")).status_code == 404
    assert (await aurabox.post(f"patients/{NOBODY}/studies", json=fields)).status_code == 404
    assert (await aurabox.post(path, json={})).status_code == 422
    assert (await aurabox.delete(f"{path}/{study['id']}")).status_code == 204
    assert (await aurabox.get(f"{path}/{study['id']}")).status_code == 404
