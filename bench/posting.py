"""Posting: what deciding, claiming and proving costs over a loop that receives, posts, writes as many rows, completes.

The floor (`bench.bare_posting`) runs in a worker of its own of the same host, with the same number of sessions, on the
same broker, the same tables and the same SAP; the two take turns. What an order costs is told in what the floor took
at that moment, because the machine does other things too. Each round brings so many further orders, all at
once, and ends when the broker holds none of them any more; what the rounds before left behind stays, so that the rounds
show what an order costs among hundreds and among thousands. The app's other flows are turned off: the floor has none.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import combinations, count
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from bench.bare_posting import SUBSCRIPTION, TOPIC
from bench.floor import start_floor
from bench.report import Report, interleaved, median
from sandbox.stack import LANES_PER_WORKER, Stack
from shared.authority.ledger import LedgerPolicy
from shared.authority.policy import load_policy
from shared.clients.sap_ledger import envelope
from shared.domain.changes import Change, encode, lane_of
from shared.domain.ledger import Document, Entry, document_of, entry_of, posting_key
from shared.domain.orders import read_order

ORDERS = 250
RUNS = 15
"""With the round that warms up, 4,000 orders."""
FEW, MANY = 500, 4_000
_LEAST, _GROWTH_MAX = 0.6, 1.15
_FLOW, _ENTITY = "order_to_ledger", "GB01"
_OFF = ("credit_hold_update", "crm_history_update", "account_sync", "credit_approval_sync", "inventory_push")
_LOOK_SECONDS = 0.02
_ROUND_SECONDS_MAX = 240


async def run(report: Report) -> None:
    settings = {f"AzureWebJobs_{flow}_Disabled": "true" for flow in _OFF}
    with tempfile.TemporaryDirectory(prefix="concord-bench-") as folder:
        async with (
            Stack(out=Path(folder, "stack.json"), settings=settings) as stack,
            aiohttp.ClientSession() as session,
        ):
            described = stack.described()
            bare, _, _ = await start_floor("bench.bare_posting", Path(folder), described, on_bus=True)
            client = ServiceBusClient.from_connection_string(described["servicebus"]["connection_string"])
            try:
                load = Load(client, session, described["servicebus"]["control_url"])
                report.say(f"posts {ORDERS} orders a round, {RUNS + 1} rounds, by turns with the floor")
                rates = await interleaved(RUNS, {"ours": load.ours, "bare": load.bare})
                await _all_posted(load, session, described)
            finally:
                await client.close()
                await bare.stop(10)
    found = {name: median(rate) for name, rate in rates.items()}
    detail = ", ".join(f"{name} {rate:.0f}/s" for name, rate in found.items())
    shares = [ours / bare for ours, bare in zip(rates["ours"], rates["bare"], strict=True)]
    report.ratio("posting's rate against the bare loop's", median(shares), "at least", _LEAST, runs=RUNS, detail=detail)
    costs = [bare / ours for ours, bare in zip(rates["ours"], rates["bare"], strict=True)]
    orders = [ORDERS * (turn + 1.5) for turn in range(RUNS)]
    few, many = on_the_line(orders, costs, FEW), on_the_line(orders, costs, MANY)
    report.ratio(
        f"cost of an order among {MANY:,} against among {FEW:,}, as multiples of the floor's",
        many / few, "at most", _GROWTH_MAX, runs=RUNS,
        detail=f"{few:.2f} and {many:.2f} times the floor; by round {', '.join(f'{cost:.2f}' for cost in costs)}",
    )  # fmt: skip
    report.figure("orders posted a second by one worker", found["ours"], "orders/s")


def on_the_line(at: Sequence[float], values: Sequence[float], place: float) -> float:
    """What the line through values says of a place: the median of all pairs' slopes, so that no one round bends it."""
    slope = median([(values[j] - values[i]) / (at[j] - at[i]) for i, j in combinations(range(len(at)), 2)])
    return median([value - slope * here for here, value in zip(at, values, strict=True)]) + slope * place


@dataclass(slots=True)
class Load:
    """Orders on the bus, for the flow or, as ready journal entries, for the floor."""

    client: ServiceBusClient
    session: aiohttp.ClientSession
    control_url: str
    told: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    async def ours(self) -> float:
        """So many confirmed orders; returns orders posted a second."""
        changes = [_confirmed(f"POST-{next(self._numbers):06d}") for _ in range(ORDERS)]
        self.told += [change.key for change in changes]
        return await self._drained("orders", _FLOW, [_message(change) for change in changes])

    async def bare(self) -> float:
        """The same number of the same journal entries; returns entries posted a second."""
        orders = [_confirmed(f"BARE-{next(self._numbers):06d}") for _ in range(ORDERS)]
        return await self._drained(TOPIC, SUBSCRIPTION, [_entry_message(change) for change in orders])

    async def _drained(self, topic: str, subscription: str, messages: list[ServiceBusMessage]) -> float:
        for message in messages:
            message.application_properties = {**(message.application_properties or {}), "retryFor": subscription}
        began = time.perf_counter()
        async with self.client.get_topic_sender(topic) as sender:
            for first in range(0, len(messages), 50):
                await sender.send_messages(messages[first : first + 50])
        while await self._held(topic, subscription):
            if time.perf_counter() - began > _ROUND_SECONDS_MAX:
                raise RuntimeError(f"{subscription} still holds messages after {_ROUND_SECONDS_MAX} s")
            await asyncio.sleep(_LOOK_SECONDS)
        return len(messages) / (time.perf_counter() - began)

    async def _held(self, topic: str, subscription: str) -> int:
        async with self.session.get(f"{self.control_url}/state") as answer:
            entities = (await answer.json())["entities"]
        [held] = [one for name, one in entities.items() if name.startswith(topic) and name.endswith(f"/{subscription}")]
        return int(held["active"])


async def _all_posted(load: Load, session: aiohttp.ClientSession, described: dict[str, Any]) -> None:
    """A rate of orders that were not posted would be a rate of nothing."""
    async with session.get(f"{described['sap']['url']}/__sim/state") as answer:
        documents = msgspec.json.decode(await answer.read())["documents"]
    posted = sorted(one["order"] for one in documents if one["order"].startswith("POST-"))
    if posted != sorted(load.told):
        raise RuntimeError(f"{len(load.told)} orders were told, {len(posted)} documents stand")


def _confirmed(number: str) -> Change:
    now = datetime.now(UTC)
    order = {
        "SalesId": number, "ChannelId": "web", "CustomerId": "", "CurrencyCode": "GBP",
        "OrderPlacedDate": now.isoformat(), "BusinessDate": now.date().isoformat(),
        "SubtotalAmountWithoutTax": Decimal("100.00"), "TaxAmount": Decimal("20.00"),
        "TotalAmount": Decimal("120.00"),
        "SalesLines": [
            {"LineId": str(line), "ItemId": f"ITEM-{line}", "Quantity": 1, "UnitOfMeasureSymbol": "ea",
             "Price": Decimal("25.00"), "NetAmount": Decimal("25.00"), "TaxAmount": Decimal("5.00"),
             "TotalAmount": Decimal("30.00")}
            for line in range(1, 5)
        ],
        "ChargeLines": [],
        "TenderLines": [{"TenderTypeId": "3", "Amount": Decimal("120.00"), "Currency": "GBP"}],
    }  # fmt: skip
    return Change(
        id=f"confirmed-{number}", source="commerce", entity="order", kind="order.confirmed", legal_entity=_ENTITY,
        key=number, occurred_at=now, received_at=now, correlation_id=secrets.token_hex(16),
        data={"order": order, "lines": None, "decisionId": None, "eventId": f"confirmed-{number}"},
    )  # fmt: skip


def _message(change: Change) -> ServiceBusMessage:
    return ServiceBusMessage(
        encode(change),
        message_id=change.message_id,
        session_id=lane_of(change.business_key, LANES_PER_WORKER),
        application_properties={"kind": change.kind, "entity": change.entity, "key": change.key},
    )


def _entry_message(change: Change) -> ServiceBusMessage:
    """What the flow would send to SAP for the same order, ready to send."""
    policy = _policy()
    entity = policy.entity(_ENTITY)
    entry = entry_of(read_order(change.data["order"], _ENTITY), entity, "invoice")
    if not isinstance(entry, Entry):
        raise TypeError(f"the benchmark's order cannot be posted: {entry}")
    key = posting_key(_ENTITY, change.key, "invoice", "")
    document = document_of(entry, key, entry.business_date, entity)
    if not isinstance(document, Document):
        raise TypeError(f"the benchmark's order does not balance: {document}")
    return ServiceBusMessage(
        envelope(document, policy.sap, change.received_at),
        message_id=key,
        session_id=lane_of(change.business_key, LANES_PER_WORKER),
        application_properties={"entity": "order"},
    )


@cache
def _policy() -> LedgerPolicy:
    return load_policy().ledger
