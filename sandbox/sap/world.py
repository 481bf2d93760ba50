"""The tables of the simulated SAP system, and the questions several services ask of them."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from sandbox.kit.entities import LegalEntity, legal_entities
from sandbox.kit.state import State, Table
from sandbox.sap.configuration import (
    BASE_UNIT,
    CHANNEL,
    DIVISION,
    RECEIVABLES,
    convert,
    decimals,
    one_time_account,
    open_by_default,
)
from sandbox.sap.edm import Values
from sandbox.sap.records import Condition, CreditAccount, Document, DocumentKey, Line, Stock

type Emit = Callable[[str, Mapping[str, str]], None]

_FOREVER: Final = date(9999, 12, 31)
_NAMESPACE: Final = uuid.UUID("5b0f8f6e-1d6f-4f0e-9a52-3d1f0a6b7c11")


class World:
    """Everything the services share. `emit` sends an event of a type with its keys once the change has taken effect."""

    def __init__(self, state: State, emit: Emit) -> None:
        self.state = state
        self._emit = emit
        self.lag_seconds = 0.0
        self.documents: Table[DocumentKey, Document] = state.table(
            {"original": lambda d: (d.company_code, d.original_reference)}
        )
        self.lines: Table[tuple[str, str, str, int], Line] = state.table(
            {
                "document": lambda line: line.document.number,
                "reference": lambda line: line.document.reference or None,
                "order": lambda line: line.document.reference1 or None,
                "customer": lambda line: line.customer or None,
                "open": lambda line: line.customer if line.is_open else None,
                "assignment": lambda line: line.assignment or None,
                "original": lambda line: line.document.original_reference,
                "awref": lambda line: line.document.original_reference[:10],
                "company_code": lambda line: line.document.company_code,
            }
        )
        self.partners: Table[str, Values] = state.table()
        self.customers: Table[str, Values] = state.table()
        self.customer_companies: Table[tuple[str, str], Values] = state.table(
            {"customer": lambda row: str(row["Customer"])}
        )
        self.sales_areas: Table[tuple[str, str, str, str], Values] = state.table(
            {"customer": lambda row: str(row["Customer"])}
        )
        self.credit_accounts: Table[tuple[str, str], CreditAccount] = state.table({"account": lambda row: row.account})
        self.materials: Table[str, str] = state.table()
        self.stock: Table[tuple[str, str], Stock] = state.table({"material": lambda row: row.material})
        self.conditions: Table[str, Condition] = state.table(
            {"price": lambda c: (c.account, c.material), "material": lambda c: c.material}
        )
        self.sales_orders: Table[str, dict[str, Any]] = state.table(
            {
                "customer": lambda o: str(o["SoldToParty"]),
                "reference": lambda o: o.get("PurchaseOrderByCustomer") or None,
                "external": lambda o: o.get("AccountingDocExternalReference") or None,
            }
        )
        self.billing_documents: Table[str, dict[str, Any]] = state.table()
        self.periods: Table[tuple[str, str], bool] = state.table()
        self.announced: Table[tuple[str, str], bool] = state.table()
        self.untampered: Table[DocumentKey, tuple[Document | None, tuple[Line, ...]]] = state.table()
        self._numbers: dict[str, int] = {}
        self._stamp = datetime.min.replace(tzinfo=UTC)

    def begin(self) -> None:
        """The customising every system starts with: one-time customers of each company code."""
        self.lag_seconds = 0.0
        self._numbers.clear()
        for entity in legal_entities().values():
            self.create_customer(
                one_time_account(entity.code), entity, f"One-time customer {entity.code}", one_time=True
            )

    def emit(self, event_type: str, keys: Mapping[str, str]) -> None:
        """Tell the world of a change, once it has taken effect."""
        self.state.on_commit(lambda: self._emit(event_type, keys))

    def number(self, object_name: str, first: int) -> str:
        """The next number of a range, ten digits; numbers are never given twice, also not after a rollback."""
        self._numbers[object_name] = self._numbers.get(object_name, first - 1) + 1
        return f"{self._numbers[object_name]:010d}"

    def stamp(self) -> datetime:
        """Now, in whole milliseconds as JSON carries it, and later than every stamp before: a change has its own."""
        now = datetime.fromtimestamp(self.state.clock(), UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._stamp = max(now, self._stamp + timedelta(milliseconds=1))
        return self._stamp

    def today(self, company_code: str | None = None) -> date:
        """The date in the calendar of a company code, or the UTC one."""
        now = self.state.now()
        return now.astimezone(_zone(company_code)).date() if company_code else now.date()

    # Customers

    def create_customer(self, account: str, entity: LegalEntity, name: str, *, one_time: bool = False) -> bool:
        """Make an account known in a company code and its sales area; says whether anything was new."""
        now, today = self.stamp(), self.today()
        new = False
        if account not in self.partners:
            new = True
            self.partners.put(account, _partner(account, name, today, now))
            self.customers.put(account, _customer(account, name, today, one_time=one_time))
        if (account, entity.code) not in self.customer_companies:
            new = True
            self.customer_companies.put((account, entity.code), _customer_company(account, entity))
        if (account, entity.code, CHANNEL, DIVISION) not in self.sales_areas:
            self.sales_areas.put((account, entity.code, CHANNEL, DIVISION), _sales_area(account, entity))
        return new

    def partner_changed(self, account: str) -> None:
        """Stamp a business partner as changed and tell."""
        row = self.partners.get(account)
        if row is None:
            return
        now = self.stamp()
        self.partners.put(account, {**row, **_changed(now)})
        self.emit("businesspartner.v1.BusinessPartner.Changed.v1", {"BusinessPartner": account})

    # Ledger

    def is_period_open(self, company_code: str, day: date) -> bool:
        """Whether a company code takes postings dated `day`."""
        month = f"{day:%Y-%m}"
        explicit = self.periods.get((company_code, month))
        return open_by_default(month, self.today()) if explicit is None else explicit

    def head(self, line: Line) -> Document:
        """The document of a line as it stands now."""
        return self.documents.get(line.document.key) or line.document

    def is_visible(self, line: Line) -> bool:
        """Whether a line has reached the receivables figures: customer lines take the exposure lag to get there."""
        return not line.customer or line.document.visible_at <= self.state.time()

    # Credit

    def exposure_items(self, account: str, segment: str) -> Iterable[tuple[str, str, Decimal, str]]:
        """What counts against the limit: (category, reference, amount, currency); 100 open orders, 200 receivables."""
        for order in self.sales_orders.find("customer", account):
            if order["_segment"] == segment and order["_open"] and not order["_credit_blocked"]:
                yield "100", str(order["SalesOrder"]).zfill(10), order["_gross"], str(order["TransactionCurrency"])
        entities = {e.code for e in legal_entities().values() if e.credit_segment == segment}
        for line in self.lines.find("open", account):
            if line.document.company_code in entities and self.is_visible(line):
                yield "200", f"{line.document.number}{line.item:03d}", line.amount, line.currency

    def exposure(self, account: str, segment: str, currency: str) -> Decimal:
        """The sum of the exposure items in `currency`."""
        items = self.exposure_items(account, segment)
        return sum((convert(amount, source, currency) for _, _, amount, source in items), Decimal(0))

    def credit_verdict(self, account: str, entity: LegalEntity, gross: Decimal, currency: str) -> str:
        """TotalCreditCheckStatus for a further order: blank where no credit account exists, else A or B."""
        credit = self.credit_accounts.get((account, entity.credit_segment))
        if credit is None:
            return ""
        if credit.blocked:
            return "B"
        used = self.exposure(account, entity.credit_segment, credit.currency)
        return "A" if used + convert(gross, currency, credit.currency) <= credit.limit else "B"

    # Prices

    def price(self, account: str, material: str, company_code: str, day: date) -> Condition | None:
        """The most specific valid condition: of the customer, else of the material."""
        for owner in (account, ""):
            found = [
                c
                for c in self.conditions.find("price", (owner, material))
                if not c.deleted and c.valid_from <= day <= c.valid_to and c.company_code in {company_code, ""}
            ]
            if found:
                return max(found, key=lambda c: (c.valid_from, c.record))
        return None

    def put_condition(self, condition: Condition) -> None:
        """Store a price; an older one of the same key that it overlaps ends the day before."""
        for other in list(self.conditions.find("price", (condition.account, condition.material))):
            same = other.company_code == condition.company_code and other.record != condition.record
            if (
                not same
                or other.deleted
                or other.valid_to < condition.valid_from
                or other.valid_from > condition.valid_to
            ):
                continue
            if other.valid_from < condition.valid_from:
                ended = replace(other, valid_to=condition.valid_from - timedelta(days=1), changed_at=self.stamp())
            else:
                ended = replace(other, deleted=True, changed_at=self.stamp())
            self.conditions.put(other.record, ended)
        self.conditions.put(condition.record, condition)

    def add_material(self, material: str, unit: str = BASE_UNIT) -> None:
        """Make a material known."""
        if material not in self.materials:
            self.materials.put(material, unit)

    def unit_of(self, material: str) -> str:
        """The base unit of a material."""
        return self.materials.get(material) or BASE_UNIT

    def available(self, plant: str, material: str) -> Decimal | None:
        """Unrestricted stock, or None where the material is not managed in stock anywhere."""
        here = self.stock.get((plant, material))
        if here is not None:
            return max(here.quantity, Decimal(0))
        return None if next(iter(self.stock.find("material", material)), None) is None else Decimal(0)


@cache
def _zone(company_code: str) -> ZoneInfo:
    return ZoneInfo(legal_entities()[company_code].time_zone)


def round_to(amount: Decimal, currency: str) -> Decimal:
    """An amount in the decimals of its currency."""
    return amount.quantize(Decimal(1).scaleb(-(decimals(currency) or 0)), ROUND_HALF_UP)


def forever() -> date:
    """The end of time in SAP."""
    return _FOREVER


def _changed(now: datetime) -> Values:
    since_midnight = timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)
    return {"LastChangeDate": now.date(), "LastChangeTime": since_midnight, "ETag": _version(now)}


def _version(now: datetime) -> str:
    return f"CONCORD{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"


def _partner(account: str, name: str, today: date, now: datetime) -> Values:
    return {
        "BusinessPartner": account, "Customer": account, "BusinessPartnerCategory": "2",
        "BusinessPartnerGrouping": "BP02",
        "BusinessPartnerFullName": name, "BusinessPartnerName": name, "OrganizationBPName1": name[:40],
        "BusinessPartnerUUID": uuid.uuid5(_NAMESPACE, account), "CreatedByUser": "CONCORD", "CreationDate": today,
        "SearchTerm1": account, "BusinessPartnerIDByExtSystem": account, "Language": "EN", **_changed(now),
    }  # fmt: skip


def _customer(account: str, name: str, today: date, *, one_time: bool) -> Values:
    return {
        "Customer": account, "CustomerName": name, "BPCustomerName": name, "CustomerFullName": name,
        "BPCustomerFullName": name, "CustomerAccountGroup": "CPD" if one_time else "CUST", "CreatedByUser": "CONCORD",
        "CreationDate": today, "PostingIsBlocked": False,
    }  # fmt: skip


def _customer_company(account: str, entity: LegalEntity) -> Values:
    return {
        "Customer": account, "CompanyCode": entity.code, "PaymentTerms": "NT30", "ReconciliationAccount": RECEIVABLES,
        "CustomerAccountGroup": "CUST",
    }  # fmt: skip


def _sales_area(account: str, entity: LegalEntity) -> Values:
    return {
        "Customer": account, "SalesOrganization": entity.code, "DistributionChannel": CHANNEL, "Division": DIVISION,
        "Currency": entity.currency, "CreditControlArea": entity.credit_segment, "CustomerPaymentTerms": "NT30",
        "PriceListType": "01", "CustomerPriceGroup": "01", "SupplyingPlant": entity.plants[0],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Priced:
    """One order item priced: amounts in the order's currency; `condition` None where SAP has no price.

    `manual` names the condition type of a price that the order itself brought, for `per` units. `net` includes the
    `charges`: fixed amounts by condition type.
    """

    net: Decimal
    tax: Decimal
    rate: Decimal
    condition: Condition | None
    manual: str = ""
    per: Decimal = Decimal(1)
    charges: tuple[tuple[str, Decimal], ...] = ()

    @property
    def goods(self) -> Decimal:
        """What the goods alone come to."""
        return self.net - sum((amount for _, amount in self.charges), Decimal(0))

    @property
    def is_priced(self) -> bool:
        """Whether there is a price at all."""
        return self.condition is not None or bool(self.manual)


def price_manually(
    rate: Decimal, per: Decimal, quantity: Decimal, entity: LegalEntity, currency: str, kind: str
) -> Priced:
    """An item at the price that the order brought, `rate` for `per` units."""
    net = round_to(rate * quantity / per, currency)
    return Priced(net, round_to(net * entity.tax_rate, currency), rate, None, kind, per)


def price_item(
    world: World, account: str, material: str, quantity: Decimal, entity: LegalEntity, currency: str, day: date
) -> Priced:
    """Price one item by its condition record, scales included, and tax it at the legal entity's rate."""
    condition = world.price(account, material, entity.code, day)
    if condition is None:
        return Priced(Decimal(0), Decimal(0), Decimal(0), None)
    rate = condition.price
    for start, scaled in condition.scales:
        if abs(quantity) >= start:
            rate = scaled
    per_unit = rate / condition.per
    net = round_to(convert_exact(per_unit * quantity, condition.currency, currency), currency)
    return Priced(net, round_to(net * entity.tax_rate, currency), rate, condition)


def convert_exact(amount: Decimal, source: str, target: str) -> Decimal:
    """As `convert`, but an amount that stays in its currency keeps all its digits."""
    return amount if source == target else convert(amount, source, target)
