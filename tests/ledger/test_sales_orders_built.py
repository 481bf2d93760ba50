"""A sale as a sales order: which sales go that way, and amounts that SAP comes to to the unit."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.authority.ledger import LegalEntity
from shared.domain.ledger import Entry, entry_of, posting_key
from shared.domain.money import DECIMALS, Money
from shared.domain.orders import read_order
from shared.domain.sales_orders import (
    PER_MAX,
    Computed,
    ComputedItem,
    SalesOrder,
    differences,
    price_of,
    sales_order_of,
    way_of,
)
from tests.ledger.rig import ledger_policy, line, sales_order

KEY = posting_key("GB01", "S-1", "invoice", "")
DAY = date(2026, 11, 23)
ON_ACCOUNT = [("4", "120.00")]


def by_order(legal_entity: str = "GB01", **over: Any) -> LegalEntity:
    return ledger_policy(posting="sales_order", **over).entity(legal_entity)


def entry(legal_entity: str = "GB01", **content: Any) -> Entry:
    order = read_order(sales_order(**({"tenders": ON_ACCOUNT} | content)), legal_entity)
    made = entry_of(order, by_order(legal_entity), "invoice")
    assert isinstance(made, Entry), made
    return made


def built(made: Entry, legal_entity: str = "GB01", key: str = KEY) -> SalesOrder:
    order = sales_order_of(made, key, DAY, by_order(legal_entity))
    assert isinstance(order, SalesOrder), order
    return order


def codes(made: Entry) -> list[str]:
    reasons = sales_order_of(made, KEY, DAY, by_order())
    assert isinstance(reasons, list)
    return [reason.code for reason in reasons]


def test_a_sale_wholly_on_account_of_a_customer_is_a_sales_order() -> None:
    assert way_of(entry(), by_order()).name == "sales_order"


def test_a_legal_entity_that_posts_by_journal_entry_sends_no_sales_orders() -> None:
    way = way_of(entry(), ledger_policy().entity("GB01"))
    assert (way.name, way.because) == ("journal_entry", "")


@pytest.mark.parametrize(
    ("content", "because"),
    [
        ({"tenders": [("3", "120.00")]}, "not wholly on account"),
        ({"tenders": [("3", "0.01"), ("4", "119.99")]}, "not wholly on account"),
        ({"customer": "", "tenders": [("1", "120.00")]}, "no customer number"),
        (
            {"lines": [line("1", "10", "100.00", "20.00"), line("2", "1", "30.00", gift_card=True)]}
            | {"tenders": [("4", "150.00")]},
            "gift card",
        ),
        (
            {"lines": [line("1", "10", "100.00", "20.00"), line("2", "-1", "-10.00", "-2.00")]}
            | {"tenders": [("4", "108.00")]},
            "gives something back",
        ),
        ({"charges": [("DISCOUNT", "-100.00", "-20.00")], "tenders": []}, "nothing is owed"),
        ({"charges": [("VOUCHER", "-10.00", "-2.00")], "tenders": [("4", "108.00")]}, "VOUCHER has no condition"),
        ({"charges": [("FREIGHT", "10.00", "0")], "tenders": [("4", "130.00")]}, "FREIGHT is taxed as no item is"),
        ({"lines": [line("1", "10", "100.00", "19.99")], "tenders": [("4", "119.99")]}, "would round otherwise"),
    ],
)
def test_what_billing_cannot_settle_or_would_tax_otherwise_stays_a_journal_entry(
    content: dict[str, Any], because: str
) -> None:
    way = way_of(entry(**content), by_order())
    assert way.name == "journal_entry"
    assert because in way.because


def test_a_return_stays_a_journal_entry() -> None:
    order = read_order(sales_order(lines=[line("1", "-1", "-10.00", "-2.00")], tenders=[("4", "-12.00")]), "GB01")
    made = entry_of(order, by_order(), "return")
    assert isinstance(made, Entry)
    assert way_of(made, by_order()).name == "journal_entry"


def test_the_order_says_who_when_what_and_under_which_key() -> None:
    order = built(entry())
    assert (order.key, order.order, order.customer, order.day) == (KEY, "S-1", "C-1", DAY)
    [item] = order.items
    assert (item.number, item.material, item.quantity, item.tax_classification) == ("10", "ITEM-1", Decimal(10), "1")
    assert (item.net.text, item.tax.text, order.gross.text) == ("100.00", "20.00", "120.00")


def test_charges_ride_on_the_dearest_item_that_is_taxed_alike_one_condition_a_type() -> None:
    made = entry(
        lines=[line("1", "1", "10.00", "2.00"), line("2", "1", "50.00", "10.00"), line("3", "1", "90.00", "4.50")],
        charges=[("FREIGHT", "5.00", "1.00"), ("POSTAGE", "2.50", "0.50"), ("DISCOUNT", "-10.00", "-2.00")],
        tenders=[("4", "163.50")],
    )
    assert way_of(made, by_order()).because == ""
    bare, dear, reduced = built(made).items
    assert (bare.conditions, reduced.conditions) == ((), ())
    assert [(kind, amount.text) for kind, amount in dear.conditions] == [("KF00", "7.50"), ("RB00", "-10.00")]
    assert (dear.net.text, dear.tax.text) == ("47.50", "9.50")
    assert [item.tax_classification for item in (bare, dear, reduced)] == ["1", "1", "2"]
    assert built(made).gross == made.total


def test_goods_without_a_price_go_along_and_lines_without_a_quantity_do_not() -> None:
    lines = [line("1", "10", "100.00", "20.00"), line("2", "3", "0"), {**line("3", "1", "0"), "Quantity": Decimal(0)}]
    order = built(entry(lines=lines))
    assert [(item.line_id, item.price.rate) for item in order.items] == [("1", Decimal("100.00")), ("2", Decimal(0))]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        ({"Quantity": Decimal("0.0001")}, "quantity_does_not_fit"),
        ({"Quantity": Decimal(10) ** 12}, "quantity_does_not_fit"),
        ({"ItemId": "X" * 41}, "material_does_not_fit"),
        (
            {
                "NetAmount": Decimal(10) ** 14,
                "TaxAmount": Decimal(10) ** 14 / 5,
                "TotalAmount": Decimal(10) ** 14 * 6 / 5,
            },
            "amount_too_large",
        ),
    ],
)
def test_what_the_fields_of_sap_cannot_carry_is_a_case_that_names_the_line(broken: dict[str, Any], code: str) -> None:
    lines = [{**line("1", "10", "100.00", "20.00"), **broken}]
    total = str(lines[0]["TotalAmount"])
    made = entry(lines=lines, tenders=[("4", total)])
    assert code in codes(made)
    assert all("line 1" in reason.message and reason.remedy for reason in sales_order_of(made, KEY, DAY, by_order()))  # type: ignore[union-attr]


def test_an_order_begun_as_sales_order_waits_for_its_policy() -> None:
    entity = by_order().model_copy(update={"sales_order": None})
    reasons = sales_order_of(entry(), KEY, DAY, entity)
    assert isinstance(reasons, list)
    assert [reason.code for reason in reasons] == ["sales_order_policy"]


@given(
    currency=st.sampled_from(["JPY", "GBP", "KWD"]),
    units=st.integers(1, 10**9),
    thousandths=st.integers(1, PER_MAX * 1000),
)
def test_the_price_makes_the_net_amount_exactly_as_sap_rounds(currency: str, units: int, thousandths: int) -> None:
    net = Money(Decimal(units).scaleb(-DECIMALS[currency]), currency)
    quantity = Decimal(thousandths).scaleb(-3)
    price = price_of(net, quantity)
    assert price is not None
    assert price.net_of(quantity, currency) == net.amount
    assert 1 <= price.per <= PER_MAX
    assert -int(price.rate.as_tuple().exponent) <= 9
    assert price.rate == price.rate.quantize(Decimal(1).scaleb(-DECIMALS[currency])), "also where a rate has no more"


@given(currency=st.sampled_from(["JPY", "GBP", "KWD"]), units=st.integers(1, 10**9), quantity=st.integers(1, 10**9))
def test_the_price_of_a_large_quantity_is_exact_or_there_is_none(currency: str, units: int, quantity: int) -> None:
    net = Money(Decimal(units).scaleb(-DECIMALS[currency]), currency)
    price = price_of(net, Decimal(quantity))
    assert price is not None
    assert price.net_of(Decimal(quantity), currency) == net.amount


# What SAP makes of it


def computed(order: SalesOrder, **changed: tuple[str, str]) -> Computed:
    items = {item.number: ComputedItem(item.net.amount, item.tax.amount) for item in order.items}
    items |= {number.removeprefix("item"): ComputedItem(Decimal(n), Decimal(t)) for number, (n, t) in changed.items()}
    return Computed(order.currency, sum((one.net for one in items.values()), Decimal(0)), items)


def test_what_sap_computes_alike_is_no_difference() -> None:
    order = built(entry())
    assert differences(order, computed(order)) == []


@pytest.mark.parametrize(("net", "tax"), [("100.01", "20.00"), ("100.00", "19.99"), ("0", "0")])
def test_a_unit_of_net_or_tax_is_a_difference_that_states_both_figures(net: str, tax: str) -> None:
    order = built(entry())
    said = "; ".join(differences(order, computed(order, item10=(net, tax))))
    for own, theirs in (("100.00", net), ("20.00", tax)):
        assert own == theirs or (own in said and theirs in said)


def test_items_that_are_missing_or_too_many_and_another_currency_are_differences() -> None:
    order = built(entry())
    assert "no item 10" in differences(order, Computed("GBP", Decimal(0), {}))[0]
    assert "item 11" in differences(order, computed(order, item11=("1.00", "0.20")))[0]
    assert differences(order, computed(order, item11=("0", "0"))) == [], "the parts of a set cost nothing"
    assert "JPY" in differences(order, Computed("JPY", Decimal(100), computed(order).items))[0]
    assert "in all" in differences(order, Computed("GBP", Decimal(99), computed(order).items))[0]
