"""Ways to tamper with one order in one of three systems, each with what has to be found and how it is undone.

They work on whatever can be controlled: the simulators of one process or those of a running stack.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

System = Literal["sap", "commerce", "dataverse"]
Control = Callable[[System, str, str, object], Awaitable[Any]]
Undo = Callable[[], Awaitable[None]]
PENNY = Decimal("0.01")
OTHER_REVENUE, TAX = "41500000", "22000000"
ELSEWHERE = "OTHER"
"""The order that a document is made to name."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An order that was posted, as three systems hold it. `document` is one of its documents in SAP."""

    number: str
    legal_entity: str
    order: dict[str, Any]
    document: dict[str, Any]
    row: dict[str, Any]
    control: Control

    @property
    def gross(self) -> Decimal:
        return Decimal(str(self.order["TotalAmount"]))

    @property
    def day(self) -> date:
        return date.fromisoformat(str(self.order["BusinessDate"])[:10])

    @property
    def is_beside(self) -> bool:
        """Whether the document stands beside the order's own: a cancellation, a return by line."""
        return self.document["kind"] == "cancellation" or Decimal(self.document["gross"]) != self.gross

    def copied(self) -> str:
        return f"{self.number[:14]}-X"


@dataclass(frozen=True, slots=True)
class Found:
    """What the report has to say: an order, codes of its rows, by how much (its rows together), in what words."""

    number: str
    codes: frozenset[str]
    difference: Decimal | None
    words: str


@dataclass(frozen=True, slots=True)
class Tampered:
    """What was done: what has to be found of it, and how it is undone."""

    found: tuple[Found, ...]
    undo: Undo


@dataclass(frozen=True, slots=True)
class Tampering:
    """One way of tampering. `fits` says of which subjects it is possible."""

    system: System
    name: str
    act: Callable[[Subject], Awaitable[Tampered]]
    fits: Callable[[Subject], bool]

    def __str__(self) -> str:
        return f"{self.system}: {self.name}"


def subjects_of(state: dict[str, dict[str, Any]], control: Control) -> list[Subject]:
    """Every posted document of an order that three systems know, from the states of the simulators."""
    orders = {(one["legalEntity"], one["SalesId"]): one for one in state["commerce"]["orders"]}
    rows = {one.get("concord_orderkey"): one for one in state["dataverse"]["tables"]["salesorders"]}
    found = []
    for document in state["sap"]["documents"]:
        key = (document["company_code"], document["order"])
        row = rows.get("|".join(key))
        if key in orders and row is not None:
            found.append(Subject(key[1], key[0], orders[key], document, row, control))
    return found


# SAP


def _sap(name: str, fits: Callable[[Subject], bool] = lambda _: True) -> Callable[[_Act], Tampering]:
    return lambda act: Tampering("sap", name, act, fits)


type _Act = Callable[[Subject], Awaitable[Tampered]]


def _restore(subject: Subject, document: str) -> Undo:
    async def undo() -> None:
        await subject.control("sap", "POST", f"documents/{document}/restore", None)

    return undo


async def _altered(
    subject: Subject, change: dict[str, Any], difference: Decimal | None, words: str = "SAP"
) -> Tampered:
    identifier = subject.document["id"]
    await subject.control("sap", "PATCH", f"documents/{identifier}", change)
    found = Found(subject.number, frozenset({"altered_in_sap"}), difference, words)
    return Tampered((found,), _restore(subject, identifier))


def _settlement(subject: Subject) -> dict[str, Any]:
    return next(one for one in subject.document["lines"] if one["customer"] or one["account"].startswith("1"))


def _income(subject: Subject) -> list[dict[str, Any]]:
    """Lines of a document that are neither settlement nor tax."""
    lines: list[dict[str, Any]] = subject.document["lines"]
    return [one for one in lines if not one["customer"] and not one["is_tax"] and not one["account"].startswith("1")]


def _taxes(subject: Subject) -> list[dict[str, Any]]:
    return [one for one in subject.document["lines"] if one["is_tax"]]


def _beyond(subject: Subject) -> int:
    """The item of a line that the document does not have."""
    item: int = max(one["item"] for one in subject.document["lines"]) + 1
    return item


def _moved(line: dict[str, Any], by: Decimal) -> dict[str, Any]:
    return {"item": line["item"], "amount": Decimal(line["amount"]) + by}


def _on_account(subject: Subject) -> bool:
    return bool(subject.order.get("CustomerId")) and any(one["customer"] for one in subject.document["lines"])


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=3)


def _another_day(day: date) -> date:
    other = day + timedelta(days=1)
    return other if other.month == day.month else day - timedelta(days=1)


@_sap("a document is forged for an order that nobody has")
async def forged_in_sap(subject: Subject) -> Tampered:
    number = subject.copied()
    document = await subject.control(
        "sap", "POST", "documents",
        {"copyOf": subject.document["id"], "order": number, "reference": "FORGED"},
    )  # fmt: skip
    gross = abs(Decimal(document["gross"]))
    found = Found(number, frozenset({"forged_in_sap"}), gross, document["document"])
    return Tampered((found,), _restore(subject, document["id"]))


@_sap("a document is forged under the order's own number")
async def forged_beside_in_sap(subject: Subject) -> Tampered:
    document = await subject.control(
        "sap", "POST", "documents", {"copyOf": subject.document["id"], "reference": "FORGED"}
    )
    gross = abs(Decimal(document["gross"]))
    found = Found(subject.number, frozenset({"forged_in_sap"}), gross, document["document"])
    return Tampered((found,), _restore(subject, document["id"]))


@_sap("a document is deleted")
async def deleted_in_sap(subject: Subject) -> Tampered:
    identifier = subject.document["id"]
    await subject.control("sap", "DELETE", f"documents/{identifier}", None)
    gross = abs(Decimal(subject.document["gross"]))
    found = Found(subject.number, frozenset({"document_gone"}), gross, subject.document["document"])
    return Tampered((found,), _restore(subject, identifier))


@_sap("a document is reversed behind the back")
async def reversed_in_sap(subject: Subject) -> Tampered:
    identifier = subject.document["id"]
    await subject.control("sap", "PATCH", f"documents/{identifier}", {"reversed": True})
    gross = abs(Decimal(subject.document["gross"]))
    found = Found(subject.number, frozenset({"reversed"}), gross, subject.document["document"])
    return Tampered((found,), _restore(subject, identifier))


@_sap("a document stands twice")
async def duplicated_in_sap(subject: Subject) -> Tampered:
    document = await subject.control("sap", "POST", "documents", {"copyOf": subject.document["id"]})
    gross = abs(Decimal(document["gross"]))
    found = Found(subject.number, frozenset({"duplicate"}), gross, document["document"])
    return Tampered((found,), _restore(subject, document["id"]))


@_sap("a penny is added to the total")
async def total_in_sap(subject: Subject) -> Tampered:
    lines = [_moved(_settlement(subject), PENNY), _moved(_income(subject)[0], -PENNY)]
    return await _altered(subject, {"lines": lines}, PENNY)


@_sap("a penny is moved from net to tax")
async def tax_in_sap(subject: Subject) -> Tampered:
    taxes = _taxes(subject)
    beyond = {"item": _beyond(subject), "account": TAX, "amount": -PENNY}
    lines = [_moved(taxes[0], -PENNY) if taxes else beyond, _moved(_income(subject)[0], PENNY)]
    return await _altered(subject, {"lines": lines}, PENNY, "tax")


@_sap("a penny is moved from one line to another")
async def line_in_sap(subject: Subject) -> Tampered:
    income = _income(subject)
    if len(income) > 1:
        lines = [_moved(income[0], PENNY), _moved(income[1], -PENNY)]
    else:
        lines = [_moved(income[0], PENNY), {"item": _beyond(subject), "account": OTHER_REVENUE, "amount": -PENNY}]
    return await _altered(subject, {"lines": lines}, PENNY)


@_sap("a line is posted to another account")
async def account_in_sap(subject: Subject) -> Tampered:
    line = _income(subject)[0]
    change = {"lines": [{"item": line["item"], "account": "69000000"}]}
    return await _altered(subject, change, abs(Decimal(line["amount"])), "69000000")


@_sap("the receivable is moved to another customer", _on_account)
async def customer_in_sap(subject: Subject) -> Tampered:
    line = next(one for one in subject.document["lines"] if one["customer"])
    change = {"lines": [{"item": line["item"], "customer": "SOMEBODY"}]}
    return await _altered(subject, change, abs(Decimal(line["amount"])), "SOMEBODY")


@_sap("the currency is changed")
async def currency_in_sap(subject: Subject) -> Tampered:
    gross = abs(Decimal(subject.document["gross"]))
    return await _altered(subject, {"currency": "EUR"}, 2 * gross, "EUR")


@_sap("the posting date is moved by a day")
async def posting_day_in_sap(subject: Subject) -> Tampered:
    day = _another_day(date.fromisoformat(subject.document["posting_date"]))
    return await _altered(subject, {"postingDate": day.isoformat()}, Decimal(0), day.isoformat())


@_sap("the posting date is moved to the next month")
async def posting_month_in_sap(subject: Subject) -> Tampered:
    day = _next_month(date.fromisoformat(subject.document["posting_date"]))
    return await _altered(subject, {"postingDate": day.isoformat()}, Decimal(0), day.isoformat())


@_sap("the document date is moved by a day")
async def document_day_in_sap(subject: Subject) -> Tampered:
    day = _another_day(date.fromisoformat(subject.document["document_date"]))
    return await _altered(subject, {"documentDate": day.isoformat()}, Decimal(0), day.isoformat())


@_sap("the document date is moved to the next month")
async def document_month_in_sap(subject: Subject) -> Tampered:
    day = _next_month(date.fromisoformat(subject.document["document_date"]))
    gross = abs(Decimal(subject.document["gross"]))
    return await _altered(subject, {"documentDate": day.isoformat()}, gross, day.isoformat())


@_sap("the document names another order")
async def order_in_sap(subject: Subject) -> Tampered:
    return await _altered(subject, {"order": ELSEWHERE}, None, ELSEWHERE)


# Commerce


def _commerce(name: str) -> Callable[[_Act], Tampering]:
    return lambda act: Tampering("commerce", name, act, lambda subject: not subject.is_beside)


def _content(subject: Subject) -> dict[str, Any]:
    around = ("legalEntity", "status", "decisionId", "storedAt")
    return {name: value for name, value in subject.order.items() if name not in around}


def _put_back(subject: Subject) -> Undo:
    async def undo() -> None:
        await _put(subject, subject.number, _content(subject))

    return undo


async def _put(subject: Subject, number: str, order: dict[str, Any]) -> None:
    body = {
        "order": order,
        "legalEntity": subject.legal_entity,
        "status": subject.order["status"],
        "decisionId": subject.order["decisionId"],
    }
    await subject.control("commerce", "PUT", f"orders/{number}", body)


async def _changed(subject: Subject, change: dict[str, Any], difference: Decimal, words: str = "Commerce") -> Tampered:
    await _put(subject, subject.number, _content(subject) | change)
    found = Found(subject.number, frozenset({"altered_in_commerce"}), difference, words)
    return Tampered((found,), _put_back(subject))


@_commerce("an order is forged")
async def forged_in_commerce(subject: Subject) -> Tampered:
    number = subject.copied()
    order = _content(subject) | {"SalesId": number, "Id": number, "ReceiptId": number}
    await _put(
        subject, number, {name: value for name, value in order.items() if name in {*_content(subject), "SalesId"}}
    )

    async def undo() -> None:
        await subject.control("commerce", "DELETE", f"orders/{number}", None)

    return Tampered((Found(number, frozenset({"never_received"}), 2 * abs(subject.gross), "never received"),), undo)


@_commerce("an order is deleted")
async def deleted_in_commerce(subject: Subject) -> Tampered:
    await subject.control("commerce", "DELETE", f"orders/{subject.number}", None)
    found = Found(subject.number, frozenset({"order_gone", "order_gone_in_crm"}), 2 * abs(subject.gross), "Commerce")
    return Tampered((found,), _put_back(subject))


@_commerce("a penny is added to the total")
async def total_in_commerce(subject: Subject) -> Tampered:
    change = {"TotalAmount": subject.gross + PENNY}
    if "SubtotalAmountWithoutTax" in subject.order:
        change["SubtotalAmountWithoutTax"] = Decimal(str(subject.order["SubtotalAmountWithoutTax"])) + PENNY
    return await _changed(subject, change, 2 * PENNY)


@_commerce("a penny is moved from net to tax")
async def tax_in_commerce(subject: Subject) -> Tampered:
    change = {
        "TaxAmount": Decimal(str(subject.order["TaxAmount"])) + PENNY,
        "SubtotalAmountWithoutTax": Decimal(str(subject.order["SubtotalAmountWithoutTax"])) - PENNY,
    }
    return await _changed(subject, change, 2 * PENNY, "tax")


@_commerce("the currency is changed")
async def currency_in_commerce(subject: Subject) -> Tampered:
    return await _changed(subject, {"CurrencyCode": "EUR"}, 4 * abs(subject.gross), "EUR")


@_commerce("the business date is moved by a day")
async def day_in_commerce(subject: Subject) -> Tampered:
    day = _another_day(subject.day).isoformat()
    return await _changed(subject, {"BusinessDate": day}, Decimal(0), day)


@_commerce("the business date is moved to the next month")
async def month_in_commerce(subject: Subject) -> Tampered:
    day = _next_month(subject.day).isoformat()
    return await _changed(subject, {"BusinessDate": day}, 2 * abs(subject.gross), day)


# The customer history


def _crm(name: str) -> Callable[[_Act], Tampering]:
    return lambda act: Tampering("dataverse", name, act, lambda subject: not subject.is_beside)


def _row_key(subject: Subject) -> str:
    return f"rows/salesorders/{subject.row['salesorderid']}"


async def _edited(subject: Subject, change: dict[str, Any], difference: Decimal, words: str = "history") -> Tampered:
    before = {name.split("@")[0]: subject.row.get(name.split("@")[0]) for name in change}
    if "transactioncurrencyid@odata.bind" in change:
        before = {"transactioncurrencyid@odata.bind": _currency(subject.row["_transactioncurrencyid_value"])}
    await subject.control("dataverse", "PATCH", _row_key(subject), change)

    async def undo() -> None:
        await subject.control("dataverse", "PATCH", _row_key(subject), before)

    return Tampered((Found(subject.number, frozenset({"altered_in_crm"}), difference, words),), undo)


def _currency(identifier: str) -> str:
    return f"/transactioncurrencies({identifier})"


_COPIED = ("concord_legalentity", "concord_businessdate", "totalamount", "totaltax", "name", "ordernumber")


def _copy(subject: Subject) -> dict[str, Any]:
    copied = {name: subject.row[name] for name in _COPIED if subject.row.get(name) is not None}
    return copied | {"transactioncurrencyid@odata.bind": _currency(subject.row["_transactioncurrencyid_value"])}


async def _added(subject: Subject, row: dict[str, Any], found: Found) -> Tampered:
    made = await subject.control("dataverse", "POST", "rows/salesorders", row)

    async def undo() -> None:
        await subject.control("dataverse", "DELETE", f"rows/salesorders/{made['salesorderid']}", None)

    return Tampered((found,), undo)


@_crm("a row is forged")
async def forged_in_crm(subject: Subject) -> Tampered:
    number = subject.copied()
    row = _copy(subject) | {"ordernumber": number, "concord_orderkey": f"{subject.legal_entity}|{number}"}
    return await _added(
        subject, row, Found(number, frozenset({"forged_in_crm"}), abs(subject.gross), "customer history")
    )


@_crm("a row stands twice")
async def duplicated_in_crm(subject: Subject) -> Tampered:
    found = Found(subject.number, frozenset({"duplicate"}), abs(subject.gross), "customer history")
    return await _added(subject, _copy(subject), found)


@_crm("a row is deleted")
async def deleted_in_crm(subject: Subject) -> Tampered:
    await subject.control("dataverse", "DELETE", _row_key(subject), None)

    async def undo() -> None:
        row = _copy(subject) | {"concord_orderkey": subject.row["concord_orderkey"]}
        await subject.control("dataverse", "POST", "rows/salesorders", row)

    return Tampered((Found(subject.number, frozenset({"row_gone"}), abs(subject.gross), "history"),), undo)


@_crm("a penny is added to the total")
async def total_in_crm(subject: Subject) -> Tampered:
    change = {"totalamount": Decimal(str(subject.row["totalamount"])) + PENNY}
    return await _edited(subject, change, PENNY)


@_crm("a penny is moved from net to tax")
async def tax_in_crm(subject: Subject) -> Tampered:
    change = {"totaltax": Decimal(str(subject.row["totaltax"])) + PENNY}
    return await _edited(subject, change, PENNY, "tax")


@_crm("the business date is moved by a day")
async def day_in_crm(subject: Subject) -> Tampered:
    day = _another_day(subject.day).isoformat()
    return await _edited(subject, {"concord_businessdate": day}, Decimal(0), day)


@_crm("the business date is moved to the next month")
async def month_in_crm(subject: Subject) -> Tampered:
    day = _next_month(subject.day).isoformat()
    return await _edited(subject, {"concord_businessdate": day}, abs(subject.gross), day)


ALL: tuple[Tampering, ...] = tuple(one for one in globals().values() if isinstance(one, Tampering))
