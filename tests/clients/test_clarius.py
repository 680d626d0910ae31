"""Every Clarius call against its recorded payload, every documented status, and what Clarius is silent about."""

import datetime as dt
from uuid import UUID

import pytest
from pydantic import SecretStr

from app.clients.clarius import ClariusClient, ExamData
from app.errors import (
    BadAnswer,
    Forbidden,
    LookFirst,
    Misuse,
    NotAllowed,
    NotThere,
    Rejected,
    RenewCredentials,
    SlowDown,
    StillProcessing,
    TryLater,
    UpstreamError,
)
from tests.clients.clarius_calls import (
    APPLICATION,
    EXAM,
    KEY,
    REQUEST,
    RESEARCH,
    RESEARCH_TOKEN,
    SERVICE,
    TOKEN,
    all_of,
    make,
    research,
    service,
)
from tests.clients.names import NAMES
from tests.clients.peer import Reply, json_reply

READS = {"C1", "C2", "C4", "C6", "C8", "C9", "C12", "C13", "C14", "C17", "C18", "C19"}
EVERY = [*SERVICE, *RESEARCH]


async def ask(http, peer, recorded, operation):
    exchange = recorded(f"clarius/{operation}")
    peer.answer(exchange.reply())
    return exchange, await make(http, peer.url, operation)


@pytest.mark.parametrize("operation", [name for name in EVERY if name not in ("C5", "C7", "C17")])
async def test_each_call_is_made_as_recorded(http, peer, recorded, operation):
    exchange, _ = await ask(http, peer, recorded, operation)
    exchange.check(peer)
    assert len(peer.seen) == 1
    expected = f"Token {RESEARCH_TOKEN}" if operation in RESEARCH else f"Service-API-Key {KEY}"
    assert peer.seen[0].headers["authorization"] == expected


@pytest.mark.parametrize("operation", EVERY)
async def test_errors_and_metrics_say_what_a_call_is_called(http, peer, observed, operation):
    peer.answer(json_reply({}, status=404))
    with pytest.raises(UpstreamError, match=f"^{NAMES[operation]}: Clarius answered 404"):
        await make(http, peer.url, operation)
    assert {seen.operation for seen in observed} == {NAMES[operation]}


@pytest.mark.parametrize("operation", [name for name in EVERY if name not in ("C18", "C19")])
async def test_every_path_ends_in_the_slash_that_django_asks_for(http, peer, recorded, operation):
    await ask(http, peer, recorded, operation)
    assert all(seen.path.endswith("/") and "//" not in seen.path for seen in peer.seen)


async def test_a_base_url_with_a_slash_or_a_path_gives_the_same_paths(http, peer, recorded):
    exchange = recorded("clarius/C6")
    peer.answer(exchange.reply())
    await ClariusClient(http, base_url=f"{peer.url}/", api_key=SecretStr(KEY)).settings()
    exchange.check(peer)
    await ClariusClient(http, base_url=f"{peer.url}/mirror", api_key=SecretStr(KEY)).settings()
    assert peer.seen[-1].path == f"/mirror{exchange.request['path']}"


async def test_c1_gives_the_notices_and_keeps_unknown_fields(http, peer, recorded):
    _, notices = await ask(http, peer, recorded, "C1")
    first = notices[0]
    assert [str(notice.request_uuid) for notice in notices] == [
        REQUEST,
        "8cc97ac4-ad8d-4fed-a70e-967703ebe521",
    ]
    assert (first.exam_uuid, first.customer_id) == (UUID(EXAM), TOKEN)
    assert first.submitted_at == dt.datetime(2022, 10, 22, 3, 10, 47, 231755, tzinfo=dt.UTC)
    assert first.download_url.endswith(f"/exams/download-requests/{REQUEST}/data/")
    assert first.model_extra == {"new_field": {"kept": True}}
    assert TOKEN not in repr(first)
    assert TOKEN not in str(first)


async def test_c1_asks_without_a_customer_when_none_is_given(http, peer, recorded):
    peer.answer(recorded("clarius/C1").reply())
    pages = await all_of(service(http, peer.url).accessible_exam_pages(limit=7))
    assert [len(page) for page in pages] == [2]
    assert peer.seen[0].query == {"limit": "7", "offset": "0"}


async def test_c1_goes_on_past_an_entry_that_cannot_be_read(http, peer, recorded, caplog):
    good = recorded("clarius/C1").answer["results"][0]
    odd = [
        None,
        {},
        {**good, "request_uuid": "canary-not-a-uuid"},
        {**good, "submitted_at": "yesterday"},
        good,
    ]
    peer.answer(json_reply({"count": 5, "next": None, "previous": None, "results": odd}))
    notices = await all_of(service(http, peer.url).accessible_exams())
    assert [notice.submitted_at is None for notice in notices] == [True, False]
    assert "3 of 5" in caplog.text
    assert "canary" not in caplog.text


async def test_c1_follows_next_to_the_end(http, peer, recorded):
    first, second = recorded("clarius/C1").answer["results"]
    following = f"{peer.url}/api/public/v0/exams/accessible/?limit=1&offset=1"
    peer.answer(
        json_reply({"count": 2, "next": following, "previous": None, "results": [first]}),
        json_reply({"count": 2, "next": None, "previous": None, "results": [second]}),
    )
    pages = await all_of(service(http, peer.url).accessible_exam_pages(limit=1))
    assert [len(page) for page in pages] == [1, 1]
    assert peer.seen[1].query == {"limit": "1", "offset": "1"}
    assert peer.seen[1].headers["authorization"] == f"Service-API-Key {KEY}"


async def test_c1_refuses_a_next_at_another_place_without_dialling_it(http, peer, other, recorded):
    results = recorded("clarius/C1").answer["results"]
    peer.answer(json_reply({"next": f"{other.url}/api/public/v0/exams/accessible/", "results": results}))
    with pytest.raises(NotAllowed) as caught:
        await all_of(service(http, peer.url).accessible_exams())
    assert other.dialled == 0
    assert caught.value.code == "not_allowed"
    assert "/api/" not in str(caught.value)


async def test_c1_cuts_pages_that_run_in_a_circle(http, peer, recorded):
    first, second = recorded("clarius/C1").answer["results"]
    one, two = (f"{peer.url}/api/public/v0/exams/accessible/?offset={n}" for n in (1, 2))
    pages = {"0": (first, one), "1": (second, two), "2": (first, one)}

    def handler(seen):
        item, following = pages[seen.query.get("offset", "0")]
        return json_reply({"next": following, "results": [item]})

    peer.handler = handler
    seen = []

    async def look():
        async for notice in service(http, peer.url).accessible_exams(limit=1):
            seen.append(notice)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(TryLater) as caught:
        await look()
    assert len(seen) == 3
    assert caught.value.code == "clarius_pages_loop"


async def test_c1_cuts_pages_whose_url_moves_and_whose_content_does_not(http, peer, recorded):
    results = recorded("clarius/C1").answer["results"]

    def handler(seen):
        offset = int(seen.query.get("offset", "0")) + 2
        return json_reply({"next": f"{peer.url}{seen.path}?offset={offset}", "results": results})

    peer.handler = handler
    with pytest.raises(TryLater, match="circle"):
        await all_of(service(http, peer.url).accessible_exams())
    assert len(peer.seen) < 6


async def test_c2_reads_captures_and_keeps_the_rest(http, peer, recorded):
    exchange, data = await ask(http, peer, recorded, "C2")
    assert data.raw == exchange.answer
    assert data.request_uuid == REQUEST
    assert [capture.index for capture in data.captures] == [0, 1]
    assert data.captures[0].url == "https://media.example.org/one.jpg?sig=s1"
    assert "Ada" not in repr(data)
    assert "sig=" not in repr(data)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"patient": None, "captures": None},
        {"patient": [], "captures": {"url": "x"}},
        {
            "patient": "Ada",
            "captures": [None, 3, "x", {}, {"url": None}, {"url": 5}, {"url": ""}, {"url": ["x"]}],
        },
        {
            "patient": {"identifier": True, "first_name": {"a": 1}, "last_name": "", "gender": None},
            "captures": [],
        },
        {"request_uuid": ["x"], "patient": {"identifier": "\x00"}},
    ],
)
async def test_c2_fails_on_no_object(http, peer, body):
    peer.answer(json_reply(body))
    data = await service(http, peer.url).exam_data(f"{peer.url}/anywhere/")
    assert data.raw == body
    assert all(capture.url in (None, "5") for capture in data.captures)


def test_c2_spells_out_numbers_and_trims_text():
    data = ExamData.from_raw({"request_uuid": 12345, "captures": [{"url": " https://media.example.org/1 "}]})
    assert (data.request_uuid, data.captures[0].url) == ("12345", "https://media.example.org/1")


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'"x"', b"<html>", b"", b"\xff\xfe", b"[" * 100_000, b"9" * 5000]
)
async def test_c2_refuses_what_is_not_an_object(http, peer, body):
    peer.answer(Reply(200, body))
    with pytest.raises(BadAnswer) as caught:
        await service(http, peer.url).exam_data(f"{peer.url}/anywhere/")
    assert caught.value.code == "clarius_bad_answer"
    # an observation about the upstream, not about the exam
    assert caught.value.retryable


@pytest.mark.parametrize("status", [404, 410])
async def test_c2_says_that_an_exam_is_gone(http, peer, status):
    peer.answer(json_reply({"detail": "Not found."}, status))
    with pytest.raises(NotThere):
        await service(http, peer.url).exam_data(f"{peer.url}/anywhere/")


async def test_c2_refuses_to_send_the_key_to_another_place(http, peer, other):
    with pytest.raises(NotAllowed):
        await service(http, peer.url).exam_data(f"{other.url}/api/public/v0/exams/x/data/?token=canary")
    assert (peer.dialled, other.dialled) == (0, 0)


async def test_c2_follows_a_redirect_to_the_slash_that_is_missing(http, peer, recorded):
    exchange = recorded("clarius/C2")

    def handler(seen):
        if not seen.path.endswith("/"):
            return Reply(301, headers={"Location": f"{seen.path}/"})
        return exchange.reply()

    peer.handler = handler
    data = await service(http, peer.url).exam_data(f"{peer.url}{exchange.request['path'].rstrip('/')}")
    assert data.request_uuid == REQUEST
    assert [seen.headers["authorization"] for seen in peer.seen] == [f"Service-API-Key {KEY}"] * 2


async def test_a_write_is_not_redirected(http, peer):
    peer.answer(Reply(301, headers={"Location": "/elsewhere/"}))
    # what stood in the way may have passed it on all the same
    with pytest.raises(LookFirst):
        await service(http, peer.url).confirm_customer(TOKEN)
    assert len(peer.seen) == 1


async def test_c3_says_that_there_is_no_such_customer(http, peer):
    peer.answer(json_reply({"detail": "Not found."}, 404))
    with pytest.raises(NotThere) as caught:
        await service(http, peer.url).confirm_customer(TOKEN)
    assert TOKEN not in str(caught.value) + repr(caught.value)


async def test_c4_gives_the_tokens_across_pages(http, peer):
    following = f"{peer.url}/api/public/v0/services/confirmed-tokens/?offset=2"
    peer.answer(
        json_reply({"next": following, "results": ["one", "two"]}),
        json_reply({"next": None, "results": ["three"]}),
    )
    assert await all_of(service(http, peer.url).confirmed_tokens()) == ["one", "two", "three"]


async def test_c5_sends_name_and_file_as_a_form(http, peer, recorded):
    exchange, _ = await ask(http, peer, recorded, "C5")
    exchange.check(peer)
    seen = peer.seen[0]
    assert seen.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert seen.headers["authorization"] == f"Service-API-Key {KEY}"
    assert b'name="name"\r\n\r\nReceipt' in seen.body
    assert (
        b'name="file"; filename="receipt.pdf"\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.4 x' in seen.body
    )


async def test_c6_gives_both_urls_and_reads_null_as_none_registered(http, peer, recorded):
    _, settings = await ask(http, peer, recorded, "C6")
    assert settings.token_transfer_url.endswith("/{token}")
    assert settings.model_extra == {"new_field": 1}
    peer.answer(json_reply({"notification_url": None}))
    empty = await service(http, peer.url).settings()
    assert (empty.notification_url, empty.token_transfer_url) == ("", "")


async def test_c7_changes_only_what_is_given_and_reads_it_back(http, peer, recorded):
    change, settings = recorded("clarius/C7"), recorded("clarius/C6")
    peer.answer(change.reply(), settings.reply())
    after = await service(http, peer.url).update_settings(token_transfer_url="https://example.org/{token}/")
    assert after.notification_url == settings.answer["notification_url"]
    assert [(seen.method, seen.path) for seen in peer.seen] == [
        ("PATCH", change.request["path"]),
        ("GET", change.request["path"]),
    ]
    assert peer.seen[0].json() == change.request["json"]


async def test_c7_clears_with_an_empty_string(http, peer, recorded):
    peer.answer(recorded("clarius/C6").reply())
    await service(http, peer.url).update_settings(notification_url="")
    assert peer.seen[0].json() == {"notification_url": ""}


async def test_c8_gives_records_with_a_failure_and_its_reason(http, peer, recorded):
    _, (record,) = await ask(http, peer, recorded, "C8")
    assert record.event.response is None
    assert record.event.error == "timed out"
    assert record.event.request.method == "POST"
    assert record.event.model_extra == {"new_field": 1}
    assert record.model_extra == {"new_field": 1}


@pytest.mark.parametrize("operation", ["C8", "C9", "C12", "C13", "C18"])
async def test_one_odd_entry_of_a_list_is_left_out_and_counted(http, peer, recorded, caplog, operation):
    answer = recorded(f"clarius/{operation}").answer
    good = (answer["results"] if isinstance(answer, dict) else answer)[0]
    odd = [{"event": None, "uuid": None}, good, "canary"]
    peer.answer(json_reply({**answer, "results": odd} if isinstance(answer, dict) else odd))
    assert len(await make(http, peer.url, operation)) == 1
    assert f"{NAMES[operation]}: 2 of 3 entries could not be read" in caplog.text
    assert "canary" not in caplog.text


async def test_c9_and_c10_give_keys_and_hide_the_secret(http, peer, recorded):
    _, (key,) = await ask(http, peer, recorded, "C9")
    assert (key.prefix, key.name, key.model_extra) == ("QUgDR6JB", "My key", {"new_field": 1})
    exchange, new = await ask(http, peer, recorded, "C10")
    assert new.key.get_secret_value() == exchange.answer["key"]
    assert "inventedSecret" not in f"{new!r}{new}{new.model_dump()}"


async def test_c10_without_a_secret_is_a_key_that_may_exist(http, peer):
    peer.answer(json_reply({"prefix": "ghhni3x8", "name": "canary"}, 201))
    with pytest.raises(LookFirst, match="key") as caught:
        await service(http, peer.url).create_api_key("canary")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 403])
async def test_c11_on_the_key_in_use_is_refused_and_pauses_nothing(http, peer, status):
    peer.answer(json_reply({"detail": "This key is in use."}, status))
    with pytest.raises(Rejected) as caught:
        await service(http, peer.url).revoke_api_key("QUgDR6JB")
    assert caught.value.words == "This key is in use."


async def test_c12_to_c14_give_applications(http, peer, recorded):
    _, applications = await ask(http, peer, recorded, "C12")
    assert [item.name for item in applications] == ["Abdomen", "Cardiac"]
    assert applications[0].model_extra == {"new_field": 1}
    _, (customised,) = await ask(http, peer, recorded, "C13")
    _, one = await ask(http, peer, recorded, "C14")
    assert one == customised
    assert str(one.uuid) == APPLICATION
    assert one.annotations[0].labels == ["LABEL1", "LABEL2"]


async def test_c17_gives_a_token_and_sends_no_authorization(http, peer, recorded):
    exchange, token = await ask(http, peer, recorded, "C17")
    exchange.check(peer)
    assert "authorization" not in peer.seen[0].headers
    assert token.get_secret_value() == exchange.answer["token"]


async def test_c17_with_a_wrong_password_asks_for_new_credentials(http, peer):
    peer.answer(json_reply({"non_field_errors": ["Unable to log in with invented-password."]}, 400))
    with pytest.raises(RenewCredentials) as caught:
        await make(http, peer.url, "C17")
    assert "invented-password" not in repr(caught.value)


async def test_c18_and_c19_give_links(http, peer, recorded):
    _, (capture,) = await ask(http, peer, recorded, "C18")
    assert capture.raw_image == "https://media.example.org/raw.tar?sig=s3"
    assert "EXAMPLE" in capture.blob
    assert "sig=" not in repr(capture)
    assert capture.model_extra == {"new_field": 1}
    assert (await ask(http, peer, recorded, "C19"))[1] == "https://media.example.org/dicom.zip?sig=s4"


@pytest.mark.parametrize("operation", ["C18", "C19"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, StillProcessing), (403, Forbidden), (404, NotThere), (401, RenewCredentials)],
)
async def test_the_research_calls_tell_their_statuses_apart(http, peer, operation, status, expected):
    peer.answer(json_reply({"detail": "no"}, status))
    with pytest.raises(expected) as caught:
        await make(http, peer.url, operation)
    assert caught.value.status == status


async def test_c19_with_wrong_parameters_is_not_waited_for(http, peer):
    peer.answer(json_reply({"resolution": ["Not a resolution."]}, 400))
    with pytest.raises(Rejected) as caught:
        await research(http, peer.url).dicom(EXAM)
    assert caught.value.fields == {"resolution": ["Not a resolution."]}


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize(
    ("status", "read", "write"),
    [
        (401, RenewCredentials, RenewCredentials),
        (404, NotThere, NotThere),
        (422, Rejected, Rejected),
        (429, SlowDown, SlowDown),
        (500, TryLater, LookFirst),
        (503, TryLater, LookFirst),
    ],
)
async def test_each_call_meets_each_status(http, peer, operation, status, read, write):
    peer.answer(json_reply({"detail": "words of Clarius"}, status))
    with pytest.raises(UpstreamError) as caught:
        await make(http, peer.url, operation)
    assert type(caught.value) is (read if operation in READS else write)
    assert caught.value.upstream == "clarius"
    assert caught.value.status == status
    assert caught.value.words == "words of Clarius"
    assert "words of Clarius" not in str(caught.value)
    assert caught.value.account in ("clarius", "clarius-research")


async def test_a_403_of_the_service_api_asks_for_new_credentials(http, peer):
    peer.answer(json_reply({"detail": "no"}, 403))
    with pytest.raises(RenewCredentials):
        await service(http, peer.url).settings()


@pytest.mark.parametrize("bad", ["", ".", ".."])
async def test_an_id_that_names_something_else_is_refused(http, peer, bad):
    with pytest.raises(Misuse):
        await service(http, peer.url).revoke_api_key(bad)
    assert peer.dialled == 0


async def test_an_id_from_outside_is_one_quoted_segment(http, peer):
    peer.answer(Reply(204))
    await service(http, peer.url).revoke_api_key("a/../b?c=d")
    assert peer.seen[0].target == "/api/public/v0/services/api-keys/a%2F..%2Fb%3Fc%3Dd/"
