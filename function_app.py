"""The Function App: every door registered, nothing else. Importing it opens no connection.

Faulty settings end the import, and so does a faulty overlay of the policy (what is shipped was checked when it was
built): the host then has no functions, and its log names every fault.
"""

from __future__ import annotations

import azure.functions as func

from functions import (
    account_sync,
    availability,
    cases,
    change_intake,
    checkout_credit_check,
    console,
    credit_approval_sync,
    credit_hold_sweep,
    credit_hold_update,
    crm_history_update,
    dead_letters,
    flows,
    health,
    inventory_push,
    lineage,
    lost_order_sweep,
    order_to_ledger,
    parked_sweep,
    reconciliation,
)
from shared.settings import settings_of_process

if overlay := settings_of_process().policy_overlay:
    from shared.authority.policy import load_policy

    load_policy(overlay)
app = func.FunctionApp()
for door in (
    checkout_credit_check,
    credit_hold_update,
    credit_hold_sweep,
    change_intake,
    order_to_ledger,
    inventory_push,
    crm_history_update,
    account_sync,
    credit_approval_sync,
    dead_letters,
    availability,
    cases,
    flows,
    lineage,
    reconciliation,
    parked_sweep,
    lost_order_sweep,
    console,
    health,
):
    app.register_functions(door.bp)
