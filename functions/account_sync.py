"""Door: changed records, ruled on by field."""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()


@bp.function_name("account_sync")
@bp.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="changes",
    subscription_name="account_sync",
    is_sessions_enabled=True,
)
async def account_sync(message: func.ServiceBusMessage) -> None:
    from shared.delivery import settle
    from shared.flows.account_sync import account_sync as story

    await settle(message, "account_sync", story)
