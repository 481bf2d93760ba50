"""Door: approval requests on their way to CRM, and what was decided there."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("credit_approval_sync")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="changes",
    subscription_name="credit_approval_sync",
    is_sessions_enabled=True,
)
async def credit_approval_sync(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle
    from shared.flows.credit_approval_sync import credit_approval_sync as story

    await settle(message, "credit_approval_sync", story)
