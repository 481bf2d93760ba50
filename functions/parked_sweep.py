"""Timer: wake parked keys that are overdue, and tell how much waits."""

from __future__ import annotations

import azure.functions as func

from functions.traced import traced_timer
from shared import telemetry
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("parked_sweep")
@bp.timer_trigger(arg_name="timer", schedule="0 * * * * *")
@traced_timer
async def parked_sweep(timer: func.TimerRequest) -> None:
    from shared.flows import parked_sweep as flow
    from shared.flows.standing import tell_standing

    connected = await hub()
    counted = await flow.parked_sweep(connected)
    await tell_standing(connected)
    telemetry.log_outcome("parked_sweep", **counted)
