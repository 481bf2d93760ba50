"""What a worker remembers of a dossier it has just written."""

from __future__ import annotations

from shared.stores.recollections import Recollections
from shared.stores.records import Dossier
from shared.stores.table import Op, Row

EMPTY = Dossier("order|GB01|S-1", {})


def op(kind: str, key: str, value: int = 0) -> Op:
    return Op(kind, Row(EMPTY.business_key, key, {"n": value}))  # type: ignore[arg-type]


def test_a_dossier_is_given_out_once_as_its_last_write_left_it_without_evidence() -> None:
    kept = Recollections()
    before = Dossier(EMPTY.business_key, {"0|old": Row(EMPTY.business_key, "0|old", {}, "e-0")})
    kept.keep("crm", before, [op("delete", "0|old"), op("insert", "0|crm", 1), op("insert", "1|x")], ["", "e-1", "e-2"])
    dossier = kept.take("crm", EMPTY.business_key)
    assert dossier is not None
    assert {key: (row.values["n"], row.etag) for key, row in dossier.by_key.items()} == {"0|crm": (1, "e-1")}
    assert kept.take("crm", EMPTY.business_key) is None


def test_another_flow_remembers_nothing_of_it() -> None:
    kept = Recollections()
    kept.keep("crm", EMPTY, [], [])
    assert kept.take("ledger", EMPTY.business_key) is None


def test_it_is_forgotten_after_five_minutes() -> None:
    now = 0.0
    kept = Recollections(clock=lambda: now)
    kept.keep("crm", EMPTY, [], [])
    now = 301.0
    assert kept.take("crm", EMPTY.business_key) is None
