"""Whatever sale goes by sales order, SAP's pricing comes to the customer's amounts: net, tax and gross, to the unit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sandbox.kit import exact_json
from sandbox.kit.entities import legal_entities
from sandbox.kit.state import State
from sandbox.sap.odata import decode_deep
from sandbox.sap.services.billing import bill
from sandbox.sap.services.sales_order import sales_order_service
from sandbox.sap.state_view import document
from sandbox.sap.world import World
from shared.authority.ledger import LegalEntity
from shared.clients.odata import _outgoing
from shared.clients.sap_orders import _placed, deep_insert
from shared.domain.ledger import Entry, entry_of
from shared.domain.money import DECIMALS, Money
from shared.domain.orders import read_order
from shared.domain.sales_orders import SalesOrder, differences, sales_order_of, way_of
from tests.ledger.rig import ledger_policy, line, sales_order

POLICY = ledger_policy(posting="sales_order")
DAY = date(2026, 11, 23)


@st.composite
def sales(draw: st.DrawFn) -> tuple[LegalEntity, Entry]:
    """A sale on account in a currency of 0, 2 or 3 decimals, taxed as its channel does, line by line."""
    entity = POLICY.entity(draw(st.sampled_from(["GB01", "JP01", "KW01"])))
    currency, places = entity.currency, DECIMALS[entity.currency]
    rates = [code.rate for code in entity.tax_codes]

    def amount(least: int, most: int) -> Decimal:
        return Decimal(draw(st.integers(least, most))).scaleb(-places)

    def taxed(net: Decimal) -> str:
        return Money.rounded(net * draw(st.sampled_from(rates)), currency).text

    lines = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        net, quantity = amount(0, 10**7), Decimal(draw(st.integers(1, 10**6))).scaleb(-draw(st.integers(0, 3)))
        lines.append(line(str(number), f"{quantity:f}", f"{net:f}", taxed(net)))
    charges = []
    for code, sign in draw(st.lists(st.sampled_from([("FREIGHT", 1), ("POSTAGE", 1), ("DISCOUNT", -1)]), max_size=2)):
        fee = sign * amount(1, 1000)
        charges.append((code, f"{fee:f}", taxed(fee)))
    bare = sales_order(currency=currency, lines=lines, charges=charges, tenders=[])
    raw = {**bare, "TenderLines": [{"TenderTypeId": "4", "Amount": bare["TotalAmount"]}]}
    entry = entry_of(read_order(raw, entity.code), entity, "invoice")
    assert isinstance(entry, Entry), entry
    return entity, entry


def placed_in_sap(order: SalesOrder) -> tuple[World, dict[str, Any]]:
    """The order as a simulated SAP takes it from its request, byte for byte."""
    world = World(State(), lambda kind, keys: None)
    world.begin()
    world.create_customer("C-1", legal_entities()[order.company_code], "Customer")
    for item in order.items:
        world.add_material(item.material)
    service = sales_order_service(world)
    orders = service.sets["A_SalesOrder"]
    assert orders.create is not None
    body = exact_json.loads_object(exact_json.dumps(_outgoing(deep_insert(order))))
    return world, orders.create(decode_deep(service, orders, body)).row


@given(sales())
@settings(max_examples=200, deadline=None)
def test_sap_computes_what_the_customer_saw_and_bills_it(sale: tuple[LegalEntity, Entry]) -> None:
    entity, entry = sale
    assume(way_of(entry, entity).name == "sales_order")
    order = sales_order_of(entry, "K" + "A" * 15, DAY, entity)
    assert isinstance(order, SalesOrder), order
    world, row = placed_in_sap(order)
    computed = _placed({**row, "to_Item": {"results": row["_items"]}}).computed
    assert computed is not None
    assert differences(order, computed) == []
    billed = document(world, bill(world, row))
    assert Decimal(str(billed["gross"])) == entry.total.amount
    assert billed["reference"] == order.key
