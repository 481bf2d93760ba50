"""Webhook bodies of Dataverse become the right change, also in the forms that Dataverse gives them on the wire."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.kit import exact_json
from tests.end_to_end.conftest import Outside
from tests.end_to_end.contexts import guid, written_bodies

KINDS = {"Create": "record.created", "Update": "record.updated", "Delete": "record.deleted"}
DROPPED = ("ParentContext", "InputParameters", "PreEntityImages", "PostEntityImages")


def as_captured(body: bytes) -> bytes:
    return body


def with_escaped_slashes(body: bytes) -> bytes:
    """As DataContractJsonSerializer writes: every slash of a text escaped."""
    return body.replace(b"\\/", b"/").replace(b"/", b"\\/")


def above_256_kilobytes(body: bytes) -> bytes:
    """Without the parts that are dropped from a message that would be too large."""
    context = exact_json.loads_object(body)
    return exact_json.dumps({name: value for name, value in context.items() if name not in DROPPED})


def emptied(body: bytes) -> bytes:
    """The same parts there, without content."""
    context = exact_json.loads_object(body)
    return exact_json.dumps(context | dict.fromkeys(DROPPED))


FORMS: list[Callable[[bytes], bytes]] = [
    as_captured,
    with_escaped_slashes,
    above_256_kilobytes,
    emptied,
]


def moment_of(written: str) -> datetime:
    """`/Date(ms±hhmm)/` of an operation: the local time written as if it were UTC, the offset beside it."""
    match = re.fullmatch(r"/Date\((-?\d+)(?:([+-])(\d\d)(\d\d))?\)/", written)
    assert match is not None, written
    sign = -1 if match[2] == "-" else 1
    offset = timedelta(hours=int(match[3] or 0), minutes=int(match[4] or 0)) * sign
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(match[1])) + offset


async def sent_and_kept(outside: Outside, contexts: list[dict[str, Any]], form: Callable[[bytes], bytes]) -> None:
    """Each context is answered 202 and its change stands in the lineage of its record."""
    headers = {"x-ms-dynamics-msg-size-exceeded": "true"} if form in {above_256_kilobytes, emptied} else {}
    for context in contexts:
        body = form(exact_json.dumps(context))
        reply = await outside.ask("POST", "/api/webhooks/dataverse", body, headers=headers)
        assert reply.status == 202, (context["PrimaryEntityName"], reply.body)
        assert reply.json["accepted"] == 1
    await outside.rest()
    for context in contexts:
        kept = await outside.evidence(context["PrimaryEntityName"], context["PrimaryEntityId"])
        [change] = [one for one in kept if one["eventId"] == context["OperationId"]]
        assert (change["kind"], change["source"]) == (KINDS[context["MessageName"]], "dataverse")
        assert datetime.fromisoformat(change["occurredAt"]) == moment_of(context["OperationCreatedOn"])
        assert await outside.cases_about(context["PrimaryEntityId"]) == []


@pytest.mark.parametrize("form", FORMS)
async def test_a_captured_webhook_becomes_the_right_change(
    outside: Outside, data: Path, form: Callable[[bytes], bytes]
) -> None:
    paths = sorted((data / "dataverse-webhooks").glob("*.json"))
    assert len(paths) == 4
    contexts = [exact_json.loads_object(path.read_bytes()) for path in paths]
    # Another operation of the same record: what was sent before is known and would be settled as a repeat.
    operation = [guid(0xCA0000 + FORMS.index(form) * 16 + number) for number in range(4)]
    await sent_and_kept(outside, [c | {"OperationId": o} for c, o in zip(contexts, operation, strict=True)], form)


@pytest.mark.parametrize("form", FORMS)
async def test_a_written_webhook_of_each_shape_becomes_the_right_change(
    outside: Outside, form: Callable[[bytes], bytes]
) -> None:
    await sent_and_kept(outside, written_bodies(0x10000 * (1 + FORMS.index(form))), form)


async def test_a_repeated_webhook_is_one_change(outside: Outside) -> None:
    [context, *_] = written_bodies(0x900000)
    for worker in (0, 1, 0):
        reply = await outside.ask("POST", "/api/webhooks/dataverse", context, worker=worker)
        assert reply.status == 202
    await outside.rest()
    assert len(await outside.evidence("account", context["PrimaryEntityId"])) == 1


async def test_a_user_who_changes_what_sap_owns_is_overruled_and_both_are_told(outside: Outside) -> None:
    """The whole way: an edit in Dataverse, its webhook, the ruling, the value written back."""
    await outside.control("sap", "PUT", "credit-accounts/GOVERN-1", {
        "legalEntity": "GB01", "limit": "500", "currency": "GBP", "exposure": "0", "blocked": False,
        "riskClass": "A", "prices": {}, "overdueDays": 0,
    })  # fmt: skip
    await outside.rest()
    state = await outside.control("dataverse", "GET", "state")
    [row] = [one for one in state["tables"]["accounts"] if one.get("accountnumber") == "GOVERN-1"]
    before = row.get("creditlimit")
    await outside.control("dataverse", "PATCH", f"rows/accounts/{row['accountid']}", {"creditlimit": 999999})
    await outside.rest()
    state = await outside.control("dataverse", "GET", "state")
    [row] = [one for one in state["tables"]["accounts"] if one.get("accountnumber") == "GOVERN-1"]
    kept = await outside.evidence("account", row["accountid"])
    assert kept, "the edit has left evidence"
    assert row.get("creditlimit") == before or kept[-1]["ruling"] == "hold", kept[-1]
