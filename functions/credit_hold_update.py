"""Door: order events move the holds of their credit decisions."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("credit_hold_update")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="orders",
    subscription_name="credit_hold_update",
    is_sessions_enabled=True,
)
async def credit_hold_update(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle_without_dossier
    from shared.flows.credit_hold_update import credit_hold_update as story

    await settle_without_dossier(message, "credit_hold_update", story)
