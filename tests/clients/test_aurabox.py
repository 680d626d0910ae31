"""Every Aurabox call against its recorded payload, every documented status, and Laravel's pages."""

import datetime as dt

import pytest
from pydantic import SecretStr, ValidationError

from app.clients.aurabox import Address, AuraboxClient, CaseFields, PatientFields
from app.errors import (
    BadAnswer,
    LookFirst,
    Misuse,
    NotAllowed,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    TryLater,
    UpstreamError,
)
from tests.clients.names import NAMES
from tests.clients.peer import Reply, json_reply

KEY = "invented-aurabox-key"
PATIENT = "003fb6c7-a399-46de-8199-ac51e031bd10"
CASE = "0f0e6a51-6b0c-4f5e-8f2e-5d1f5f3f7a10"
STUDY = "11c1a0de-0a70-4f7a-9f25-0f3b5ac0a001"
STUDY_FIELDS = {"study_instance_uid": "2.25.91057123456789", "modality": "US", "description": "Ultrasound"}


async def all_of(items):
    return [item async for item in items]


CALLS = {
    "A1": lambda c: all_of(c.patients(search="Jones", sort="name", direction="asc", archived=False)),
    "A2": lambda c: c.create_patient(
        PatientFields(
            given_names="Jessica",
            family_name="Jones",
            date_of_birth=dt.date(1985, 6, 15),
            sex="female",
            address=Address(
                street="123 Main Street", city="Sydney", region="NSW", postcode="2000", country="au"
            ),
        )
    ),
    "A3": lambda c: c.patient(PATIENT),
    "A4": lambda c: c.update_patient(PATIENT, PatientFields(family_name="Jones")),
    "A5": lambda c: c.delete_patient(PATIENT),
    "A6": lambda c: all_of(c.cases(search="CASE-00142", per_page=25)),
    "A7": lambda c: c.create_case(
        CaseFields(label="CASE-00142", sex="female", date_of_birth=dt.date(1985, 6, 15))
    ),
    "A8": lambda c: c.case(CASE),
    "A9": lambda c: c.update_case(CASE, CaseFields(label="CASE-00142")),
    "A10": lambda c: c.delete_case(CASE),
    "A11": lambda c: all_of(c.studies(PATIENT)),
    "A12": lambda c: c.create_study(PATIENT, STUDY_FIELDS),
    "A13": lambda c: c.study(PATIENT, STUDY),
    "A14": lambda c: c.update_study(PATIENT, STUDY, {"description": "Ultrasound"}),
    "A15": lambda c: c.delete_study(PATIENT, STUDY),
}
READS = {"A1", "A3", "A6", "A8", "A11", "A13"}
CREATES = {"A2", "A7", "A12"}
DELETES = {"A5", "A10", "A15"}


def client(http, base):
    return AuraboxClient(http, base_url=base, api_key=SecretStr(KEY), account="clinic")


async def ask(http, peer, recorded, operation):
    exchange = recorded(f"aurabox/{operation}")
    peer.answer(exchange.reply())
    return exchange, await CALLS[operation](client(http, peer.url))


@pytest.mark.parametrize("operation", CALLS)
async def test_each_call_is_made_as_recorded_and_keeps_unknown_fields(
    http, peer, recorded, observed, operation
):
    exchange, result = await ask(http, peer, recorded, operation)
    exchange.check(peer)
    assert {seen.operation for seen in observed} == {NAMES[operation]}
    assert len(peer.seen) == 1
    headers = peer.seen[0].headers
    assert (headers["authorization"], headers["accept"]) == (f"Bearer {KEY}", "application/json")
    if operation in DELETES:
        assert result is None
    else:
        (thing,) = result if isinstance(result, list) else [result]
        assert thing.model_extra["new_field"] == 1
        data = exchange.answer["data"]
        assert thing.id == (data[0] if isinstance(data, list) else data)["id"]


async def test_a_patient_is_read_and_not_shown_in_a_repr(http, peer, recorded):
    _, patient = await ask(http, peer, recorded, "A3")
    assert (patient.given_names, patient.family_name, patient.sex) == ("Jessica", "Jones", "female")
    assert (patient.date_of_birth, patient.archived) == (dt.date(1985, 6, 15), False)
    assert patient.created_at == dt.datetime(2025, 1, 15, 10, 30, tzinfo=dt.UTC)
    assert f"{patient!r}" == f"Patient(id='{PATIENT}')"
    assert "Jones" not in str(patient)
    fields = PatientFields(given_names="Canary", family_name="Jones")
    assert "Canary" not in f"{fields!r}{fields}"


async def test_a_wrong_sex_is_refused_without_showing_the_rest():
    with pytest.raises(ValidationError) as caught:
        PatientFields.model_validate({"given_names": "Canary", "sex": "canary"})
    assert "canary" not in str(caught.value).lower()


async def test_a_study_gives_all_its_fields(http, peer, recorded):
    _, study = await ask(http, peer, recorded, "A13")
    assert study.fields == {**STUDY_FIELDS, "new_field": 1}


@pytest.mark.parametrize("operation", sorted((READS | CREATES) - {"A1", "A6", "A11"}))
async def test_a_bare_object_is_read_too(http, peer, recorded, operation):
    exchange = recorded(f"aurabox/{operation}")
    peer.answer(json_reply(exchange.answer["data"], exchange.status))
    thing = await CALLS[operation](client(http, peer.url))
    assert thing.id == exchange.answer["data"]["id"]


@pytest.mark.parametrize("operation", sorted(CREATES))
@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"data": {"given_names": "canary"}}', b"[]", b""])
async def test_a_create_answered_with_nonsense_may_have_happened(http, peer, operation, body):
    peer.answer(Reply(201, body))
    with pytest.raises(LookFirst) as caught:
        await CALLS[operation](client(http, peer.url))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("operation", sorted(READS))
@pytest.mark.parametrize("body", [b"<html>", b"3", b'{"data": 3}', b'{"data": [{"label": "canary"}]}'])
async def test_a_read_answered_with_nonsense_is_a_bad_answer(http, peer, operation, body):
    peer.answer(Reply(200, body))
    with pytest.raises(BadAnswer) as caught:
        await CALLS[operation](client(http, peer.url))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("status", "read", "write"),
    [
        (401, RenewCredentials, RenewCredentials),
        (403, RenewCredentials, RenewCredentials),
        (404, NotThere, NotThere),
        (422, Rejected, Rejected),
        (429, SlowDown, SlowDown),
        (500, TryLater, LookFirst),
        (502, TryLater, LookFirst),
    ],
)
async def test_each_call_meets_each_status(http, peer, operation, status, read, write):
    peer.answer(json_reply({"message": "words of Aurabox"}, status))
    with pytest.raises(UpstreamError) as caught:
        await CALLS[operation](client(http, peer.url))
    error = caught.value
    assert type(error) is (read if operation in READS else write)
    assert (error.upstream, error.status, error.account) == ("aurabox", status, "clinic")
    assert error.words == "words of Aurabox"
    assert "words of Aurabox" not in str(error)
    assert KEY not in f"{error!r}{error}"


async def test_a_422_keeps_laravels_field_errors_without_what_was_sent(http, peer):
    peer.answer(
        json_reply(
            {
                "message": "The given data was invalid for Jessica JONES.",
                "errors": {
                    "date_of_birth": ["The date of birth must be before today, not 1985-06-15."],
                    "given_names": ["Too long.", "Not a name."],
                },
            },
            422,
        )
    )
    with pytest.raises(Rejected) as caught:
        await CALLS["A2"](client(http, peer.url))
    assert caught.value.code == "aurabox_rejected"
    assert caught.value.fields == {
        "date_of_birth": ["The date of birth must be before today, not …."],
        "given_names": ["Too long.", "Not a name."],
    }
    assert "jessica" not in caught.value.words.lower()
    assert "jones" not in caught.value.words.lower()
    assert "The given data was invalid" in caught.value.words
    assert str(caught.value) == (
        "create patient: Aurabox answered 422 (date_of_birth is not a date in the range that is taken; given_names is too long)"
    )


def page(base, number, last, item, *, following=None, meta=True):
    answer = {"data": [item], "links": {"first": None, "last": None, "prev": None, "next": following}}
    if meta:
        answer["meta"] = {"current_page": number, "last_page": last, "per_page": 1, "total": last}
    return json_reply(answer)


async def test_pages_are_followed_and_keep_the_search_that_laravel_drops(http, peer):
    peer.answer(
        page(peer.url, 1, 2, {"id": "one"}, following=f"{peer.url}/api/v1/patients?page=2"),
        page(peer.url, 2, 2, {"id": "two"}),
    )
    found = await all_of(client(http, peer.url).patients(search="Jones", per_page=1))
    assert [patient.id for patient in found] == ["one", "two"]
    assert peer.seen[1].query == {"search": "Jones", "per_page": "1", "page": "2"}
    assert peer.seen[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("told_by", ["link", "number", "both"])
async def test_a_flat_paginator_is_read_to_its_end(http, peer, told_by):
    def handler(seen):
        number = int(seen.query.get("page", "1"))
        flat = {"data": [{"id": number}]}
        if told_by != "number":
            following = f"{peer.url}/api/v1/cases?page={number + 1}" if number < 3 else None
            flat["next_page_url"] = following
        if told_by != "link":
            flat |= {"current_page": number, "last_page": 3}
        return json_reply(flat)

    peer.handler = handler
    assert [case.id for case in await all_of(client(http, peer.url).cases())] == ["1", "2", "3"]


async def test_pages_without_links_are_counted(http, peer):
    def handler(seen):
        number = int(seen.query.get("page", "1"))
        return json_reply({"data": [{"id": number}], "meta": {"current_page": number, "last_page": 3}})

    peer.handler = handler
    assert [case.id for case in await all_of(client(http, peer.url).cases())] == ["1", "2", "3"]


async def test_a_bare_list_is_read_too(http, peer):
    peer.answer(json_reply([{"id": "one"}]))
    assert [study.id for study in await all_of(client(http, peer.url).studies(PATIENT))] == ["one"]


async def test_a_next_page_at_another_place_is_refused_without_dialling_it(http, peer, other):
    peer.answer(page(peer.url, 1, 2, {"id": "one"}, following=f"{other.url}/api/v1/patients?page=2"))
    with pytest.raises(NotAllowed):
        await all_of(client(http, peer.url).patients())
    assert other.dialled == 0


async def test_pages_that_run_in_a_circle_are_cut(http, peer):
    peer.answer(page(peer.url, 1, 2, {"id": "one"}, following=f"{peer.url}/api/v1/patients?page=1"))
    with pytest.raises(TryLater) as caught:
        await all_of(client(http, peer.url).patients())
    assert caught.value.code == "aurabox_pages_loop"


def paged(lists, *, per_page=2):
    """A peer's handler that serves one reading after the other from these lists of ids, the last one for ever."""
    readings = iter(lists)
    current = []

    def handler(seen):
        number = int(seen.query.get("page", "1"))
        if number == 1:
            current[:] = next(readings, current)
        last = max(1, -(-len(current) // per_page))
        shown = current[(number - 1) * per_page : number * per_page]
        return json_reply(
            {"data": [{"id": one} for one in shown], "meta": {"current_page": number, "last_page": last}}
        )

    return handler


async def found_in(http, peer, *lists, wanted):
    peer.handler = paged(lists)
    return await client(http, peer.url).patients().find(lambda patient: patient.id in wanted)


async def test_a_list_of_one_page_is_read_once(http, peer):
    assert await found_in(http, peer, ["a", "b"], wanted="b") == ["b"]
    assert len(peer.seen) == 1


async def test_absence_from_several_pages_is_proven_by_a_second_reading(http, peer):
    assert await found_in(http, peer, ["a", "b", "c"], wanted="x") == []
    assert len(peer.seen) == 4


async def test_what_slipped_in_one_reading_is_found_by_the_next(http, peer):
    lists = (["a", "b", "d"], ["b", "x", "d"], ["b", "x", "d"])
    assert await found_in(http, peer, *lists, wanted="x") == ["x"]


async def test_what_is_listed_on_two_pages_is_found_once(http, peer):
    assert await found_in(http, peer, ["a", "x", "x", "b"], wanted="x") == ["x"]


async def test_a_list_that_only_grows_is_at_rest(http, peer):
    assert await found_in(http, peer, ["a", "b", "c"], ["a", "b", "c", "d"], wanted="x") == []
    assert len(peer.seen) == 4


@pytest.mark.row(38)
async def test_a_list_that_never_comes_to_rest_proves_nothing(http, peer):
    lists = [[f"{reading}-{number}" for number in range(3)] for reading in range(9)]
    with pytest.raises(TryLater) as caught:
        await found_in(http, peer, *lists, wanted="x")
    assert caught.value.code == "aurabox_list_changes"
    assert len(peer.seen) < 20


@pytest.mark.parametrize("operation", ["A1", "A6", "A11"])
async def test_one_odd_entry_of_a_list_is_left_out_and_counted(http, peer, caplog, operation):
    peer.answer(json_reply({"data": [{"id": "one"}, {"id": None}, "no entry", {"id": "two"}]}))
    found = await CALLS[operation](client(http, peer.url))
    assert [one.id for one in found] == ["one", "two"]
    assert f"{NAMES[operation]}: 2 of 4 entries could not be read" in caplog.text


async def test_ids_from_outside_are_one_quoted_segment(http, peer):
    peer.answer(json_reply({"data": {"id": "x"}}))
    await client(http, peer.url).study("../cases", "a?b#c")
    assert peer.seen[0].target == "/api/v1/patients/..%2Fcases/studies/a%3Fb%23c"
    with pytest.raises(Misuse):
        await client(http, peer.url).patient("..")


def test_the_key_is_in_no_repr(http, peer):
    aurabox = client(http, peer.url)
    assert KEY not in repr(aurabox)
    assert KEY not in repr(aurabox._call("A1", "GET", "patients", json={"x": "y"}))
