"""Timer: release unconfirmed holds whose expiry message got lost."""

from __future__ import annotations

import azure.functions as func

from functions.traced import traced_timer
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("credit_hold_sweep")
@bp.timer_trigger(arg_name="timer", schedule="30 */5 * * * *")
@traced_timer
async def credit_hold_sweep(timer: func.TimerRequest) -> None:
    from shared.flows import credit_hold_sweep as flow

    await flow.credit_hold_sweep(await hub())
