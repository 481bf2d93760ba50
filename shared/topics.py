"""Which flow reads which topic: known before anything is loaded that could read one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TOPICS: Final[Mapping[str, str]] = {
    "credit_hold_update": "orders",
    "order_to_ledger": "orders",
    "crm_history_update": "orders",
    "inventory_push": "changes",
    "account_sync": "changes",
    "credit_approval_sync": "changes",
}
"""Flow → the topic whose subscription of the same name it reads."""
