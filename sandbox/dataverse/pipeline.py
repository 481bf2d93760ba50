"""What happens when a row is written: the platform's own columns, currencies, states, cascades and messages."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import uuid4

from sandbox.dataverse.errors import DUPLICATE_DETECTED, DUPLICATE_ROW, Refused, no_such_row
from sandbox.dataverse.model import Kind, Table, stable_id
from sandbox.dataverse.pricing import line_amounts, order_totals
from sandbox.dataverse.rows import Change, Row, Work
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value, padded

BASE_CURRENCY_ID: Final = stable_id("currency:GBP")
_CASCADES: Final = {
    ("salesorderdetail", "salesorderid"),
    ("sdkmessageprocessingstepimage", "sdkmessageprocessingstepid"),
}
_BAD_STATUS: Final = "0x80048408"


def create(work: Work, table: Table, given: Mapping[str, Value], row_id: str | None = None) -> Row:
    """Insert a row. Raises Refused when it exists, breaks a key, or its status does not fit its state."""
    sent = {name: value for name, value in given.items() if table.columns[name].writable}
    own_id = sent.get(table.id_column) or row_id or str(uuid4())
    if not isinstance(own_id, str) or work.rows.get(table, own_id) is not None:
        raise Refused(412, DUPLICATE_ROW, "Cannot insert duplicate key.")
    sent[table.id_column] = own_id
    now = work.rows.now()
    author = Reference("systemuser", work.caller.user_id)
    values: dict[str, Value] = {**sent, "createdon": now, "createdby": author, "modifiedon": now, "modifiedby": author}
    _settle(work, table, values, sent)
    row = Row(own_id, work.rows.next_version(), values)
    work.rows.write(table, own_id, row)
    work.changes.append(Change("Create", table, None, row, sent, now))
    return _priced(work, table, row)


def update(work: Work, table: Table, row: Row, given: Mapping[str, Value]) -> Row:
    """Change some columns of a row. Same values count as a change too: Dataverse does not compare."""
    sent = {name: value for name, value in given.items() if table.columns[name].writable}
    if sent.pop(table.id_column, row.id) != row.id:
        raise Refused(400, "0x80040203", f"The {table.id_column} of an existing record cannot be changed.")
    now = work.rows.now()
    values: dict[str, Value] = {
        **row.values, **sent, "modifiedon": now, "modifiedby": Reference("systemuser", work.caller.user_id),
    }  # fmt: skip
    _settle(work, table, values, sent)
    changed = Row(row.id, work.rows.next_version(), values)
    work.rows.write(table, row.id, changed)
    work.changes.append(Change("Update", table, row, changed, sent, now))
    return _priced(work, table, changed)


def delete(work: Work, table: Table, row: Row) -> None:
    """Remove a row, its parts with it; lookups that pointed there are cleared."""
    work.rows.write(table, row.id, None)
    work.changes.append(Change("Delete", table, row, None, {}, work.rows.now()))
    _priced(work, table, row)
    for child in TABLES.values():
        for column in child.of_kind(Kind.LOOKUP):
            if not any(target.table == table.name for target in column.targets) or not column.writable:
                continue
            for orphan in list(work.rows.having(child, column.name, row.id) or ()):
                if (child.name, column.name) in _CASCADES:
                    delete(work, child, orphan)
                else:
                    left = Row(orphan.id, work.rows.next_version(), {**orphan.values, column.name: None})
                    work.rows.write(child, orphan.id, left)


def refuse_duplicate(work: Work, table: Table, values: Mapping[str, Value]) -> None:
    """The organization's duplicate detection rule: two accounts of one name. Raises Refused (412)."""
    name = values.get("name")
    if table.name != "account" or not isinstance(name, str):
        return
    for row in work.rows.every(table):
        other = row.get("name")
        if isinstance(other, str) and other.casefold() == name.casefold():
            reason = "A record was not created or updated because a duplicate of the current record already exists."
            raise Refused(412, DUPLICATE_DETECTED, reason)


def _settle(work: Work, table: Table, values: dict[str, Value], sent: Mapping[str, Value]) -> None:
    """What the platform makes of the values of a row."""
    _settle_status(table, values, sent)
    if work.rows.native_pricing and table.name == "salesorderdetail":
        values.update(line_amounts(values))
    _settle_money(work, table, values)
    _settle_names(table, values)


def _priced(work: Work, table: Table, row: Row) -> Row:
    """Work the order's totals out again after the order or a line of it changed; gives the row as it stands then."""
    if not work.rows.native_pricing or table.name not in {"salesorder", "salesorderdetail"}:
        return row
    held = row.get("salesorderid")
    order_id = row.id if table.name == "salesorder" else held.id if isinstance(held, Reference) else ""
    orders = TABLES["salesorder"]
    order = work.rows.get(orders, order_id)
    if order is None:
        return row
    totals = order_totals(order, list(work.rows.having(TABLES["salesorderdetail"], "salesorderid", order_id) or ()))
    if not totals or all(order.get(name) == value for name, value in totals.items()):
        return row
    values: dict[str, Value] = {**order.values, **totals}
    _settle_money(work, orders, values)
    priced = Row(order_id, work.rows.next_version(), values)
    work.rows.write(orders, order_id, priced)
    return priced if table.name == "salesorder" else row


def _settle_status(table: Table, values: dict[str, Value], sent: Mapping[str, Value]) -> None:
    """A state brings its default status; a status of another state is refused."""
    states = table.columns["statuscode"].states
    if values.get("statecode") is None:
        values["statecode"] = dict(states).get(_number(values.get("statuscode")), 0)
    default = next(status for status, state in states if state == values["statecode"])
    if values.get("statuscode") is None or ("statecode" in sent and "statuscode" not in sent):
        values["statuscode"] = default
    if dict(states).get(_number(values["statuscode"])) != values["statecode"]:
        raise Refused(
            400,
            _BAD_STATUS,
            f"{values['statuscode']} is not a valid status code for state code {values['statecode']} on {table.name}.",
        )


def _number(value: Value) -> int:
    return value if isinstance(value, int) else -1


def _settle_money(work: Work, table: Table, values: dict[str, Value]) -> None:
    """Money stands beside its value in the organization's base currency, at the currency's rate."""
    money = [column for column in table.of_kind(Kind.MONEY) if column.writable]
    if not money:
        return
    currency = values.get("transactioncurrencyid")
    if currency is None:
        if all(values.get(column.name) is None for column in money):
            return
        currency = values["transactioncurrencyid"] = Reference("transactioncurrency", BASE_CURRENCY_ID)
    assert isinstance(currency, Reference)
    held = work.rows.get(TABLES["transactioncurrency"], currency.id)
    if held is None:
        raise no_such_row("transactioncurrency", currency.id)
    rate = held.get("exchangerate")
    assert isinstance(rate, Decimal)
    values["exchangerate"] = rate
    for column in money:
        amount = values.get(column.name)
        values[f"{column.name}_base"] = padded(amount / rate, column.decimals) if isinstance(amount, Decimal) else None


def _settle_names(table: Table, values: dict[str, Value]) -> None:
    match table.name:
        case "contact":
            parts = (values.get("firstname"), values.get("lastname"))
            values["fullname"] = " ".join(part for part in parts if isinstance(part, str)) or None
        case "salesorderdetail":
            if values.get("salesorderdetailname") is None:
                text = values.get("productdescription")
                values["salesorderdetailname"] = text[:100] if isinstance(text, str) else None
        case _:
            return
