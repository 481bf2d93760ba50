"""What SAP knows of a customer's credit: limit and blocks, prices by simulation, and what is owed and on order.

Exposure by items is read so that nothing can fall between two reads: open orders *before* receivables (an order that
is billed in between is seen twice and netted by its sales document, never missed), each read paged by key (a row that
disappears moves no other row across the edge of a page).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from shared.authority.credit import CreditPolicy, Entity, ExposureSource
from shared.clients.http import RemoteRefused, waited_for
from shared.clients.odata import ODataV2, any_of, day, decimal, entity_path, literal, where
from shared.domain.credit import CheckRequest, CreditAccount, Figure, Item, Simulation
from shared.domain.ledger import is_posting_key
from shared.domain.money import Money
from shared.errors import Permanent

_PAGE_ROWS = 1000
_BLOCKED_BY_CREDIT = "B"
_CUBE = "API_OPLACCTGDOCITEMCUBE_SRV"
_CUBE_FIELDS = (
    "CompanyCode,FiscalYear,AccountingDocument,AccountingDocumentItem,DocumentReferenceID,SalesDocument,NetDueDate,"
    "Reference1InDocumentHeader,Reference2InDocumentHeader,AmountInTransactionCurrency,TransactionCurrency"
)


class UnknownAccount(Permanent):
    """SAP has no credit account for this business partner in the segment."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Account and exposure as SAP told them together."""

    account: CreditAccount
    figure: Figure


@dataclass(frozen=True, slots=True)
class _Read:
    """Exposure as it was read, in the currencies of its items; `overdue` is not part of it."""

    source: ExposureSource
    as_of: datetime
    items: list[Item]
    overdue: list[Item]
    lag: timedelta | None


class SapCredit:
    """Reads for the credit check. `policy` says where exposure is read and how currencies are weighed."""

    def __init__(self, odata: ODataV2, policy: CreditPolicy) -> None:
        self._odata = odata
        self._policy = policy

    async def read_standing(self, entity: Entity, account: str, now: datetime) -> Standing:
        """The account and what it owes, in the segment's currency. Raises `UnknownAccount`."""
        with waited_for():
            known, figure = await asyncio.gather(self._account(entity, account), self._figure(entity, account, now))
        currency = known.limit.currency if known.limit else entity.currency
        return Standing(known, self._in_currency(figure, currency))

    async def find_cleared(self, entity: Entity, keys: Sequence[str]) -> frozenset[str]:
        """Those of our posting keys whose customer lines SAP shows as cleared: paid or reversed."""
        if not keys:
            return frozenset()
        rows = await self._odata.read_all(
            _CUBE,
            "A_OperationalAcctgDocItemCube",
            {
                "$filter": f"{any_of('DocumentReferenceID', list(keys))} and IsCleared eq true "
                "and FinancialAccountType eq 'D'",
                "$select": "DocumentReferenceID",
            },
        )
        return frozenset(str(row["DocumentReferenceID"]) for row in rows)

    async def find_open(self, entity: Entity, keys: Sequence[str]) -> list[Item]:
        """The open receivables that carry one of our posting keys."""
        if not keys:
            return []
        rows = await self._odata.read_all(
            _CUBE,
            "A_OperationalAcctgDocItemCube",
            {
                "$filter": f"{any_of('DocumentReferenceID', list(keys))} and IsCleared eq false "
                "and FinancialAccountType eq 'D'",
                "$select": _CUBE_FIELDS,
            },
        )
        return [self._receivable(row) for row in rows]

    async def simulate(self, request: CheckRequest, entity: Entity) -> Simulation | None:
        """SAP's prices for the lines and its own verdict; None where there are no lines.

        An order that SAP cannot simulate (it does not sell a product) has no prices and was not checked by SAP.
        Nothing is saved by a simulation, so it may be asked again.
        """
        if not request.lines:
            return None  # charges alone have no prices to compare
        area = entity.sales_area
        body = {
            "SalesOrderType": area.order_type,
            "SalesOrganization": area.organization,
            "DistributionChannel": area.channel,
            "OrganizationDivision": area.division,
            "SoldToParty": request.account,
            "PurchaseOrderByCustomer": request.request_id[:35],
            "to_Pricing": {},
            "to_Credit": {},
            "to_Item": [
                {"SalesOrderItem": str((index + 1) * 10), "Material": line.product, "RequestedQuantity": line.quantity}
                for index, line in enumerate(request.lines)
            ],
        }
        try:
            with waited_for():
                answer = await self._odata.create(
                    "API_SALES_ORDER_SIMULATION_SRV", "A_SalesOrderSimulation", body, write="read"
                )
        except RemoteRefused as refusal:
            if refusal.status != HTTPStatus.BAD_REQUEST:
                raise  # no right, no service: that says nothing about the order
            return Simulation({}, "", "")
        return _simulation(answer)

    async def _account(self, entity: Entity, account: str) -> CreditAccount:
        path = entity_path("CreditManagementAccount", BusinessPartner=account, CreditSegment=entity.segment)
        row, partner = await asyncio.gather(
            self._odata.read_or_none("API_CRDTMBUSINESSPARTNER", path),
            self._odata.read_or_none("API_CRDTMBUSINESSPARTNER", entity_path("CreditMgmtBusinessPartner", account)),
        )
        if row is None:
            raise UnknownAccount(
                f"SAP has no credit account for {account} in segment {entity.segment}",
                code="unknown_account",
                remedy="create the business partner's credit account in SAP",
            )
        currency = str(row.get("CreditSegmentCurrency") or "")
        return CreditAccount(
            account=account,
            segment=entity.segment,
            limit=Money(decimal(row, "CreditLimitAmount"), currency) if currency else None,
            limit_valid_to=day(row.get("CreditLimitValidityEndDate")),
            blocked=row.get("CreditAccountIsBlocked") is True,
            block_reason=str(row.get("CreditAccountBlockReason") or ""),
            critical=row.get("BusinessPartnerIsCritical") is True,
            risk_class=str((partner or {}).get("CreditRiskClass") or ""),
        )

    async def _figure(self, entity: Entity, account: str, now: datetime) -> _Read:
        source = entity.exposure.source
        if source != "items":
            items, overdue = await asyncio.gather(
                self._exposure_items(entity, account, "exposure" if source == "cds" else "total"),
                self._receivables(entity, account, due_before=now.astimezone(entity.zone).date()),
            )
            return _Read(source, now, items, [item for _, item in overdue], _lag_of(entity))
        orders = await self._open_orders(entity, account)
        receivables = await self._receivables(entity, account)
        billed = {document for document, _ in receivables if document}
        items = [item for number, item in orders if number not in billed] + [item for _, item in receivables]
        return _Read(source, now, items, [], None)

    def _in_currency(self, read: _Read, currency: str) -> Figure:
        items, overdue = (tuple(self._weighed(one, currency) for one in some) for some in (read.items, read.overdue))
        exposure = sum((item.amount for item in items), Money.zero(currency))
        return Figure(read.as_of, read.source, exposure, items, read.lag, overdue=overdue)

    def _weighed(self, item: Item, currency: str) -> Item:
        value = self._policy.rates.convert(item.amount, currency)
        return item if value is item.amount else replace(item, amount=value)

    async def _open_orders(self, entity: Entity, account: str) -> list[tuple[str, Item]]:
        """Orders not yet wholly processed, at gross; one that SAP's credit check blocks adds nothing."""
        organizations = self._policy.sales_organizations(entity.segment)
        rows = await self._paged(
            "API_SALES_ORDER_SRV",
            "A_SalesOrder",
            f"{where(('SoldToParty', 'eq', account), ('OverallSDProcessStatus', 'ne', 'C'))} "
            f"and {any_of('SalesOrganization', organizations)}",
            "SalesOrder",
            ("SalesOrder",),
            "SalesOrder,SalesOrganization,PurchaseOrderByCustomer,AccountingDocExternalReference,TotalNetAmount,"
            "TransactionCurrency,TotalCreditCheckStatus",
        )
        found = []
        for row in rows:
            if row.get("TotalCreditCheckStatus") == _BLOCKED_BY_CREDIT:
                continue
            owner = self._owner(lambda one, row=row: one.sales_area.organization == row["SalesOrganization"])
            currency = str(row["TransactionCurrency"])
            rate = self._policy.legal_entities[owner].order_tax_rate if owner else entity.order_tax_rate
            gross = Money.rounded(decimal(row, "TotalNetAmount") * (1 + rate), currency)
            order = str(row.get("PurchaseOrderByCustomer") or "")
            key = str(row.get("AccountingDocExternalReference") or "")
            number = str(row["SalesOrder"])
            # One that carries a posting key is a posting of ours, as an invoice is, not billed yet.
            kind = "invoice" if is_posting_key(key) else "order"
            found.append((number, Item(key or order, "", "", "", owner, order, kind, None, gross)))
        return found

    async def _receivables(
        self, entity: Entity, account: str, due_before: date | None = None
    ) -> list[tuple[str, Item]]:
        """Open items with their sales document; only those due before a day where it is given."""
        late = f" and {where(('NetDueDate', 'lt', due_before))}" if due_before else ""
        companies = self._policy.company_codes(entity.segment)
        rows = await self._paged(
            _CUBE,
            "A_OperationalAcctgDocItemCube",
            f"{where(('Customer', 'eq', account), ('IsCleared', 'eq', False), ('FinancialAccountType', 'eq', 'D'))} "
            f"and {any_of('CompanyCode', companies)}{late}",
            "AccountingDocument",
            ("CompanyCode", "FiscalYear", "AccountingDocument", "AccountingDocumentItem"),
            _CUBE_FIELDS,
        )
        return [(str(row.get("SalesDocument") or ""), self._receivable(row)) for row in rows]

    def _receivable(self, row: dict[str, Any]) -> Item:
        company = str(row["CompanyCode"])
        return Item(
            reference=str(row.get("DocumentReferenceID") or ""),
            company_code=company,
            document=str(row["AccountingDocument"]),
            fiscal_year=str(row["FiscalYear"]),
            legal_entity=self._owner(lambda one: one.company_code == company),
            order=str(row.get("Reference1InDocumentHeader") or ""),
            kind=str(row.get("Reference2InDocumentHeader") or ""),
            due=day(row.get("NetDueDate")),
            amount=Money(decimal(row, "AmountInTransactionCurrency"), str(row["TransactionCurrency"])),
        )

    async def _exposure_items(self, entity: Entity, account: str, kind: str) -> list[Item]:
        """The customer's own service over I_CreditExposureItem: amounts by category, no references."""
        companies = self._policy.company_codes(entity.segment)
        company = companies[0] if len(companies) == 1 else ""
        rows = await self._odata.read_all(
            "YY1_CREDITEXPOSUREITEM_CDS",
            "YY1_CreditExposureItem",
            {
                "$filter": where(("BusinessPartner", "eq", account), ("CreditSegment", "eq", entity.segment)),
                "$orderby": "CreditManagementLineItem",
            },
        )
        return [
            Item(
                "", company, "", "", "", str(row["CreditManagementLineItem"]), kind, None,
                Money(decimal(row, "ExposureAmount"), str(row["Currency"])),
            )
            for row in rows
        ]  # fmt: skip

    async def _paged(
        self, service: str, entity_set: str, condition: str, along: str, keys: Sequence[str], select: str
    ) -> list[dict[str, Any]]:
        """Every row, page by page along one key from where the last page ended; rows met again count once."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        since = ""
        while True:
            rows = await self._odata.read_all(
                service,
                entity_set,
                {
                    "$filter": condition + (f" and {along} ge {literal(since)}" if since else ""),
                    "$select": select,
                    "$orderby": ",".join(dict.fromkeys((along, *keys))),
                    "$top": str(_PAGE_ROWS),
                },
            )
            fresh = {tuple(str(row[key]) for key in keys): row for row in rows}
            grown = fresh.keys() - found.keys()
            found |= fresh
            if len(rows) < _PAGE_ROWS:
                return list(found.values())
            if not grown:
                raise Permanent(f"{entity_set}: more than {_PAGE_ROWS} rows under one {along}", code="sap_paging")
            since = str(rows[-1][along])

    def _owner(self, is_owner: Any) -> str:
        return next((code for code, one in self._policy.legal_entities.items() if is_owner(one)), "")


def _lag_of(entity: Entity) -> timedelta | None:
    """None where the figure itself shows what it contains."""
    seconds = entity.exposure.lag_seconds
    return timedelta(seconds=seconds) if seconds else None


def _simulation(answer: dict[str, Any]) -> Simulation:
    pricing = answer.get("to_Pricing") or {}
    credit = answer.get("to_Credit") or {}
    net: dict[int, Decimal] = {}
    for row in _results(answer.get("to_Item")):
        amount = decimal(row, "NetAmount")
        if amount:
            net[int(str(row["SalesOrderItem"])) // 10 - 1] = amount
    return Simulation(
        net, str(pricing.get("TransactionCurrency") or ""), str(credit.get("TotalCreditCheckStatus") or "")
    )


def _results(value: Any) -> Iterable[dict[str, Any]]:
    found = value.get("results", []) if isinstance(value, dict) else value or []
    return [row for row in found if isinstance(row, dict)]
