"""Door: orders on the ledger."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("order_to_ledger")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="orders",
    subscription_name="order_to_ledger",
    is_sessions_enabled=True,
)
async def order_to_ledger(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle
    from shared.flows.order_to_ledger import order_to_ledger as story

    await settle(message, "order_to_ledger", story)
