"""$batch: parts in order, change sets all or nothing, and the bulk actions."""

import re

import pytest

from tests.dataverse_simulator.organization import Organization, Reply

MULTIPART = {"Content-Type": "multipart/mixed; boundary=b"}
TYPE = "Microsoft.Dynamics.CRM.account"


def _part(request: str, body: str = "", content_id: int | None = None) -> str:
    identity = f"Content-ID: {content_id}\r\n" if content_id else ""
    kind = "Content-Type: application/json\r\n" if body else ""
    head = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{identity}"
    return f"{head}\r\n{request} HTTP/1.1\r\n{kind}\r\n{body}\r\n"


def _message(*parts: str, boundary: str = "b") -> str:
    return "".join(f"--{boundary}\r\n{part}" for part in parts) + f"--{boundary}--\r\n"


def _change_set(*parts: str) -> str:
    return f"Content-Type: multipart/mixed; boundary=c\r\n\r\n{_message(*parts, boundary='c')}"


def _statuses(reply: Reply) -> list[int]:
    return [int(text) for text in re.findall(rb"HTTP/1\.1 (\d+)", reply.body)]


async def _batch(org: Organization, message: str, **headers: str) -> Reply:
    return await org.call("POST", "$batch", message.encode(), MULTIPART | headers)


async def test_parts_are_answered_in_order(org: Organization) -> None:
    create = _part("POST accounts", '{"name": "Acme", "accountnumber": "C-1"}')
    reply = await _batch(org, _message(create, _part("GET /api/data/v9.2/accounts(accountnumber='C-1')")))
    assert (reply.status, _statuses(reply)) == (200, [204, 200])
    assert reply.headers["Content-Type"].startswith("multipart/mixed; boundary=batchresponse_")
    assert b'"name":"Acme"' in reply.body


async def test_a_change_set_refers_to_what_it_wrote_before(org: Organization) -> None:
    order = '{"name": "o", "customerid_account@odata.bind": "$1"}'
    reply = await _batch(
        org,
        _message(
            _change_set(
                _part("POST accounts", '{"name": "Acme"}', 1),
                _part("POST salesorders", order, 2),
                _part("PATCH $1", '{"telephone1": "9"}', 3),
            )
        ),
    )
    assert _statuses(reply) == [204, 204, 204]
    account = (await org.get("accounts")).rows[0]
    assert account["telephone1"] == "9"
    assert (await org.get("salesorders")).rows[0]["_customerid_value"] == account["accountid"]


async def test_a_change_set_stands_or_falls_as_one_and_sets_nothing_off_when_it_falls(org: Organization) -> None:
    reply = await _batch(
        org,
        _message(
            _change_set(_part("POST accounts", '{"name": "Acme"}', 1), _part("POST accounts", '{"nam": "x"}', 2)),
        ),
    )
    assert (reply.status, _statuses(reply)) == (400, [400])
    assert (await org.get("accounts")).rows == []
    await org.rest()
    assert org.inbox.deliveries == []


async def test_the_first_failure_ends_a_batch_unless_it_is_to_go_on(org: Organization) -> None:
    message = _message(_part("GET accounts(accountnumber='C-9')"), _part("POST accounts", '{"name": "Acme"}'))
    assert _statuses(await _batch(org, message)) == [404]
    assert (await org.get("accounts")).rows == []
    going_on = await _batch(org, message, Prefer="odata.continue-on-error")
    assert (going_on.status, _statuses(going_on)) == (200, [404, 204])


@pytest.mark.parametrize(
    "message",
    [
        _message(_part("GET accounts")).replace("\r\n", "\n"),
        _message(_change_set(_part("POST accounts", "{}"))),
        _message("Content-Type: text/plain\r\n\r\nGET accounts HTTP/1.1\r\n\r\n"),
        _message(_part("FETCH accounts")),
        "no boundary at all",
    ],
    ids=["bare line feeds", "no Content-ID", "not application/http", "no method", "no boundary"],
)
async def test_a_malformed_batch_is_refused_as_a_whole(org: Organization, message: str) -> None:
    refused = await _batch(org, message)
    assert (refused.status, refused.code) == (400, "0x80060889")


async def test_a_read_inside_a_change_set_fails_it(org: Organization) -> None:
    reply = await _batch(org, _message(_change_set(_part("GET accounts", "", 1))))
    assert _statuses(reply) == [400]


async def test_a_batch_carries_at_most_a_thousand_requests(org: Organization) -> None:
    refused = await _batch(org, _message(*[_part("GET accounts")] * 1001))
    assert (refused.status, refused.code) == (400, "0x80048d1f")


async def test_rows_are_upserted_in_bulk_by_their_keys(org: Organization) -> None:
    await org.account("C-1")
    targets = [
        {"@odata.type": TYPE, "@odata.id": f"accounts(accountnumber='C-{number}')", "name": f"n{number}"}
        for number in (1, 2)
    ]
    answer = await org.call("POST", "accounts/Microsoft.Dynamics.CRM.UpsertMultiple", {"Targets": targets})
    assert answer.status == 204
    assert [(row["accountnumber"], row["name"]) for row in (await org.get("accounts")).rows] == [
        ("C-1", "n1"), ("C-2", "n2"),
    ]  # fmt: skip


async def test_key_values_that_no_url_can_carry_travel_in_the_body(org: Organization) -> None:
    target = {"@odata.type": TYPE, "accountnumber": "A/B&C", "name": "x"}
    for _ in range(2):
        answer = await org.call("POST", "accounts/Microsoft.Dynamics.CRM.UpsertMultiple", {"Targets": [target]})
        assert answer.status == 204
    assert len((await org.get("accounts")).rows) == 1


@pytest.mark.parametrize("action", ["CreateMultiple", "UpsertMultiple"])
async def test_bulk_actions_are_all_or_nothing(org: Organization, action: str) -> None:
    good = {"@odata.type": TYPE, "accountnumber": "C-1", "name": "x"}
    bad = {"@odata.type": TYPE, "accountnumber": "C-2", "creditlimit": "x"}
    refused = await org.call("POST", f"accounts/Microsoft.Dynamics.CRM.{action}", {"Targets": [good, bad]})
    assert refused.status == 400
    assert (await org.get("accounts")).rows == []


async def test_update_multiple_creates_nothing(org: Organization) -> None:
    await org.account("C-1")
    targets = [
        {"@odata.type": TYPE, "@odata.id": "accounts(accountnumber='C-1')", "name": "changed"},
        {"@odata.type": TYPE, "@odata.id": "accounts(accountnumber='C-2')", "name": "x"},
    ]
    refused = await org.call("POST", "accounts/Microsoft.Dynamics.CRM.UpdateMultiple", {"Targets": targets})
    assert refused.status == 404
    assert [row["name"] for row in (await org.get("accounts")).rows] == ["C-1"]


async def test_a_bulk_target_says_its_type(org: Organization) -> None:
    action = "accounts/Microsoft.Dynamics.CRM.CreateMultiple"
    assert (await org.call("POST", action, {"Targets": [{"name": "x"}]})).code == "0x80048d19"
    assert (await org.call("POST", action, {"Targets": []})).code == "0x80048d19"
