"""Bad input at every door gets a clear 4xx that names each faulty field, and stops nobody else."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from sandbox.kit import exact_json
from tests.end_to_end.conftest import Outside
from tests.end_to_end.contexts import context
from tests.end_to_end.orders import check, event, open_account, sales_order

CHECKS, COMMERCE, SAP, CRM = (
    "/api/credit-checks",
    "/api/webhooks/commerce",
    "/api/webhooks/sap",
    "/api/webhooks/dataverse",
)
STOCK = "sap.s4.beh.materialdocument.v1.MaterialDocument.Created.v1"
LINE = {"product": "TEA", "quantity": "1", "unitPrice": "10.00"}
NO_KEY = {"x-functions-key": ""}


@dataclass(frozen=True)
class Bad:
    """One bad call and what is said to it."""

    name: str
    path: str
    body: object
    status: int = 400
    fields: set[str] = field(default_factory=set)
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def of_check(name: str, fields: set[str], **changes: Any) -> Bad:
    return Bad(f"credit check: {name}", CHECKS, check("bad", "C-1", **changes), fields=fields)


def of_order(name: str, fields: set[str], **changes: Any) -> Bad:
    return Bad(f"order: {name}", COMMERCE, event("confirmed", sales_order("BAD-1", **changes), "BAD-1"), fields=fields)


def of_event(name: str, fields: set[str], **changes: Any) -> Bad:
    return Bad(f"event: {name}", COMMERCE, event("confirmed", sales_order("BAD-1"), "BAD-1") | changes, fields=fields)


def of_context(name: str, fields: set[str], **changes: Any) -> Bad:
    return Bad(f"Dataverse: {name}", CRM, context(0x77, "Update", "account", **changes), fields=fields)


def of_cloud(name: str, fields: set[str], **changes: Any) -> Bad:
    return Bad(f"SAP: {name}", SAP, cloud_event(**changes), fields=fields)


def cloud_event(**changes: Any) -> dict[str, Any]:
    """A CloudEvent of a business partner."""
    return {
        "type": "sap.s4.beh.businesspartner.v1.BusinessPartner.Changed.v1", "specversion": "1.0", "source": "/x",
        "id": "1", "time": "2026-11-23T10:00:00Z", "data": {"BusinessPartner": "BAD-1"},
    } | changes  # fmt: skip


def get(name: str, path: str, fields: set[str], status: int = 400) -> Bad:
    return Bad(name, path, None, status, fields, "GET")


def exact(body: dict[str, Any], old: bytes, new: bytes) -> bytes:
    """A body with a piece that no JSON library would write."""
    written = exact_json.dumps(body)
    assert old in written
    return written.replace(old, new)


RAW: dict[str, bytes] = {
    "no body": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "NaN": b'{"total": NaN}',
    "Infinity": b'{"total": -Infinity}',
    "an exponent bomb": b'{"total": 1E+999999999999999999999}',
    "a large exponent": b'{"total": -1e-401}',
    "five thousand digits": b'{"total": ' + b"9" * 5_000 + b"}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "half a surrogate": b'{"a": "\\ud800"}',
    "a thousand brackets": b"[" * 100_000,
    "deep nesting": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "two documents": b"{}{}",
}
WEBHOOKS = (COMMERCE, SAP, CRM)
POSTED = (CHECKS, *WEBHOOKS)
PEOPLE = ("/api/cases", "/api/cases/x", "/api/lineage/order/x", "/api/lifecycle/GB01/x",
          "/api/reconciliation/GB01/2026-11", "/api/console")  # fmt: skip
MONTHS = ("2026-00", "2026-13", "2026-1", "2026-11-01", "0000-01", "0001-01", "9999-12", "nonsense", "%EF%BC%92026-11")
TIMES: tuple[object, ...] = (
    "yesterday",
    "2026-11-23T10:00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    7,
    True,
    [],
)
PARTS = {"Content-Type": "multipart/form-data; boundary=x"}
PACKED = {"Content-Encoding": "gzip"}
FORGED = {**NO_KEY, "X-ZUMO-AUTH": "a.b.c"}
CHECK = check("bad", "C-1")
EVENT = event("confirmed", sales_order("BAD-1"), "BAD-1")
BAD = [
    *(Bad(f"{path}: {name}", path, body) for path in POSTED for name, body in RAW.items()),
    *(Bad(f"{path}: no key", path, {}, 401, {"x-functions-key"}, headers=NO_KEY) for path in POSTED),
    *(Bad(f"{path}: a wrong key", path, {}, 401, headers={"x-functions-key": "0" * 64}) for path in POSTED),
    *(Bad(f"{path}: the key of nobody in the query", f"{path}?code=x", {}, 401, headers=NO_KEY) for path in POSTED),
    *(Bad(f"{path}: XML", path, b"<a/>", 415, headers={"Content-Type": "application/xml"}) for path in POSTED),
    *(Bad(f"{path}: compressed", path, gzip.compress(b"{}"), 415, {"body"}, headers=PACKED) for path in POSTED),
    *(Bad(f"{path}: said to be compressed", path, b"{}", 415, {"body"}, headers=PACKED) for path in POSTED),
    *(Bad(f"{path}: a form with parts", path, {}, 415, {"body"}, headers=PARTS) for path in POSTED),
    *(Bad(f"{path}: {verb}", path, None, 404, method=verb) for path in POSTED for verb in ("GET", "PUT", "DELETE")),
    *(Bad(f"{path}: PUT", path, {}, 404, method="PUT") for path in (*PEOPLE, "/api/availability", "/api/health")),
    *(Bad(f"{path}: nobody", path, None, 401, method="GET", headers=NO_KEY) for path in PEOPLE),
    *(Bad(f"{path}: a forged sign-in", path, None, 401, {"X-ZUMO-AUTH"}, "GET", FORGED) for path in PEOPLE),
    Bad("availability: no key", "/api/availability?product=A&location=GB10", None, 401, method="GET", headers=NO_KEY),
    Bad("credit check: too large", CHECKS, b'{"pad": "' + b"x" * 3_000_000 + b'"}', 413, {"body"}),
    *(Bad(f"{path}: too large", path, b'{"pad": "' + b"x" * 5_000_000 + b'"}', 413, {"body"}) for path in WEBHOOKS),
    Bad("credit check: a name twice", CHECKS, exact(CHECK, b'"tax"', b'"total":"1","tax"'), fields={"total"}),
    Bad("event: a name twice", COMMERCE, exact(EVENT, b'"ItemId"', b'"ItemId":"A","ItemId"'), fields={"ItemId"}),
    of_check("everything wrong at once", {"requestId", "account", "currency", "lines[0].quantity", "lines[0].unitPrice",
             "total", "legalEntity", "charges[0].code", "charges[0].amount"}, requestId="", account=7, currency="POUND",
             legalEntity="US99", lines=[{"product": "TEA", "quantity": "-1", "unitPrice": "-0.01"}], total="much",
             charges=[{"amount": []}]),
    of_check("wrong quantity, pence and currency's decimals", {"lines[0].quantity", "total", "tax"}, tax="20.001",
             total="120.001", lines=[{**LINE, "quantity": -1}]),
    of_check("a currency that does not exist", {"currency"}, currency="XXZ"),
    of_check("a currency in small letters", {"currency"}, currency="gbp"),
    of_check("a currency that does not exist, and a negative quantity", {"currency", "lines[0].quantity"},
             currency="XXZ", lines=[{**LINE, "quantity": "-1"}]),
    of_check("NaN as text", {"total"}, total="NaN"),
    of_check("Infinity as text", {"total"}, total="-Infinity"),
    of_check("an exponent beyond reason", {"total"}, total="1E+999999"),
    of_check("a quantity of zero", {"lines[0].quantity"}, lines=[{**LINE, "quantity": "0"}]),
    of_check("a negative tax", {"tax"}, tax="-1"),
    of_check("true as an amount", {"total"}, total=True),
    of_check("null as an amount", {"total"}, total=None),
    of_check("an amount with a comma", {"total"}, total="1,200.00"),
    of_check("lines that are no list", {"lines"}, lines={"product": "TEA"}),
    of_check("a line that is no object", {"lines[0]"}, lines=["TEA"]),
    of_check("nothing bought", {"lines"}, lines=[], tax="0", total="0"),
    of_check("a total that is not the sum", {"total"}, total="121.00"),
    of_check("more on account than the total", {"onAccount"}, onAccount="120.01"),
    of_check("less than nothing on account", {"onAccount"}, onAccount="-0.01"),
    of_check("a third decimal of a pound", {"total"}, total="120.001"),
    of_check("control characters", {"requestId", "account"}, requestId="a\u0000b", account="C\n1"),
    of_check("too long", {"requestId", "account", "channel"}, requestId="r" * 101, account="a" * 33, channel="c" * 65),
    Bad("credit check: unknown legal entity", CHECKS, check("bad", "C-1", legalEntity="US99"), 404, {"legalEntity"}),
    Bad("credit check: unknown account", CHECKS, check("bad-account", "NOBODY"), 404),
    of_event("everything wrong at once", {"type", "id", "orderNumber", "legalEntity", "occurredAt", "decisionId"},
             type="order.lost", id=7, orderNumber="", legalEntity=None, occurredAt="yesterday", decisionId=7),
    of_event("envelope and order wrong at once", {"occurredAt", "legalEntity", "order.CurrencyCode", "order.TaxAmount"},
             occurredAt="yesterday", legalEntity="US99", order=sales_order("BAD-1", CurrencyCode="XXZ", TaxAmount="x")),
    of_event("an unknown legal entity", {"legalEntity"}, legalEntity="US99"),
    of_event("a negative quantity", {"lines[0].quantity"}, lines=[{"lineId": "1", "quantity": -1}]),
    of_event("lines of wrong types", {"lines[0].lineId", "lines[1].quantity"},
             lines=[{"lineId": [], "quantity": 1}, {"lineId": "2", "quantity": "NaN"}]),
    of_event("an order that is a list", {"order"}, order=[]),
    *(of_event(f"the time {when!r}", {"occurredAt"}, occurredAt=when) for when in TIMES),
    of_order("a currency that does not exist", {"order.CurrencyCode"}, CurrencyCode="XXZ"),
    of_order("wrong types", {"order.TotalAmount", "order.SalesLines"}, TotalAmount=[], SalesLines="none"),
    of_order("pence of a penny beside a wrong line", {"order.TotalAmount", "order.SalesLines[0].Quantity"},
             TotalAmount=Decimal("120.001"), SalesLines=[{"LineId": "1", "ItemId": "A", "Quantity": "many", "Price": 1,
                                                         "NetAmount": 1, "TotalAmount": 1}]),
    of_order("another number than its event", {"order.SalesId"}, SalesId="OTHER"),
    of_order("a tender in another currency", {"order.TenderLines[0].Currency"},
             TenderLines=[{"TenderTypeId": "3", "Amount": 120, "Currency": "EUR"}]),
    of_order("no date that anybody set", {"order.OrderPlacedDate", "order.BusinessDate"},
             OrderPlacedDate="0001-01-01T00:00:00Z", BusinessDate="0001-01-01"),
    Bad("SAP: no attributes", SAP, {"data": {}}, fields={"type", "specversion", "id", "source", "time"}),
    of_cloud("another version", {"specversion"}, specversion="0.3"),
    of_cloud("data that is text", {"data"}, data="x"),
    of_cloud("no record named", {"data.BusinessPartner"}, data={}),
    of_cloud("a record that is a number", {"data.BusinessPartner"}, data={"BusinessPartner": 7}),
    of_cloud("a record with a control character", {"data.BusinessPartner"}, data={"BusinessPartner": "a\u0000"}),
    of_cloud("a record of five thousand characters", {"data.BusinessPartner"}, data={"BusinessPartner": "a" * 5_000}),
    *(of_cloud(f"the time {when!r}", {"time"}, time=when) for when in TIMES),
    of_cloud("a movement of nothing", {"data[0]"}, type=STOCK, data={}),
    of_cloud("a movement of no items", {"data"}, type=STOCK, data={"to_MaterialDocumentItem": []}),
    of_cloud("movements of wrong types", {"data[0]", "data[1]"}, type=STOCK,
             data={"Items": [7, {"Plant": 1, "Material": "A"}]}),
    Bad("SAP: a handshake of nobody", SAP, None, 400, method="OPTIONS"),
    Bad("Dataverse: no context", CRM, {"PrimaryEntityName": "account"},
        fields={"MessageName", "PrimaryEntityId", "OperationCreatedOn"}),
    of_context("everything wrong at once", {"MessageName", "PrimaryEntityName", "PrimaryEntityId", "OperationCreatedOn",
               "Depth", "InputParameters", "PreEntityImages", "PostEntityImages[0]"}, MessageName=7,
               PrimaryEntityName="No Table", PrimaryEntityId="x", OperationCreatedOn="today", Depth="1",
               InputParameters="x", PreEntityImages={}, PostEntityImages=[7]),
    of_context("a time beyond the calendar", {"OperationCreatedOn"}, OperationCreatedOn="/Date(999999999999999)/"),
    of_context("a time before the calendar", {"OperationCreatedOn"},
               OperationCreatedOn="/Date(-999999999999999-0100)/"),
    get("availability: nothing asked", "/api/availability", {"product", "location"}),
    get("availability: too long", f"/api/availability?product={'x' * 3_000}&location=GB10", {"product"}),
    get("availability: control characters", "/api/availability?product=%00&location=%0A", {"product", "location"}),
    get("availability: a place that nobody has", "/api/availability?product=A&location=US10", set(), 404),
    get("cases: everything wrong at once", "/api/cases?state=lost&limit=many&olderThan=long&newerThan=1x&after=x",
        {"state", "limit", "olderThan", "newerThan", "after"}),
    get("cases: an age beyond the calendar", "/api/cases?olderThan=999999d", {"olderThan"}),
    get("cases: a page beyond the calendar", "/api/cases?after=0001-01-01T00:00:00%2B14:00,x", {"after"}),
    get("cases: unknown", "/api/cases/no-such-case", set(), 404),
    get("cases: unknown and long", f"/api/cases/{'x' * 3_000}", set(), 404),
    Bad("cases: a service may not act", "/api/cases/x/replay", {}, 401),
    get("lineage: unknown", "/api/lineage/order/NOBODY", set(), 404),
    get("lineage: with quotes", "/api/lineage/order/x'%20or%20'1'='1", set(), 404),
    get("lineage: long", f"/api/lineage/order/{'x' * 3_000}", set(), 404),
    get("lifecycle: unknown", "/api/lifecycle/GB01/NOBODY", set(), 404),
    get("lifecycle: unknown legal entity", "/api/lifecycle/US99/NOBODY", set(), 404),
    get("reconciliation: an unknown entity", "/api/reconciliation/US99/2026-11", set(), 404),
    get("reconciliation: an unknown form", "/api/reconciliation/GB01/2026-11?format=xml", {"format"}),
    *(get(f"reconciliation: the month {month}", f"/api/reconciliation/GB01/{month}", {"period"}) for month in MONTHS),
    *(get(f"certificates: the month {month}", f"/api/reconciliation/GB01/{month}/close", {"period"})
      for month in MONTHS),
    get("decision: unknown", f"{CHECKS}/no-such-decision", set(), 404),
    get("decision: not of its form", f"{CHECKS}/%00%2F..%2F..'", set(), 404),
    get("decision: long", f"{CHECKS}/{'x' * 3_000}", set(), 404),
    Bad("release: unknown", f"{CHECKS}/no-such-decision/release", {}, 404),
    Bad("release: no key", f"{CHECKS}/x/release", {}, 401, headers=NO_KEY),
    Bad("approval: no sign-in", f"{CHECKS}/x/approval", {"approved": True}, 401),
    get("nothing here", "/api/nothing", set(), 404),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_bad_input_is_refused_with_every_faulty_field(outside: Outside, bad: Bad) -> None:
    reply = await outside.ask(bad.method, bad.path, bad.body, headers=bad.headers)
    assert reply.status == bad.status, reply.body
    assert reply.headers["Content-Type"].startswith("application/problem+json"), reply.headers
    said = reply.json
    assert (said["status"], bool(said["detail"]), bool(said["title"])) == (reply.status, True, True), said
    assert bad.fields <= reply.fields, said
    assert b"Traceback" not in reply.body and b".py" not in reply.body, reply.body


ACTS: list[tuple[str, str, object, str, int, set[str]]] = [
    ("approval: no body", f"{CHECKS}/x/approval", b"", "approver", 400, {"body"}),
    ("approval: no JSON", f"{CHECKS}/x/approval", b"{", "approver", 400, {"body"}),
    ("approval: wrong types", f"{CHECKS}/x/approval", {"approved": "yes", "comment": 7}, "approver", 400,
     {"approved", "comment"}),
    ("approval: a long comment", f"{CHECKS}/x/approval", {"approved": True, "comment": "x" * 2_001}, "approver", 400,
     {"comment"}),
    ("approval: unknown", f"{CHECKS}/x/approval", {"approved": True}, "approver", 404, set()),
    ("approval: not the role", f"{CHECKS}/x/approval", {"approved": True}, "operator", 403, set()),
    ("approval: too large", f"{CHECKS}/x/approval", b'"' + b"x" * 30_000 + b'"', "approver", 413, {"body"}),
    ("case: unknown", "/api/cases/x/replay", {}, "operator", 404, set()),
    ("case: an unknown decision", "/api/cases/x/burn", {}, "operator", 404, set()),
    ("case: a comment of wrong type", "/api/cases/x/resolve", {"comment": 7}, "operator", 400, {"comment"}),
    ("case: no JSON", "/api/cases/x/discard", b"{", "operator", 400, {"body"}),
    ("case: XML", "/api/cases/x/discard", b"<a/>", "operator", 400, {"body"}),
    ("case: not the role", "/api/cases/x/discard", {}, "approver", 403, set()),
    ("close: not the role", "/api/reconciliation/GB01/2026-11/close", {}, "approver", 403, set()),
    ("close: wrong types", "/api/reconciliation/GB01/2026-11/close", {"carryOvers": 7, "comment": []}, "operator", 400,
     {"carryOvers", "comment"}),
    ("close: no month", "/api/reconciliation/GB01/9999-12/close", {}, "operator", 400, {"period"}),
    ("close: an unknown entity", "/api/reconciliation/US99/2026-11/close", {}, "operator", 404, set()),
    ("flows: unknown", "/api/flows/no_such_flow/pause", {}, "operator", 404, set()),
]  # fmt: skip


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act[0])
async def test_a_person_who_acts_wrongly_is_told_what_is_wrong(
    outside: Outside, act: tuple[str, str, object, str, int, set[str]]
) -> None:
    _, path, body, person, status, fields = act
    reply = await outside.ask("POST", path, body, headers=outside.person(person))
    assert (reply.status, fields <= reply.fields) == (status, True), reply.body
    assert reply.headers["Content-Type"].startswith("application/problem+json")


@pytest.mark.parametrize("path", ["/api/health", "/api/openapi.json"])
async def test_what_is_open_to_all_tells_a_stranger_nothing_of_its_secrets(outside: Outside, path: str) -> None:
    reply = await outside.ask("GET", path, headers=NO_KEY)
    assert reply.status == 200
    keys = outside.described["functions"]["keys"]
    assert not any(secret.encode() in reply.body for secret in (*keys.values(), outside.described["sap"]["password"]))
    assert path != "/api/health" or set(reply.json) == {"status"}


async def test_no_word_of_a_bad_body_and_no_secret_gets_into_a_log(outside: Outside) -> None:
    word = "Mrs-Personal-Data-4711"
    order = sales_order(word, CustomerId=[word], CurrencyCode=word, SalesLines=[{"ItemId": {"x": word}}])
    bodies = [
        (COMMERCE, event("confirmed", order, "WORDS-1", occurredAt=word)),
        (CHECKS, check("words", word, currency=word, lines=[{"product": [word]}])),
        (SAP, cloud_event(data={"BusinessPartner": [word]}, time=word)),
        (CRM, context(0x78, word, word)),
        (CRM, f'{{"x": {word}}}'.encode()),
    ]
    for path, body in bodies:
        reply = await outside.ask("POST", path, body)
        assert reply.status == 400
        assert word.encode() not in reply.body
    described = outside.described
    secrets = (*described["functions"]["keys"].values(), described["sap"]["password"], described["dataverse"]["token"],
               *(described[person]["headers"]["X-ZUMO-AUTH"] for person in ("operator", "approver")))  # fmt: skip
    for log in (outside.path.parent / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert word not in text, log
        assert not any(secret in text for secret in secrets), log


async def test_a_person_without_the_role_may_look_but_not_act(outside: Outside) -> None:
    approver = outside.person("approver")
    assert (await outside.ask("GET", "/api/cases", headers=approver)).status == 200
    assert (await outside.ask("POST", "/api/cases/x/replay", {}, headers=approver)).status == 403
    assert (await outside.ask("POST", "/api/reconciliation/GB01/2026-11/close", {}, headers=approver)).status == 403


async def test_a_forged_principal_is_nobody(outside: Outside) -> None:
    forged = {"x-functions-key": "", "X-MS-CLIENT-PRINCIPAL": "eyJjbGFpbXMiOltdfQ==", "X-MS-CLIENT-PRINCIPAL-ID": "me"}
    assert (await outside.ask("POST", "/api/cases/x/replay", {}, headers=forged)).status == 401


async def test_the_events_handshake_of_sap_is_answered(outside: Outside) -> None:
    asked = {"WebHook-Request-Origin": "eventmesh.example"}
    reply = await outside.ask("OPTIONS", SAP, headers=asked)
    assert (reply.status, reply.headers["WebHook-Allowed-Origin"]) == (200, "eventmesh.example")


async def test_an_order_that_cannot_be_read_is_kept_as_a_case_that_names_why(outside: Outside) -> None:
    broken = sales_order("UNREADABLE-1", CurrencyCode="XXZ")
    assert (await outside.ask("POST", COMMERCE, event("confirmed", broken, "UNREADABLE-1"))).status == 400
    [case] = await outside.cases_about("UNREADABLE-1")
    assert "CurrencyCode" in case["reasons"][0]["message"]


async def test_an_order_that_does_not_add_up_is_taken_and_becomes_a_case(outside: Outside) -> None:
    order = sales_order("SUMS-1") | {"TotalAmount": Decimal("121.00")}
    assert (await outside.ask("POST", COMMERCE, event("confirmed", order, "SUMS-1"))).status == 202
    await outside.rest()
    assert await outside.cases_about("SUMS-1")
    assert await outside.documents_of("SUMS-1") == []


async def test_a_request_id_used_again_with_other_content_is_refused_and_changes_nothing(outside: Outside) -> None:
    await open_account(outside, "DOOR-1", "200")
    first = await outside.ask("POST", CHECKS, check("door-r-1", "DOOR-1"))
    again = await outside.ask("POST", CHECKS, check("door-r-1", "DOOR-1"), worker=1)
    assert first.json["outcome"] == "approved" and again.json["decisionId"] == first.json["decisionId"]
    other = check("door-r-1", "DOOR-1", tax="30.00", total="130.00")
    assert (await outside.ask("POST", CHECKS, other)).status == 409
    read = await outside.ask("GET", f"{CHECKS}/{first.json['decisionId']}")
    assert read.json["hold"]["amount"] == first.json["hold"]["amount"]
