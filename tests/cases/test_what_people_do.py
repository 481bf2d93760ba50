"""Cases and people: found by filter, previewed without effect, replayed in order and once, ended with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest

from functions import cases as doors_of_cases
from shared.delivery import deliver
from shared.domain.changes import Change, encode
from shared.domain.rulings import Reason
from shared.errors import Conflict
from shared.flows.case_handling import decide_case
from shared.flows.order_to_ledger import order_to_ledger
from shared.messaging import Delivery
from shared.stores.cases import Case
from shared.stores.parking import parked_in
from tests.cases.doors import Doors
from tests.hub import RememberingBus, hub_in_memory
from tests.ledger.rig import again, confirmed, event, line, sales_order
from tests.systems import Systems, systems

FLOW = "order_to_ledger"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Systems]:
    async with systems(monkeypatch) as running:
        yield running


@pytest.fixture
def doors(world: Systems, monkeypatch: pytest.MonkeyPatch) -> Doors:
    return Doors(monkeypatch, world.hub, doors_of_cases)


async def hold(world: Systems, number: str = "S-1") -> Case:
    """An order that meets a closed period: a case, its key parked behind it."""
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": False})
    await world.settle(FLOW, order_to_ledger, confirmed(sales_order(number)))
    found = [case for case in await world.hub.cases.list(state="open") if case.key == number]
    assert [case.code for case in found] == ["closed_period"]
    return found[0]


async def ledger_of(world: Systems) -> Any:
    return (await world.control("sap", "GET", "state"))["documents"]


async def wake(world: Systems) -> None:
    """Bring every wake-up that was sent to the story, as the lane would."""
    for sent in [one for one in world.bus.sent if one.flow == FLOW]:
        world.bus.sent.remove(sent)
        change = sent.change
        await deliver(
            Delivery(FLOW, "orders", change.message_id, 1, change, None, encode(change), sent.force),
            order_to_ledger,
            world.hub,
        )


async def test_a_preview_shows_the_balanced_document_and_changes_nothing(world: Systems, doors: Doors) -> None:
    case = await hold(world)
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    before = [await world.control(name, "GET", "state") for name in ("sap", "dataverse", "commerce")]
    rows = await world.hub.records.read(case.business_key)
    told = await doors.call(doors_of_cases.cases_preview, id=case.id)
    assert told.status == 200
    assert told.json["would"] == "post"
    [document] = told.json["documents"]
    assert (document["order"], document["gross"], document["balance"]) == ("S-1", "120.00", "0.00")
    assert {one["side"] for one in document["lines"]} == {"debit", "credit"}
    assert told.json["publishes"] == ["order.posted"]
    after = [await world.control(name, "GET", "state") for name in ("sap", "dataverse", "commerce")]
    assert after == before
    assert await world.hub.records.read(case.business_key) == rows
    assert [one for one in world.bus.sent if one.change.kind == "order.posted"] == []


async def test_what_a_preview_shows_is_what_a_replay_posts(world: Systems, doors: Doors) -> None:
    case = await hold(world)
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    [shown] = (await doors.call(doors_of_cases.cases_preview, id=case.id)).json["documents"]
    replayed = await doors.call(doors_of_cases.cases_decide, "POST", roles=("Operator",), id=case.id, decision="replay")
    assert (replayed.status, replayed.json["state"]) == (202, "replayed")
    await wake(world)
    [document] = await ledger_of(world)
    assert (document["reference"], str(document["gross"])) == (shown["postingKey"], shown["gross"])


async def test_a_preview_says_that_a_replay_would_be_held_again_and_why(world: Systems, doors: Doors) -> None:
    order = sales_order("S-1", charges=[("UNHEARD_OF", "5.00", "0")])
    await world.settle(FLOW, order_to_ledger, confirmed(order))
    [case] = await world.hub.cases.list(state="open")
    told = (await doors.call(doors_of_cases.cases_preview, id=case.id)).json
    assert (told["would"], told["reasons"][0]["code"], told["documents"]) == ("hold", "unknown_charge_code", [])


async def test_the_preview_of_a_history_case_shows_its_writes_and_makes_none(world: Systems, doors: Doors) -> None:
    change = confirmed(sales_order("S-1"))
    case_id = await world.hub.cases.open(
        flow="crm_history_update", change=change, code="unexpected", reasons=[Reason("unexpected", "x")],
        now=world.clock(), body=encode(change),
    )  # fmt: skip
    told = (await doors.call(doors_of_cases.cases_preview, id=case_id)).json
    assert told["would"] == "write"
    assert told["writes"] and {one["system"] for one in told["writes"]} == {"dataverse"}
    assert (await world.control("dataverse", "GET", "state"))["tables"]["salesorders"] == []


async def test_a_replay_runs_the_message_and_then_its_followers_in_order(world: Systems) -> None:
    case = await hold(world)
    for number in (1, 2):
        returned = event("returned", "S-1", lines=[("1", str(number))], event_id=f"r-{number}")
        await world.settle(FLOW, order_to_ledger, returned)
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    await decide_case(case, "replay", by="Olga", comment="", hub=world.hub)
    await wake(world)
    assert [document["kind"] for document in await ledger_of(world)] == ["invoice", "return", "return"]


async def test_concurrent_replays_of_one_case_replay_once(world: Systems) -> None:
    case = await hold(world)
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    done = await asyncio.gather(
        *(decide_case(case, "replay", by=f"person {n}", comment="", hub=world.hub) for n in range(6)),
        return_exceptions=True,
    )
    assert all(isinstance(one, (Case, Conflict)) for one in done)
    assert len([sent for sent in world.bus.sent if sent.flow == FLOW]) == 1
    await wake(world)
    assert len(await ledger_of(world)) == 1


async def test_concurrent_replays_of_a_case_that_keeps_its_message_send_it_once() -> None:
    hub = hub_in_memory()
    change = confirmed(sales_order("S-1"))
    case_id = await hub.cases.open(
        flow="credit_hold_update", change=change, code="hold_released", reasons=[Reason("hold_released", "x")],
        now=hub.clock(), body=encode(change),
    )  # fmt: skip
    case = await hub.cases.read(case_id)
    assert case is not None
    await asyncio.gather(
        *(decide_case(case, "replay", by=f"person {n}", comment="", hub=hub) for n in range(6)), return_exceptions=True
    )
    assert len(cast(RememberingBus, hub.bus).sent) == 1
    ended = await hub.cases.read(case_id)
    assert ended is not None and ended.state == "replayed"


async def test_a_replay_that_died_before_it_sent_can_be_made_again_after_a_minute() -> None:
    hub = hub_in_memory()
    change = confirmed(sales_order("S-1"))
    case_id = await hub.cases.open(
        flow="credit_hold_update", change=change, code="hold_released", reasons=[Reason("hold_released", "x")],
        now=hub.clock(), body=encode(change),
    )  # fmt: skip
    case = await hub.cases.read(case_id)
    assert case is not None
    await hub.cases.take(case, by="who died", now=hub.clock())
    taken = await hub.cases.read(case_id)
    assert taken is not None
    with pytest.raises(Conflict, match="who died"):
        await decide_case(taken, "replay", by="Olga", comment="", hub=hub)
    cast(Any, hub.clock).forward(seconds=61)
    assert (await decide_case(taken, "replay", by="Olga", comment="", hub=hub)).state == "replayed"
    assert len(cast(RememberingBus, hub.bus).sent) == 1


async def test_the_same_decision_again_is_answered_and_another_one_is_a_conflict(world: Systems, doors: Doors) -> None:
    case = await hold(world)
    say = {"comment": "entered twice in Commerce"}
    first = await doors.call(
        doors_of_cases.cases_decide, "POST", roles=("Operator",), id=case.id, decision="discard", body=say
    )
    again = await doors.call(
        doors_of_cases.cases_decide, "POST", roles=("Operator",), id=case.id, decision="discard", body=say, name="other"
    )
    assert (first.status, again.status, again.json) == (200, 200, first.json)
    assert (first.json["state"], first.json["endedBy"], first.json["comment"]) == (
        "discarded", "olga@concord.example", "entered twice in Commerce",
    )  # fmt: skip
    assert first.json["endedAt"]
    other = await doors.call(doors_of_cases.cases_decide, "POST", roles=("Operator",), id=case.id, decision="replay")
    assert (other.status, other.json["code"]) == (409, "case-moved-on")


async def test_a_message_that_queues_behind_the_head_at_this_moment_does_not_refuse_the_decision(
    world: Systems,
) -> None:
    case = await hold(world)
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    write = world.hub.records.write

    async def after_a_follower(*given: Any) -> list[str]:
        object.__setattr__(world.hub.records, "write", write)
        await world.settle(FLOW, order_to_ledger, again(confirmed(sales_order("S-1")), "again"))
        return await write(*given)

    object.__setattr__(world.hub.records, "write", after_a_follower)
    assert (await decide_case(case, "discard", by="Olga", comment="twice", hub=world.hub)).state == "discarded"
    await wake(world)
    assert [one["order"] for one in await ledger_of(world)] == ["S-1"], "the follower posts"
    assert parked_in(await world.hub.records.read(case.business_key), FLOW) is None


async def test_a_decision_that_stands_on_the_key_is_not_overwritten_by_another(world: Systems) -> None:
    case = await hold(world)
    parked = parked_in(await world.hub.records.read(case.business_key), FLOW)
    assert parked is not None
    from dataclasses import replace

    decided = replace(parked, decision="replay", decided_by="who was cut off")
    await world.hub.records.write(case.business_key, [decided.operation()])
    with pytest.raises(Conflict, match="who was cut off"):
        await decide_case(case, "discard", by="Olga", comment="x", hub=world.hub)
    assert (await decide_case(case, "replay", by="Olga", comment="", hub=world.hub)).state == "replayed"


@pytest.mark.parametrize(
    ("roles", "status"), [(None, 401), ((), 403), (("Reader",), 403), (("Approver", "Controller"), 403)]
)
async def test_only_an_operator_decides(
    world: Systems, doors: Doors, roles: tuple[str, ...] | None, status: int
) -> None:
    case = await hold(world)
    one = await doors.call(doors_of_cases.cases_decide, "POST", roles=roles, id=case.id, decision="replay")
    many = await doors.call(doors_of_cases.cases_replay_many, "POST", roles=roles, body={"ids": [case.id]})
    assert (one.status, many.status) == (status, status)
    unchanged = await world.hub.cases.read(case.id)
    assert unchanged is not None and unchanged.state == "open"


async def test_who_has_no_role_sees_neither_cases_nor_previews(world: Systems, doors: Doors) -> None:
    case = await hold(world)
    for roles, status in ((None, 401), ((), 403)):
        assert (await doors.call(doors_of_cases.cases_list, roles=roles)).status == status
        assert (await doors.call(doors_of_cases.cases_preview, roles=roles, id=case.id)).status == status
        assert (await doors.call(doors_of_cases.cases_read, roles=roles, id=case.id)).status == status


@pytest.mark.parametrize("decision", ["resolve", "discard"])
async def test_taking_a_case_off_the_record_needs_a_word_of_why(world: Systems, doors: Doors, decision: str) -> None:
    case = await hold(world)
    for body in (None, {}, {"comment": "  "}, {"comment": 7}):
        answer = await doors.call(
            doors_of_cases.cases_decide, "POST", roles=("Operator",), id=case.id, decision=decision, body=body
        )
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, "comment")


async def test_many_are_replayed_at_once_each_with_its_own_result(world: Systems, doors: Doors) -> None:
    cases = [await hold(world, f"S-{n}") for n in (1, 2, 3)]
    await decide_case(cases[1], "discard", by="Olga", comment="x", hub=world.hub)
    ids = [*(case.id for case in cases), "case-00000000000000000000"]
    answer = await doors.call(doors_of_cases.cases_replay_many, "POST", roles=("Operator",), body={"ids": ids})
    assert answer.status == 200
    assert [(one["id"], one["ok"]) for one in answer.json["results"]] == list(
        zip(ids, (True, False, True, False), strict=True)
    )
    assert [one.get("code") for one in answer.json["results"]] == [None, "case-moved-on", None, "unknown-case"]
    assert answer.json["replayed"] == 2


async def test_many_are_previewed_by_filter(world: Systems, doors: Doors) -> None:
    await hold(world, "S-1")
    await hold(world, "S-2")
    await world.control("sap", "PUT", "periods/GB01/2026-11", {"open": True})
    body = {"filter": {"flow": FLOW, "code": "closed_period", "legalEntity": "GB01"}}
    answer = await doors.call(doors_of_cases.cases_preview_many, "POST", body=body)
    assert [one["would"] for one in answer.json["results"]] == ["post", "post"]
    assert await ledger_of(world) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"),
        ({"ids": [], "filter": {}}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * 501}, "ids"),
        ({"ids": "case-1"}, "ids"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"state": "asleep"}}, "state"),
        ({"filter": {"olderThan": "yesterday"}}, "olderThan"),
    ],
)
async def test_a_bulk_request_that_cannot_be_read_names_its_fault(
    world: Systems, doors: Doors, body: dict[str, Any], field: str
) -> None:
    answer = await doors.call(doors_of_cases.cases_replay_many, "POST", roles=("Operator",), body=body)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, field)


async def test_a_key_in_the_query_is_no_filter_and_stands_in_no_link(world: Systems, doors: Doors) -> None:
    for number in range(2):
        change: Change = confirmed(sales_order(f"S-{number}", lines=[line("1", "1", "1.00", "0.20")]))
        await world.hub.cases.open(
            flow=FLOW, change=change, code="odd", reasons=[Reason("x", "y")], now=world.clock(), body=encode(change)
        )
    key = world.hub.settings.service_key.get_secret_value()
    answer = await doors.call(doors_of_cases.cases_list, roles=None, params={"code": key, "limit": "1"})
    assert (answer.status, answer.json["total"]) == (200, 2)
    assert key not in answer.json["next"]


async def test_cases_are_listed_by_filter_and_page_by_page(world: Systems, doors: Doors) -> None:
    for number in range(5):
        change: Change = confirmed(sales_order(f"S-{number}", lines=[line("1", "1", "1.00", "0.20")]))
        await world.hub.cases.open(
            flow=FLOW if number % 2 else "account_sync", change=change, code="odd" if number % 2 else "even",
            reasons=[Reason("x", "y")], now=world.clock() - timedelta(hours=number), body=encode(change),
        )  # fmt: skip

    async def keys(**params: str) -> list[str]:
        answer = await doors.call(doors_of_cases.cases_list, params=params)
        assert answer.status == 200, answer.body
        return [case["key"] for case in answer.json["cases"]]

    assert await keys() == ["S-0", "S-1", "S-2", "S-3", "S-4"]
    assert await keys(flow=FLOW) == ["S-1", "S-3"]
    assert await keys(code="even", olderThan="90m") == ["S-2", "S-4"]
    assert await keys(newerThan="90m") == ["S-0", "S-1"]
    assert await keys(legalEntity="JP01") == []
    assert await keys(state="discarded") == []
    seen, params = [], {"limit": "2"}
    while True:
        page = (await doors.call(doors_of_cases.cases_list, params=params)).json
        seen += [case["key"] for case in page["cases"]]
        assert page["total"] == 5
        if "next" not in page:
            break
        from urllib.parse import parse_qsl, urlsplit

        params = dict(parse_qsl(urlsplit(page["next"]).query))
    assert seen == ["S-0", "S-1", "S-2", "S-3", "S-4"]


@pytest.mark.parametrize(
    "params",
    [
        {"state": "asleep"},
        {"limit": "0"},
        {"limit": "x"},
        {"olderThan": "-1h"},
        {"after": "nonsense"},
        {"status": "open"},
    ],
)
async def test_a_list_that_cannot_be_made_names_the_faulty_parameter(doors: Doors, params: dict[str, str]) -> None:
    answer = await doors.call(doors_of_cases.cases_list, params=params)
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, next(iter(params)))
