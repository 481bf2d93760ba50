"""The simulated system as GET /__sim/state shows it: amounts as decimal text in the currency's own decimals."""

from datetime import date, timedelta
from decimal import Decimal

from sandbox.kit.entities import legal_entities
from sandbox.sap import ledger
from sandbox.sap.configuration import decimals, open_by_default
from sandbox.sap.records import Document, Line
from sandbox.sap.world import World


def snapshot(world: World) -> dict[str, object]:
    """Everything it holds. Opening balances are open items, not documents: nobody posted them."""
    return {
        "documents": [document(world, d) for d in world.documents.values() if d.reference != ledger.OPENING],
        "open_items": [_open_item(world, line) for line in world.lines.values() if line.is_open],
        "sales_orders": [_sales_order(order) for order in world.sales_orders.values()],
        "billing_documents": [_public(row) for row in world.billing_documents.values()],
        "credit_accounts": _credit_accounts(world),
        "business_partners": [_partner(world, account) for account, _ in world.partners.items()],
        "materials": [{"material": material, "unit": unit} for material, unit in world.materials.items()],
        "stock": [
            {"plant": s.plant, "material": s.material, "quantity": plain(s.quantity), "unit": s.unit}
            for s in world.stock.values()
        ],
        "conditions": _conditions(world),
        "periods": _periods(world),
        "exposure_lag_seconds": world.lag_seconds,
    }


def document(world: World, head: Document) -> dict[str, object]:
    """One document with its lines."""
    lines = ledger.lines_of(world, head)
    sold = (world.sales_orders.get(head.sales_document) if head.sales_document else None) or {}
    return {
        "id": head.id,
        "company_code": head.company_code,
        "fiscal_year": head.fiscal_year,
        "document": head.number,
        "type": head.type,
        "order": head.reference1 or str(sold.get("PurchaseOrderByCustomer") or ""),
        "reference": head.reference,
        "kind": head.reference2 or ("invoice" if sold else ""),
        "header_text": head.header_text,
        "posting_date": head.posting_date.isoformat(),
        "document_date": head.document_date.isoformat(),
        "created_at": head.created_at.isoformat(),
        "currency": head.currency,
        "gross": money(ledger.gross(lines), head.currency),
        "customer": next((line.customer for line in lines if line.customer), ""),
        "reversed": bool(head.reversed_by),
        "reversed_by": head.reversed_by,
        "reverses": head.reverses,
        "sales_document": head.sales_document,
        "billing_document": head.billing_document,
        "lines": [_line(line) for line in lines],
    }


def money(amount: Decimal, currency: str) -> str:
    """An amount as text in the currency's decimals (more where it has more)."""
    shown = max(decimals(currency) or 0, -int(amount.normalize().as_tuple().exponent))
    return f"{amount:.{shown}f}"


def plain(number: Decimal) -> str:
    """A number as text without an exponent and without trailing zeros."""
    return f"{number.normalize():f}" if number else "0"


def _line(line: Line) -> dict[str, object]:
    return {
        "item": line.item,
        "account": line.gl_account,
        "customer": line.customer,
        "amount": money(line.amount, line.currency),
        "currency": line.currency,
        "local_amount": money(line.local_amount, line.local_currency),
        "local_currency": line.local_currency,
        "tax_code": line.tax_code,
        "is_tax": line.is_tax,
        "text": line.text,
        "assignment": line.assignment,
        "due": line.due.isoformat() if line.due else None,
        "cleared_by": line.cleared_by,
    }


def _open_item(world: World, line: Line) -> dict[str, object]:
    return {
        "document_id": line.document.id,
        "reference": line.document.reference,
        "order": line.document.reference1,
        "company_code": line.document.company_code,
        "readable": world.is_visible(line),
        **_line(line),
    }


def _sales_order(order: dict[str, object]) -> dict[str, object]:
    gross = order["_gross"]
    assert isinstance(gross, Decimal)
    items = order["_items"]
    assert isinstance(items, list)
    return {
        **_public(order),
        "order": order.get("PurchaseOrderByCustomer") or "",
        "reference": order.get("AccountingDocExternalReference") or "",
        "company_code": order["SalesOrganization"],
        "currency": order["TransactionCurrency"],
        "gross": plain(gross),
        "open": order["_open"],
        "status": _status(order),
        "items": [_public(item) for item in items],
    }


def _status(order: dict[str, object]) -> str:
    """In one word: rejected, billed, blocked (by credit or for billing), or open."""
    if order["OverallSDDocumentRejectionSts"] == "C":
        return "rejected"
    if not order["_open"]:
        return "billed"
    return "blocked" if order["_credit_blocked"] or order.get("HeaderBillingBlockReason") else "open"


def _public(row: dict[str, object]) -> dict[str, object]:
    return {name: _shown(value) for name, value in row.items() if not name.startswith("_")}


def _shown(value: object) -> object:
    match value:
        case Decimal():
            return plain(value)
        case date():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return value


def _credit_accounts(world: World) -> list[dict[str, object]]:
    shown = []
    for credit in world.credit_accounts.values():
        exposure = world.exposure(credit.account, credit.segment, credit.currency)
        shown.append(
            {
                "account": credit.account,
                "segment": credit.segment,
                "legal_entity": credit.legal_entity,
                "limit": money(credit.limit, credit.currency),
                "currency": credit.currency,
                "exposure": money(exposure, credit.currency),
                "blocked": credit.blocked,
                "risk_class": credit.risk_class,
                "critical": credit.critical,
            }
        )
    return shown


def _partner(world: World, account: str) -> dict[str, object]:
    row, customer = world.partners.get(account) or {}, world.customers.get(account) or {}
    return {
        "account": account,
        "name": row.get("BusinessPartnerFullName"),
        "company_codes": [str(c["CompanyCode"]) for c in world.customer_companies.find("customer", account)],
        "posting_blocked": bool(customer.get("PostingIsBlocked")),
        "order_blocked": bool(customer.get("OrderIsBlockedForCustomer")),
    }


def _conditions(world: World) -> list[dict[str, object]]:
    return [
        {
            "record": c.record,
            "account": c.account,
            "material": c.material,
            "company_code": c.company_code,
            "price": plain(c.price),
            "currency": c.currency,
            "per": c.per,
            "unit": c.unit,
            "from": c.valid_from.isoformat(),
            "to": c.valid_to.isoformat(),
            "deleted": c.deleted,
            "changed_at": c.changed_at.isoformat(),
        }
        for c in world.conditions.values()
    ]


def _periods(world: World) -> list[dict[str, object]]:
    today = world.today()
    years = [year for year in range(2000, today.year + 1) if open_by_default(f"{year}-01", today)]
    months = {(code, f"{year}-{month:02d}") for code in legal_entities() for year in years for month in range(1, 13)}
    months |= {key for key, _ in world.periods.items()}
    return [
        {
            "company_code": code,
            "period": month,
            "open": world.is_period_open(code, date.fromisoformat(f"{month}-01")),
        }
        for code, month in sorted(months)
    ]
