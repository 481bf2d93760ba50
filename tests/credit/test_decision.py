"""What policy says to what is known, rule by rule; the strictest answer decides and every rule leaves its reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.authority.credit import Rules, read_credit_policy
from shared.domain.credit import CheckLine, CreditAccount, Figure, Item, Simulation
from shared.domain.credit_decision import Verdict, decide, decide_without_sap
from shared.domain.money import DECIMALS, Money
from shared.errors import Malformed
from tests.credit.truth import gbp, request
from tests.hub import NOON, shipped_policy

POLICY = shipped_policy().credit
TODAY = date(2026, 11, 23)


def rules(**changes: Any) -> Rules:
    """The shipped rules of GB01 with some parts changed."""
    merged = POLICY.rules_for("GB01", "").model_dump()
    for name, value in changes.items():
        merged[name] = {**merged[name], **value} if isinstance(value, dict) else value
    return Rules.model_validate(merged)


ACCOUNT = CreditAccount("4711", "1000", gbp(1000), None, False, "", False, "A")
FIGURE = Figure(NOON, "items", gbp(0))
PRICED = Simulation({0: Decimal(100)}, "GBP", "A")


def due(days_ago: int, amount: int) -> Item:
    return Item("K", "GB01", "1", "2026", "GB01", "", "invoice", TODAY - timedelta(days=days_ago), gbp(amount))


def decided(
    *,
    account: CreditAccount = ACCOUNT,
    figure: Figure = FIGURE,
    held: int = 0,
    simulation: Simulation | None = PRICED,
    by: Rules | None = None,
    **asked: Any,
) -> Verdict:
    order = replace(request("r-1"), **asked)
    currency = account.limit.currency if account.limit else "GBP"
    after = Money(Decimal(held), currency) + POLICY.rates.convert(order.on_account, currency)
    return decide(
        order, account, figure, held=Money(Decimal(held), currency), held_after=after, simulation=simulation,
        rules=by or rules(), rates=POLICY.rates, currency="GBP", today=TODAY,
    )  # fmt: skip


CASES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "to the last penny": ({"held": 900}, "approved", []),
    "a penny too much": ({"held": 900, "figure": replace(FIGURE, exposure=gbp("0.01"))}, "approval_required",
                         ["over_limit"]),
    "within the tolerance": ({"held": 1000, "by": rules(tolerance={"percent": "10"})}, "approved", []),
    "beyond the tolerance": ({"held": 1001, "by": rules(tolerance={"percent": "10"})}, "approval_required",
                             ["over_limit"]),
    "over the limit, declined": ({"held": 901, "by": rules(over_limit="declined")}, "declined", ["over_limit"]),
    "blocked": ({"account": replace(ACCOUNT, blocked=True, block_reason="01")}, "declined", ["account_blocked"]),
    "limit no longer valid": ({"account": replace(ACCOUNT, limit_valid_to=date(2026, 11, 22))}, "declined",
                              ["limit_expired"]),
    "limit valid to the end of today": ({"account": replace(ACCOUNT, limit_valid_to=TODAY)}, "approved", []),
    "limit without a currency": ({"account": replace(ACCOUNT, limit=None)}, "declined", ["limit_without_currency"]),
    "special attention": ({"account": replace(ACCOUNT, critical=True)}, "approval_required", ["special_attention"]),
    "overdue": ({"figure": replace(FIGURE, items=(due(31, 5),))}, "approval_required", ["overdue"]),
    "overdue, read beside the figure": ({"figure": replace(FIGURE, overdue=(due(31, 5),))}, "approval_required",
                                        ["overdue"]),
    "late, not yet overdue": ({"figure": replace(FIGURE, items=(due(30, 5),))}, "approved", []),
    "a late credit is none": ({"figure": replace(FIGURE, items=(due(99, -5),))}, "approved", []),
    "SAP's price is lower": ({"simulation": replace(PRICED, net={0: Decimal(90)})}, "approval_required",
                             ["price_mismatch"]),
    "within the price tolerance": ({"simulation": replace(PRICED, net={0: Decimal(98)}),
                                    "by": rules(price={"percent": 3})}, "approved", []),
    "no price in SAP": ({"simulation": replace(PRICED, net={})}, "approved", ["price_unknown"]),
    "no price in SAP, by stricter policy": ({"simulation": Simulation({}, "", ""),
                                             "by": rules(price={"unknown": "approval_required"})},
                                            "approval_required", ["price_unknown", "sap_unchecked"]),
    "SAP prices in another currency": ({"simulation": replace(PRICED, currency="EUR")}, "approval_required",
                                       ["price_currency"]),
    "SAP's own check is blank: unchecked": ({"simulation": replace(PRICED, credit_status="")}, "approved",
                                            ["sap_unchecked"]),
    "unchecked, by stricter policy": ({"simulation": replace(PRICED, credit_status=""),
                                       "by": rules(sap_status={"unchecked": "referred"})}, "referred",
                                      ["sap_unchecked"]),
    "SAP's own check says no": ({"simulation": replace(PRICED, credit_status="B")}, "approval_required",
                                ["sap_status"]),
    "SAP's own check: partial release": ({"simulation": replace(PRICED, credit_status="C")}, "approval_required",
                                         ["sap_status"]),
    "released in SAP": ({"simulation": replace(PRICED, credit_status="D")}, "approved", []),
    "SAP weighed what is paid by card too": ({"simulation": replace(PRICED, credit_status="B"),
                                              "on_account": gbp(10)}, "approved", ["sap_weighed_more"]),
    "nothing on account": ({"held": 5000, "on_account": gbp(0)}, "approved", []),
    "the strictest decides": ({"held": 950, "account": replace(ACCOUNT, blocked=True)}, "declined",
                              ["account_blocked", "over_limit"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_rule_gives_its_answer_and_its_reason(case: str) -> None:
    given_, outcome, codes = CASES[case]
    verdict = decided(**given_)
    assert (verdict.outcome, [reason.code for reason in verdict.reasons]) == (outcome, codes)


def test_who_may_approve_follows_from_the_amount() -> None:
    assert (band := decided(held=1000).band) is not None and band.role == "Approver"
    big = decided(held=1000, total=gbp(30000), on_account=gbp(30000))
    assert big.band is not None and big.band.role == "SeniorApprover"
    bounded = rules(approval={"bands": [{"up_to": 50, "role": "Approver"}]})
    nobody = decided(held=1000, by=bounded)
    assert (nobody.outcome, nobody.reasons[0].code) == ("declined", "beyond_all_bands")


@pytest.mark.parametrize(
    ("currency", "on_account", "limit_left", "outcome"),
    [
        ("JPY", "20340", "100.00", "approved"),
        ("JPY", "20342", "100.00", "approval_required"),
        ("KWD", "40.210", "100.00", "approved"),
        ("KWD", "40.213", "100.00", "approval_required"),
    ],
)
def test_an_order_in_a_currency_of_0_or_3_decimals_is_weighed_in_the_segments(
    currency: str, on_account: str, limit_left: str, outcome: str
) -> None:
    amount = Money(Decimal(on_account), currency)
    account = replace(ACCOUNT, limit=gbp(limit_left))
    priced = Simulation({}, "", "A")
    verdict = decided(account=account, simulation=priced, currency=currency, total=amount, on_account=amount)
    assert verdict.outcome == outcome


@given(
    limit=st.integers(0, 10**9),
    exposure=st.integers(-(10**9), 10**9),
    held=st.integers(0, 10**9),
    amount=st.integers(1, 10**9),
    percent=st.integers(0, 50),
    currency=st.sampled_from(["JPY", "GBP", "KWD"]),
)
def test_what_is_approved_fits_into_limit_and_tolerance_and_what_fits_is_approved(
    limit: int, exposure: int, held: int, amount: int, percent: int, currency: str
) -> None:
    unit = Decimal(1).scaleb(-DECIMALS[currency])
    sums = {name: Money(value * unit, currency) for name, value in
            {"limit": limit, "exposure": exposure, "held": held, "amount": amount}.items()}  # fmt: skip
    order = replace(request("r-1"), currency=currency, total=sums["amount"], on_account=sums["amount"])
    verdict = decide(
        order, replace(ACCOUNT, limit=sums["limit"]), replace(FIGURE, exposure=sums["exposure"]), held=sums["held"],
        held_after=sums["held"] + sums["amount"], simulation=None, rules=rules(tolerance={"percent": percent}),
        rates=POLICY.rates, currency=currency, today=TODAY,
    )  # fmt: skip
    room = limit + limit * percent // 100
    assert (verdict.outcome == "approved") == (exposure + held + amount <= room)


def without_sap(by: Rules, *, age: timedelta | None = timedelta(minutes=5), held: int = 0, **asked: Any) -> Verdict:
    order = replace(request("r-1"), **asked)
    figure = replace(FIGURE, source="remembered") if age is not None else None
    known = gbp(held) if age is not None else None
    return decide_without_sap(
        order, ACCOUNT if age is not None else None, figure, why="it did not answer in time", held=known,
        held_after=None if known is None else known + order.on_account, rules=by, rates=POLICY.rates, currency="GBP",
        today=TODAY, now_minus_figure=age,
    )  # fmt: skip


BOUNDED = rules(sap_down={"answer": "approved", "up_to": 150, "figure_minutes": 15})


@pytest.mark.parametrize(
    ("verdict", "outcome", "codes"),
    [
        (without_sap(rules()), "referred", ["sap_unavailable"]),
        (without_sap(rules(sap_down={"answer": "declined"})), "declined", ["sap_unavailable"]),
        (without_sap(BOUNDED), "approved", ["sap_unavailable", "figure_from_before"]),
        (without_sap(BOUNDED, age=timedelta(minutes=16)), "referred", ["sap_unavailable", "no_recent_figure"]),
        (without_sap(BOUNDED, age=None), "referred", ["sap_unavailable", "no_recent_figure"]),
        (without_sap(BOUNDED, total=gbp(151), on_account=gbp(151)), "referred",
         ["sap_unavailable", "above_outage_amount"]),
        (without_sap(BOUNDED, held=950), "referred", ["sap_unavailable", "over_limit"]),
    ],
)  # fmt: skip
def test_without_sap_policy_answers_and_says_so(verdict: Verdict, outcome: str, codes: list[str]) -> None:
    assert (verdict.outcome, [reason.code for reason in verdict.reasons]) == (outcome, codes)


def test_every_fault_of_the_policy_is_named_at_once() -> None:
    raw = POLICY.model_dump(mode="json")
    raw["defaults"]["sap_down"] = {"answer": "approved", "up_to": 0, "figure_minutes": 0}
    with pytest.raises(Malformed) as defaults:
        read_credit_policy(raw)
    assert [fault.where for fault in defaults.value.faults] == ["defaults.sap_down"]
    raw = POLICY.model_dump(mode="json")
    raw["rates"]["per_base"]["EUR"] = "0"
    raw["legal_entities"]["GB01"]["exposure"] = {"source": "totals", "lag_seconds": 0}
    raw["legal_entities"]["GB01"]["currency"] = "pounds"
    raw["legal_entities"]["JP01"]["deadline_seconds"] = 0
    with pytest.raises(Malformed) as caught:
        read_credit_policy(raw)
    named = " ".join(fault.where for fault in caught.value.faults)
    for where in ("per_base.EUR", "GB01.exposure", "GB01.currency", "JP01.deadline_seconds"):
        assert where in named, named


def test_charges_alone_have_no_price_to_compare_and_fractions_of_a_unit_price_no_difference() -> None:
    assert decided(lines=(), simulation=None).reasons == ()
    two = (CheckLine("TEA", Decimal(3), Decimal("33.33")), CheckLine("MUG", Decimal(1), Decimal("0.01")))
    exact = Simulation({0: Decimal("99.99"), 1: Decimal("0.01")}, "GBP", "A")
    assert decided(lines=two, simulation=exact).reasons == ()
