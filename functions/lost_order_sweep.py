"""Timer: bring here what Commerce has and what never arrived."""

from __future__ import annotations

import azure.functions as func

from functions.traced import traced_timer
from shared import telemetry
from shared.wiring import hub

bp = func.Blueprint()


@bp.function_name("lost_order_sweep")
@bp.timer_trigger(arg_name="timer", schedule="0 */10 * * * *")
@traced_timer
async def lost_order_sweep(timer: func.TimerRequest) -> None:
    from shared.flows import lost_order_sweep as flow  # DuckDB loads when somebody compares

    counted = await flow.lost_order_sweep(await hub())
    telemetry.log_outcome("lost_order_sweep", **counted)
