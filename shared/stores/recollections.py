"""What a worker remembers of the dossiers it has just written, so that an order's next event needs no read.

Only for flows whose every write rewrites, conditionally, one row of their own: a dossier that somebody else wrote to
meanwhile is then noticed when the story's outcome is written, and the story runs again on what the table says.
A dossier is given out once. It is forgotten after a while, because a session may come back to a worker much later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from shared.stores.records import Dossier
from shared.stores.table import Op, Row

_DOSSIERS_MAX = 2048
_SECONDS_MAX = 300.0  # in a rush an order's events lie minutes apart
_EVIDENCE = "1|"


class Recollections:
    """The dossiers as they stand after this worker's last write, by flow. `clock` gives monotonic seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Dossier]] = OrderedDict()

    def take(self, flow: str, business_key: str) -> Dossier | None:
        """The dossier, once; None where none is kept or it is too old."""
        written_at, dossier = self._kept.pop((flow, business_key), (0.0, None))
        return dossier if dossier is not None and self._clock() - written_at <= _SECONDS_MAX else None

    def keep(self, flow: str, dossier: Dossier, operations: Sequence[Op], etags: Sequence[str]) -> None:
        """Remember a dossier as one transaction left it; `etags` are the answers to its operations, in order."""
        by_key = dict(dossier.by_key)
        for operation, etag in zip(operations, etags, strict=True):
            row = operation.row
            if row.key.startswith(_EVIDENCE):
                continue
            if operation.kind == "delete":
                by_key.pop(row.key, None)
            else:
                by_key[row.key] = Row(row.partition, row.key, row.values, etag)
        self._kept[(flow, dossier.business_key)] = (self._clock(), Dossier(dossier.business_key, by_key))
        while len(self._kept) > _DOSSIERS_MAX:
            self._kept.popitem(last=False)
