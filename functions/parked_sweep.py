"""Timer: wake parked keys that are overdue."""

from __future__ import annotations

import azure.functions as func

from shared import telemetry
from shared.flows import parked_sweep as flow
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("parked_sweep")
@bp.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def parked_sweep(timer: func.TimerRequest) -> None:
    counted = await flow.parked_sweep(await hub())
    telemetry.log_outcome("parked_sweep", **counted)
