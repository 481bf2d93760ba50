"""Door: orders, their movements and postings into the CRM history."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("crm_history_update")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="orders",
    subscription_name="crm_history_update",
    is_sessions_enabled=True,
)
async def crm_history_update(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle
    from shared.flows.crm_history_update import crm_history_update as story

    await settle(message, "crm_history_update", story, recalls=True)
