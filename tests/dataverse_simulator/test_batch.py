"""$batch: parts in order, change sets all or nothing, and the bulk actions."""

import re
from decimal import Decimal

import pytest

from tests.dataverse_simulator.organization import Organization, Reply, open_organization
from tests.kit.counter import Clock

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
    return await org.call("POST", "$batch", message.encode("utf-8", "surrogateescape"), MULTIPART | headers)


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
        _message(_change_set(_part("POST accounts", "{}", 1), _part("POST accounts", "{}", 1))),
        _message(_part("GET accounts")) + _message(_part("GET accounts")),
        _message(_part("GET \udcff")),
        _message(_part("GET http://[::1/accounts")),
    ],
    ids=[
        "bare line feeds",
        "no Content-ID",
        "not application/http",
        "no method",
        "no boundary",
        "one Content-ID twice",
        "two ends",
        "no text",
        "no address",
    ],
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


async def test_a_batch_is_one_request_of_the_limit_and_as_long_as_everything_in_it() -> None:
    async with open_organization() as org:
        limits = {"requests": 2, "serviceSeconds": Decimal("0.01"), "executionSeconds": Decimal("0.04")}
        await org.control("PUT", "limits", limits)
        assert (await _batch(org, _message(*[_part("GET accounts")] * 5))).status == 200
        refused = await org.get("accounts")
        assert (refused.status, refused.code) == (429, "0x80072321")


async def test_a_tag_belongs_to_the_request_inside_that_carries_it(org: Organization) -> None:
    create = '{{"name": "{0}", "accountnumber": "{0}"}}'
    tagged = _part("POST accounts?tag=ours", create.format("C-1"), 1)
    plain = _part("POST accounts", create.format("C-2"), 2)
    await _batch(org, _message(_change_set(tagged, plain)))
    told = {}
    for delivery in await org.delivered(2):
        shared = {one["key"]: one["value"] for one in delivery.context["SharedVariables"]}
        told[delivery.target()["accountnumber"]] = shared.get("tag")
    assert told == {"C-1": "ours", "C-2": None}


async def test_a_reference_to_a_request_that_comes_later_is_refused(org: Organization) -> None:
    late = _part("POST salesorders", '{"name": "o", "customerid_account@odata.bind": "$2"}', 1)
    reply = await _batch(org, _message(_change_set(late, _part("POST accounts", '{"name": "Acme"}', 2))))
    assert _statuses(reply) == [400]
    assert b"'$2' does not exist in the batch context" in reply.body
    assert (await org.get("accounts")).rows == []


async def test_a_batch_inside_of_a_batch_is_refused(org: Organization) -> None:
    assert _statuses(await _batch(org, _message(_part("POST $batch", "{}")))) == [400]
    nested = _message(_change_set(_change_set(_part("POST accounts", "{}", 1))))
    assert (await _batch(org, nested)).code == "0x80060889"


async def test_a_boundary_that_begins_like_another_divides_nothing_but_its_own(org: Organization) -> None:
    inner = _message(_part("POST accounts", '{"name": "Acme"}', 1), boundary="b1")
    reply = await _batch(org, _message(f"Content-Type: multipart/mixed; boundary=b1\r\n\r\n{inner}"))
    assert (reply.status, _statuses(reply)) == (200, [204])


async def test_a_fault_that_fits_a_request_inside_strikes_that_one(org: Organization) -> None:
    order = {"kind": "status", "match": {"method": "PATCH", "path": r"C-2"}, "status": 500, "retryAfter": 7}
    await org.control("POST", "faults", order)
    patches = [_part(f"PATCH accounts(accountnumber='C-{n}')", '{"name": "x"}') for n in (1, 2, 3)]
    reply = await _batch(org, _message(*patches))
    assert _statuses(reply) == [204, 500]
    assert b"Retry-After: 7" in reply.body
    assert [row["accountnumber"] for row in (await org.get("accounts")).rows] == ["C-1"]


async def test_a_batch_is_throttled_as_a_whole_also_by_a_fault_that_fits_a_request_inside(org: Organization) -> None:
    await org.control("POST", "faults", {"kind": "status", "match": {"path": "C-2"}, "status": 429, "retryAfter": 7})
    patches = [_part(f"PATCH accounts(accountnumber='C-{n}')", '{"name": "x"}') for n in (1, 2)]
    reply = await _batch(org, _message(*patches))
    assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
    assert (await org.get("accounts")).rows == []


async def test_a_fault_inside_a_change_set_takes_all_of_it_back(org: Organization) -> None:
    await org.control("POST", "faults", {"kind": "status", "match": {"path": "C-2"}, "status": 500, "count": 1})
    patches = [_part(f"PATCH accounts(accountnumber='C-{n}')", '{"name": "x"}', n) for n in (1, 2)]
    assert _statuses(await _batch(org, _message(_change_set(*patches)))) == [500]
    assert (await org.get("accounts")).rows == []
    assert _statuses(await _batch(org, _message(_change_set(*patches)))) == [204, 204]


async def test_the_log_of_calls_tells_what_a_batch_carried(org: Organization) -> None:
    await _batch(org, _message(_part("PATCH accounts(accountnumber='C-1')?tag=ours", '{"name": "x"}')))
    [call] = await org.control("GET", "calls")
    assert call["parts"] == [
        {"method": "PATCH", "path": "/api/data/v9.2/accounts(accountnumber='C-1')", "query": "tag=ours"}
    ]


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


async def test_a_batch_that_writes_is_no_stale_read_even_where_it_reads_too(org: Organization, clock: Clock) -> None:
    await org.account("C-1", telephone1="1")
    clock.now += 60
    await org.account("C-1", telephone1="2")
    await org.control("POST", "faults", {"kind": "stale_read", "seconds": 30})
    read, write = _part("GET accounts"), _part("PATCH accounts(accountnumber='C-1')", '{"name": "Acme"}')
    await _batch(org, _message(read, write))
    assert '"telephone1":"1"' in (await _batch(org, _message(read))).body.decode()
    await org.control("DELETE", "faults")
    [row] = (await org.get("accounts")).rows
    assert (row["name"], row["telephone1"]) == ("Acme", "2")
