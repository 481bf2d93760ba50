"""Door: stock movements to Commerce."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("inventory_push")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="changes",
    subscription_name="inventory_push",
    is_sessions_enabled=True,
)
async def inventory_push(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle
    from shared.flows.inventory_push import inventory_push as story

    await settle(message, "inventory_push", story)
