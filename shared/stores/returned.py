"""Returned quantities: one row for each original line, in the original's own partition.

A return takes its quantities here before anything is sent, under its posting key, on the condition that nobody
changed the line since it was read: two returns of one line in different lanes cannot both have the last piece. Taken
again under the same key it is the same taking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared import exact_json
from shared.domain.money import Money
from shared.domain.returns import Taken
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_PREFIX = "0|line|"
CHUNK = 90
"""Lines that one transaction takes, below the table's limit of 100 operations."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What was taken back of an original's lines, by line and posting key."""

    business_key: str
    by_line: Mapping[str, Mapping[str, Taken]]
    etags: Mapping[str, str]

    def before(self, key: str) -> dict[str, Taken]:
        """What others than `key` took of each line."""
        totals: dict[str, Taken] = {}
        for line_id, takings in self.by_line.items():
            for own, taken in takings.items():
                if own != key:
                    totals[line_id] = totals[line_id] + taken if line_id in totals else taken
        return totals

    def holds(self, key: str, takes: Mapping[str, Taken]) -> bool:
        """Whether exactly this was taken under the key already."""
        return all(self.by_line.get(line_id, {}).get(key) == taken for line_id, taken in takes.items())

    def take(self, key: str, takes: Mapping[str, Taken]) -> list[Op]:
        """The conditional writes that take quantities under a posting key."""
        operations = []
        for line_id, taken in takes.items():
            takings = {**self.by_line.get(line_id, {}), key: taken}
            row = Row(self.business_key, f"{_PREFIX}{line_id}", _values(takings, taken.net.currency))
            etag = self.etags.get(line_id)
            operations.append(Op("replace", row, etag) if etag else Op("insert", row))
        return operations


def returned_in(dossier: Dossier) -> Returned:
    """What the original's partition says was taken back."""
    rows = {row.key.removeprefix(_PREFIX): row for row in dossier.rows(_PREFIX)}
    return Returned(
        dossier.business_key,
        {line_id: _takings(row) for line_id, row in rows.items()},
        {line_id: row.etag for line_id, row in rows.items()},
    )


def _values(takings: Mapping[str, Taken], currency: str) -> dict[str, str]:
    content = {key: [str(one.quantity), one.net.text, one.tax.text] for key, one in takings.items()}
    return {"currency": currency, "taken": exact_json.dumps(content).decode()}


def _takings(row: Row) -> dict[str, Taken]:
    currency = row.values["currency"]
    return {
        key: Taken(Decimal(quantity), Money(Decimal(net), currency), Money(Decimal(tax), currency))
        for key, (quantity, net, tax) in exact_json.loads(row.values["taken"]).items()
    }
