"""Three systems compared over a range of business days: staged into a folder of their own, joined, and tidied away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from shared.authority.ledger import LegalEntity
from shared.reports.staging import Staged, stage
from shared.reports.three_way import Joined, join
from shared.stores.beside import Beside
from shared.wiring import Hub


async def compare(
    entity: LegalEntity, first: date, last: date, hub: Hub, *, beside: Sequence[Beside] = ()
) -> tuple[Staged, Joined]:
    """What stands in the three systems for business days (both included), and what does not match.

    `beside` are documents that have to be there beside the orders' own.
    """
    with tempfile.TemporaryDirectory(prefix="concord-reconciliation-") as folder:
        staged = await stage(entity, first, last, Path(folder), hub)
        return staged, await asyncio.to_thread(join, staged.inputs, first, last, beside=beside)
