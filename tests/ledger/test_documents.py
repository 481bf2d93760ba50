"""What an order becomes on the ledger: accounts, signs, taxes, currencies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.authority.ledger import LegalEntity
from shared.authority.policy import PolicyFaulty, load_policy
from shared.domain.ledger import (
    Document,
    DocumentLine,
    Entry,
    content_of,
    document_of,
    entry_of,
    posting_key,
    read_content,
    tax_code_of,
)
from shared.domain.money import Money, unit
from shared.domain.orders import read_order
from tests.ledger.rig import ledger_policy, line, sales_order

POLICY = ledger_policy()


def entry_for(order: dict[str, Any], legal_entity: str = "GB01") -> Entry:
    entry = entry_of(read_order(order, legal_entity), POLICY.entity(legal_entity), "invoice")
    assert isinstance(entry, Entry), entry
    return entry


def document_for(order: dict[str, Any], legal_entity: str = "GB01") -> Document:
    entry = entry_for(order, legal_entity)
    document = document_of(entry, "K" * 16, entry.business_date, POLICY.entity(legal_entity))
    assert isinstance(document, Document), document
    return document


def amounts(document: Document) -> dict[str, str]:
    sums: Counter[str] = Counter()
    for one in document.lines:
        sums[one.account or f"tax {one.tax_code}"] += one.amount.amount  # type: ignore[assignment]
    return {account: str(amount) for account, amount in sums.items() if amount}


def test_an_order_on_account_is_the_customers_receivable_against_revenue_and_tax() -> None:
    document = document_for(sales_order(tenders=[("4", "120.00")]))
    assert amounts(document) == {"C-1": "120.00", "41000000": "-100.00", "tax A1": "-20.00"}
    assert [one.kind for one in document.lines if one.account == "C-1"] == ["customer"]


def test_each_tender_clears_on_its_own_account_and_a_gift_card_reduces_the_liability() -> None:
    paid = [("1", "20.00"), ("3", "30.00"), ("8", "10.00"), ("7", "5.00"), ("4", "55.00")]
    assert amounts(document_for(sales_order(tenders=paid))) == {
        "11010000": "20.00",
        "11030000": "30.00",
        "21500000": "10.00",
        "11020000": "5.00",
        "C-1": "55.00",
        "41000000": "-100.00",
        "tax A1": "-20.00",
    }


def test_a_gift_card_sold_is_a_liability_not_revenue() -> None:
    order = sales_order(lines=[line("1", "1", "50.00", gift_card=True)])
    assert amounts(document_for(order)) == {"11030000": "50.00", "21500000": "-50.00"}


def test_charges_go_where_their_codes_say_and_those_in_the_customers_favour_are_debits() -> None:
    charges = [
        ("FREIGHT", "5.00", "1.00"),
        ("DISCOUNT", "-10.00", "-2.00"),
        ("VOUCHER", "-4.00", "-0.80"),
        ("BANKCHARGE", "0.50", "0"),
        ("ADJUSTMENT", "-1.00", "0"),
        ("ROUNDING", "0.01", "0"),
    ]
    document = document_for(sales_order(charges=charges))
    assert amounts(document)["41500000"] == "-5.00"
    assert amounts(document)["44000000"] == "10.00"
    assert amounts(document)["44100000"] == "4.00"
    assert amounts(document)["54000000"] == "-0.50"
    assert amounts(document)["44500000"] == "1.00"
    assert amounts(document)["69000000"] == "-0.01"


def test_a_buyer_without_a_number_passes_through_the_one_time_account() -> None:
    document = document_for(sales_order(customer=""))
    through = [one.amount.amount for one in document.lines if one.account == "CPDGB01"]
    assert through == [Decimal("120.00"), Decimal("-120.00")]


def test_a_guest_cannot_owe() -> None:
    order = read_order(sales_order(customer="", tenders=[("4", "120.00")]), "GB01")
    reasons = entry_of(order, POLICY.entity("GB01"), "invoice")
    assert isinstance(reasons, list)
    assert [reason.code for reason in reasons] == ["on_account_without_customer"]


@pytest.mark.parametrize(
    ("legal_entity", "currency", "net", "tax", "code", "gross"),
    [("JP01", "JPY", "1000", "100", "J1", "1100"), ("KW01", "KWD", "10.250", "0.513", "K1", "10.763")],
)
def test_amounts_keep_the_decimals_of_their_currency(
    legal_entity: str, currency: str, net: str, tax: str, code: str, gross: str
) -> None:
    document = document_for(sales_order(currency=currency, lines=[line("1", "1", net, tax)]), legal_entity)
    assert document.gross.text == gross
    assert amounts(document)[f"tax {code}"] == f"-{tax}"


def test_seven_hundred_lines_become_few_because_sap_takes_999() -> None:
    order = sales_order(lines=[line(str(n), "1", "1.00", "0.20") for n in range(1, 701)])
    document = document_for(order)
    assert len(document.lines) < 10
    assert document.gross.text == "840.00"


def test_zero_price_lines_alone_move_no_money() -> None:
    assert not entry_for(sales_order(lines=[line("1", "3", "0.00")])).moves_money


def test_a_tax_rate_nobody_configured_is_named_with_its_remedy() -> None:
    order = read_order(sales_order(lines=[line("1", "1", "100.00", "13.00")]), "GB01")
    reasons = entry_of(order, POLICY.entity("GB01"), "invoice")
    assert isinstance(reasons, list)
    assert reasons[0].code == "unknown_tax_code"
    assert "line 1" in reasons[0].message
    assert "ledger.yaml" in reasons[0].remedy


def test_a_charge_code_nobody_configured_is_named() -> None:
    order = read_order(sales_order(charges=[("MYSTERY", "1.00", "0")]), "GB01")
    reasons = entry_of(order, POLICY.entity("GB01"), "invoice")
    assert isinstance(reasons, list)
    assert [reason.code for reason in reasons] == ["unknown_charge_code"]


def test_a_document_that_does_not_balance_is_a_reason_and_no_document() -> None:
    entry = entry_for(sales_order())
    paid = tuple(replace(tender, amount=Money(Decimal("119.99"), "GBP")) for tender in entry.tenders)
    entry = replace(entry, tenders=paid)
    found = document_of(entry, "K" * 16, entry.business_date, POLICY.entity("GB01"))
    assert isinstance(found, list)
    assert [reason.code for reason in found] == ["unbalanced"]
    assert "0.01 GBP" in found[0].message


def test_one_unit_of_rounding_belongs_to_the_channel_two_do_not() -> None:
    entity = POLICY.entity("GB01")

    def code(tax: str) -> str | None:
        found = tax_code_of(Money(Decimal("9.99"), "GBP"), Money(Decimal(tax), "GBP"), entity)
        return found.code if found else None

    assert (code("2.00"), code("1.99"), code("2.03"), code("0.50"), code("0")) == ("A1", "A1", None, "A5", "A0")


def test_posting_keys_fit_the_reference_field_and_differ_by_every_part() -> None:
    parts = [("GB01", "S-1", "invoice", ""), ("JP01", "S-1", "invoice", ""), ("GB01", "S-2", "invoice", "")]
    parts += [("GB01", "S-1", "return", ""), ("GB01", "S-1", "return", "e1"), ("GB01", "S-1", "return", "e2")]
    parts += [("GB01", "S-1i", "nvoice", ""), ("GB01", "S-1|invoice", "", "")]
    keys = {posting_key(*part) for part in parts}
    assert len(keys) == len(parts)
    assert all(len(key) == 16 and key.isalnum() and key == key.upper() for key in keys)
    assert posting_key("GB01", "S-1", "invoice", "") == posting_key("GB01", "S-1", "invoice", "")


@st.composite
def orders(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    legal_entity = draw(st.sampled_from(["GB01", "JP01", "KW01"]))
    entity = POLICY.entity(legal_entity)
    smallest = unit(entity.currency)

    def amount(low: int, high: int) -> Decimal:
        return draw(st.integers(low, high)) * smallest

    lines, charges = [], []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        net = amount(0, 5_000_000)
        rate = draw(st.sampled_from([code.rate for code in entity.tax_codes]))
        lines.append(line(str(number), "1", str(net), str(Money.rounded(net * rate, entity.currency).amount)))
    for code in draw(st.lists(st.sampled_from(sorted(entity.charge_accounts)), max_size=5)):
        charges.append((code, str(amount(-1000, 1000)), "0"))
    order = sales_order(
        currency=entity.currency, lines=lines, charges=charges, customer=draw(st.sampled_from(["", "C"]))
    )
    total = order["TotalAmount"]
    card = amount(0, 1_000_000)
    order["TenderLines"] = [
        {"TenderTypeId": "3", "Amount": total - card},
        {"TenderTypeId": "8", "Amount": card},
    ]
    return legal_entity, order


@given(orders())
@settings(max_examples=150, deadline=None)
def test_every_document_balances_in_whole_units_and_pays_what_the_order_costs(
    drawn: tuple[str, dict[str, Any]],
) -> None:
    legal_entity, order = drawn
    document = document_for(order, legal_entity)
    assert not document.balance
    assert document.gross.amount == order["TotalAmount"]
    assert all(one.amount for one in document.lines)

    def paid(one: DocumentLine) -> bool:
        return one.text.startswith("TENDER") or one.text == "GIFT CARD REDEEMED"

    assert sum((one.amount.amount for one in document.lines if paid(one)), Decimal(0)) == order["TotalAmount"]


@given(orders())
@settings(max_examples=50, deadline=None)
def test_frozen_content_reads_back_as_the_same_entry(drawn: tuple[str, dict[str, Any]]) -> None:
    legal_entity, order = drawn
    entry = entry_for(order, legal_entity)
    assert read_content(content_of(entry)) == entry


def test_a_way_of_posting_that_there_is_not_is_refused_at_start_and_not_posted_otherwise() -> None:
    with pytest.raises(ValidationError, match="posting"):
        ledger_policy(posting="invoice_by_post")


def _sales_orders(**over: Any) -> dict[str, Any]:
    area = {"sales_organization": "GB01", "distribution_channel": "10", "division": "00", "type": "OR"}
    billing = {"billing_block": "03", "billing_document_type": "RV", "billed_within_days": 3}
    conditions = {"price_condition": "PMP0", "charge_conditions": {"FREIGHT": "KF00"}}
    return {**area, **billing, **conditions, **over}


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (
            _sales_orders(charge_conditions={"WRAPPING": "KF00"}),
            "charge_conditions.WRAPPING: is not among charge_accounts",
        ),
        (_sales_orders(billing_document_type="DR"), "billing_document_type: journal entries have this type"),
        (_sales_orders(price_condition="KF00"), "price_condition: is a condition of charges too"),
        (_sales_orders(billed_within_days=-1), "billed_within_days"),
        (_sales_orders(distribution_channel="100"), "distribution_channel"),
        (_sales_orders(colour="blue"), "colour"),
        (None, "sales_order: is missing"),
    ],
)
def test_every_fault_of_a_way_by_sales_order_is_named_at_start(section: dict[str, Any] | None, fault: str) -> None:
    entity = ledger_policy().entity("GB01").model_dump() | {"posting": "sales_order", "sales_order": section}
    with pytest.raises(ValidationError) as refused:
        LegalEntity.model_validate(entity)
    assert fault in str(refused.value)


def test_a_tax_code_needs_its_classification_only_where_sales_orders_are_posted() -> None:
    entity = ledger_policy().entity("GB01").model_dump()
    for code in entity["tax_codes"]:
        code["tax_classification"] = None
    assert LegalEntity.model_validate(entity).posting == "journal_entry"
    with pytest.raises(ValidationError, match=r"tax_codes\.A5: names no tax_classification"):
        LegalEntity.model_validate(entity | {"posting": "sales_order"})


def test_two_tax_codes_of_one_place_cannot_share_a_classification() -> None:
    entity = ledger_policy().entity("GB01").model_dump()
    entity["tax_codes"][1]["tax_classification"] = "1"
    with pytest.raises(ValidationError, match="tax_classification 1 stands twice for GB"):
        LegalEntity.model_validate(entity)


def test_orders_are_checked_in_the_sales_area_in_which_they_are_placed(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text('ledger: {legal_entities: {GB01: {posting: sales_order, sales_order: {division: "01"}}}}')
    with pytest.raises(PolicyFaulty, match=r"places orders in OR/GB01/10/01, credit.yaml checks them in OR/GB01/10/00"):
        load_policy(overlay)
    overlay.write_text("ledger: {legal_entities: {GB01: {posting: sales_order}}}")
    assert load_policy(overlay).ledger.entity("GB01").posting == "sales_order"
