"""Deciding a checkout: what policy says to what is known. Pure.

Every rule that fires leaves its reason; the outcome is the strictest answer among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal

from shared.authority.credit import Answer, Band, Rates, Rules
from shared.domain.credit import (
    CheckRequest,
    CreditAccount,
    CreditView,
    DecisionOutcome,
    Figure,
    PriceView,
    Simulation,
)
from shared.domain.money import DECIMALS, Money
from shared.domain.rulings import Reason
from shared.errors import Permanent

_STRICTNESS: dict[Answer, int] = {"accept": 0, "approval_required": 1, "referred": 2, "declined": 3}
_OUTCOMES: dict[int, DecisionOutcome] = {0: "approved", 1: "approval_required", 2: "referred", 3: "declined"}
_SAP_PASSED = {"A", "D"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided and on what. `shortfall` is how far the order goes beyond the limit (zero when it fits);
    `band` is who may approve it, where a person decides."""

    outcome: DecisionOutcome
    reasons: tuple[Reason, ...]
    credit: CreditView | None
    prices: tuple[PriceView, ...]
    value: Money
    shortfall: Money
    band: Band | None = None


def decide(
    request: CheckRequest,
    account: CreditAccount,
    figure: Figure,
    *,
    held: Money,
    held_after: Money,
    simulation: Simulation | None,
    rules: Rules,
    rates: Rates,
    currency: str,
    today: date,
) -> Verdict:
    """Decide on what SAP said. `held` is what other checkouts hold, `held_after` the same with this one in;
    `currency` is the segment's where SAP names none; `today` the business date that items are overdue at."""
    value = rates.convert(request.on_account, account.limit.currency if account.limit else currency)
    fired = [*_account_rules(account, rules, today), *_overdue_rules(figure, rules, today)]
    prices = price_views(request, simulation)
    fired += _price_rules(request, prices, simulation, rules)
    fired += _sap_status_rules(request, simulation, rules)
    if account.limit is None:
        return _verdict(fired, None, prices, value, Money.zero(value.currency), rules)
    limit = account.limit
    credit = CreditView(limit, figure.exposure, held, figure.as_of, figure.source)
    beyond = figure.exposure + held_after - limit
    shortfall = beyond if beyond.amount > 0 else Money.zero(limit.currency)
    if request.on_account and shortfall > _tolerated(limit, rules):
        message = f"{value} on top of exposure {figure.exposure} and holds {held} is {shortfall} above limit {limit}"
        fired.append(
            (rules.over_limit, Reason("over_limit", message, "ask for approval, or let the customer pay first"))
        )
    return _verdict(fired, credit, prices, value, shortfall, rules)


def decide_without_sap(
    request: CheckRequest,
    account: CreditAccount | None,
    figure: Figure | None,
    *,
    why: str,
    held: Money | None,
    held_after: Money | None,
    rules: Rules,
    rates: Rates,
    currency: str,
    today: date,
    now_minus_figure: timedelta | None,
) -> Verdict:
    """SAP did not answer in time: what policy says then. `account` and `figure` are what it said last, if ever."""
    down = rules.sap_down
    unavailable = Reason("sap_unavailable", f"SAP could not be asked: {why}", "check again when SAP is back")
    value = rates.convert(request.on_account, account.limit.currency if account and account.limit else currency)
    none = Money.zero(value.currency)
    credit = None
    if account and account.limit and figure and held is not None:
        credit = CreditView(account.limit, figure.exposure, held, figure.as_of, figure.source)
    if down.answer != "approved":
        answer: Answer = down.answer
        return _verdict([(answer, unavailable)], credit, (), value, none, rules)
    young = now_minus_figure is not None and now_minus_figure <= timedelta(minutes=down.figure_minutes)
    if account is None or figure is None or held is None or held_after is None or not young:
        stale = Reason("no_recent_figure", f"no figure younger than {down.figure_minutes} minutes is known")
        return _verdict([("referred", unavailable), ("referred", stale)], credit, (), value, none, rules)
    if value.amount > down.up_to:
        above = Reason("above_outage_amount", f"{value} is above {down.up_to}, what may be approved while SAP is away")
        return _verdict([("referred", unavailable), ("referred", above)], credit, (), value, none, rules)
    verdict = decide(
        request,
        account,
        figure,
        held=held,
        held_after=held_after,
        simulation=None,
        rules=rules,
        rates=rates,
        currency=currency,
        today=today,
    )
    if verdict.outcome != "approved":
        return _verdict(
            [("referred", unavailable), *(("referred", r) for r in verdict.reasons)], credit, (), value, none, rules
        )
    age = Reason("figure_from_before", f"approved on a figure {now_minus_figure} old, within policy while SAP is away")
    return _verdict([("accept", unavailable), ("accept", age)], verdict.credit, (), value, none, rules)


def refuse(request: CheckRequest, value: Money, answer: Answer, reason: Reason, rules: Rules) -> Verdict:
    """A verdict for one reason alone: there is nothing to weigh."""
    return _verdict([(answer, reason)], None, (), value, Money.zero(value.currency), rules)


def price_views(request: CheckRequest, simulation: Simulation | None) -> tuple[PriceView, ...]:
    """Offered and SAP's unit price for each line."""
    return tuple(
        PriceView(line.product, line.unit_price, _contract_price(simulation, index, line.quantity))
        for index, line in enumerate(request.lines)
    )


def band_for(amount: Money, rules: Rules) -> Band | None:
    """Who may approve an amount in the segment's currency; None when nobody may."""
    for band in rules.approval.bands:
        if band.up_to is None or amount.amount <= band.up_to:
            return band
    return None


def _contract_price(simulation: Simulation | None, index: int, quantity: Decimal) -> Decimal | None:
    net = simulation.net.get(index) if simulation else None
    if simulation is None or net is None:
        return None
    price = net / quantity
    exact = price.quantize(Decimal(1).scaleb(-DECIMALS[simulation.currency]))
    return exact if exact * quantity == net else price.quantize(Decimal("0.000001"))


def _account_rules(account: CreditAccount, rules: Rules, today: date) -> list[tuple[Answer, Reason]]:
    fired: list[tuple[Answer, Reason]] = []
    if account.limit is None:
        remedy = "enter the segment's currency in SAP"
        fired.append(
            (
                "declined",
                Reason("limit_without_currency", "SAP's credit limit has no currency: it says nothing", remedy),
            )
        )
    if account.blocked:
        why = f" (reason {account.block_reason})" if account.block_reason else ""
        fired.append((rules.blocked, Reason("account_blocked", f"the credit account is blocked in SAP{why}")))
    if account.limit_valid_to is not None and account.limit_valid_to < today:
        ended = Reason("limit_expired", f"the credit limit was valid until {account.limit_valid_to}", "renew it in SAP")
        fired.append((rules.blocked, ended))
    if account.critical:
        fired.append((rules.critical, Reason("special_attention", "SAP marks the account for special attention")))
    return fired


def _overdue_rules(figure: Figure, rules: Rules, today: date) -> list[tuple[Answer, Reason]]:
    since = today - timedelta(days=rules.overdue.days)
    known = (*figure.items, *figure.overdue)
    late = [item for item in known if item.due is not None and item.due < since and item.amount.amount > 0]
    if not late:
        return []
    total = sum((item.amount for item in late), Money.zero(late[0].amount.currency))
    if total.amount <= rules.overdue.amount:
        return []
    oldest = min(item.due for item in late if item.due is not None)
    late_by = f"more than {rules.overdue.days} days overdue"
    if len(late) == 1:
        message = f"1 open item of {total} is {late_by}, since {oldest}"
    else:
        message = f"{len(late)} open items, {total} together, are {late_by}, the oldest since {oldest}"
    return [(rules.overdue.answer, Reason("overdue", message, "let the customer pay first"))]


def _price_rules(
    request: CheckRequest, prices: tuple[PriceView, ...], simulation: Simulation | None, rules: Rules
) -> list[tuple[Answer, Reason]]:
    if simulation is None:
        return []
    fired: list[tuple[Answer, Reason]] = []
    unknown = [price.product for price in prices if price.contract is None]
    if unknown:
        named = ", ".join(dict.fromkeys(unknown[:5]))
        fired.append((rules.price.unknown, Reason("price_unknown", f"SAP has no price for {named}")))
    if simulation.currency != request.currency and len(unknown) < len(prices):
        message = f"SAP prices this customer in {simulation.currency}, the order is in {request.currency}"
        return [*fired, (rules.price.mismatch, Reason("price_currency", message))]
    for index, price in enumerate(prices):
        if price.contract is None:
            continue
        allowed = price.contract * rules.price.percent / 100 + rules.price.amount
        if abs(price.offered - price.contract) > allowed:
            message = f"line {index + 1}, {price.product}: offered at {price.offered}, SAP's price is {price.contract}"
            fired.append((rules.price.mismatch, Reason("price_mismatch", message, "refresh the price in Commerce")))
    return fired


def _sap_status_rules(
    request: CheckRequest, simulation: Simulation | None, rules: Rules
) -> list[tuple[Answer, Reason]]:
    if simulation is None or simulation.credit_status in _SAP_PASSED:
        return []
    if not simulation.credit_status:
        return [(rules.sap_status.unchecked, Reason("sap_unchecked", "SAP ran no credit check of its own"))]
    if request.on_account < request.total:
        part = f"of which {request.on_account} goes on account"
        whole = f"SAP weighed all {request.total}, {part}: its verdict is not used"
        return [("accept", Reason("sap_weighed_more", whole))]
    message = f"SAP's own credit check says {simulation.credit_status}: not passed"
    return [(rules.sap_status.refused, Reason("sap_status", message))]


def _tolerated(limit: Money, rules: Rules) -> Money:
    percent = (limit.amount * rules.tolerance.percent / 100).quantize(
        Decimal(1).scaleb(-DECIMALS[limit.currency]), rounding=ROUND_DOWN
    )
    return Money.rounded(percent + rules.tolerance.amount, limit.currency)


def _verdict(
    fired: list[tuple[Answer, Reason]],
    credit: CreditView | None,
    prices: tuple[PriceView, ...],
    value: Money,
    shortfall: Money,
    rules: Rules,
) -> Verdict:
    strictest = max((_STRICTNESS[answer] for answer, _ in fired), default=0)
    outcome = _OUTCOMES[strictest]
    reasons = tuple(reason for _, reason in sorted(fired, key=lambda one: -_STRICTNESS[one[0]]))
    band = None
    if outcome in ("approval_required", "referred"):
        band = band_for(max(value, shortfall, key=lambda money: money.amount), rules)
        if band is None and outcome == "approval_required":
            beyond = Reason(
                "beyond_all_bands", f"nobody may approve {value}", "split the order or raise the limit in SAP"
            )
            return Verdict("declined", (beyond, *reasons), credit, prices, value, shortfall)
    return Verdict(outcome, reasons, credit, prices, value, shortfall, band)


def rate_is_known(request: CheckRequest, rates: Rates, currency: str) -> Reason | None:
    """Why the order's currency cannot be weighed against the limit's, None where it can."""
    try:
        rates.convert(request.on_account, currency)
    except Permanent as error:
        return Reason(error.code, str(error), error.remedy)
    return None
