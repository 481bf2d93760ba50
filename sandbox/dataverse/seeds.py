"""What a fresh organization holds: currencies, users, a unit, the solution's alternate keys, webhook registrations."""

from decimal import Decimal
from typing import Final

from sandbox.dataverse.model import stable_id
from sandbox.dataverse.rows import Row, Rows
from sandbox.dataverse.tables import TABLES
from sandbox.dataverse.values import Reference, Value
from sandbox.dataverse.webhooks import seed_registrations

INTEGRATION_USER: Final = stable_id("user:integration")
SALES_USER: Final = stable_id("user:sales")
# Units of the currency for one of the base currency, which is the pound.
_CURRENCIES: Final = (
    ("GBP", "Pound Sterling", "£", 2, "1"),
    ("EUR", "Euro", "€", 2, "1.170000000000"),
    ("USD", "US Dollar", "$", 2, "1.270000000000"),
    ("JPY", "Yen", "¥", 0, "190.000000000000"),
    ("KWD", "Kuwaiti Dinar", "د.ك", 3, "0.390000000000"),
)


PREFIX: Final = "concord_"


def seed(rows: Rows, functions_url: str | None, functions_key: str, *, customized: bool = True) -> None:
    """Fill an empty organization. Not customized, it has no table, column, key or webhook of the solution."""
    for table in TABLES.values():
        if not customized and table.name.startswith(PREFIX):
            rows.unmake(table)
        for column in table.columns:
            if not customized and column.startswith(PREFIX):
                rows.unmake(table, column)
        for columns in table.keys if customized else ():
            rows.define_key(table, columns, f"concord_{table.name}_{'_'.join(columns)}")
    for code, name, symbol, decimals, rate in _CURRENCIES:
        _put(rows, "transactioncurrency", stable_id(f"currency:{code}"), {
            "isocurrencycode": code, "currencyname": name, "currencysymbol": symbol, "currencyprecision": decimals,
            "exchangerate": Decimal(rate),
        })  # fmt: skip
    for user_id, name in ((INTEGRATION_USER, "Concord integration"), (SALES_USER, "Sam Seller")):
        _put(rows, "systemuser", user_id, {
            "fullname": name, "azureactivedirectoryobjectid": stable_id(f"entra:{user_id}"),
            "internalemailaddress": f"{name.split(maxsplit=1)[0].lower()}@example.com",
        })  # fmt: skip
    _put(rows, "uom", stable_id("uom:ea"), {"name": "ea", "quantity": Decimal(1)})
    for table, row in seed_registrations(rows, functions_url, functions_key):
        if customized or (table.name.startswith("sdkmessage") and table.name != "sdkmessageprocessingstep"):
            rows.write(table, row.id, row)


def _put(rows: Rows, table_name: str, row_id: str, values: dict[str, Value]) -> None:
    table, now = TABLES[table_name], rows.now()
    author = Reference("systemuser", INTEGRATION_USER)
    row = Row(row_id, rows.next_version(), {
        table.id_column: row_id, **values, "statecode": 0, "statuscode": 1, "createdon": now, "modifiedon": now,
        "createdby": author, "modifiedby": author,
    })  # fmt: skip
    rows.write(table, row_id, row)
