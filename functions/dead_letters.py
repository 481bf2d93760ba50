"""Doors: what ended in a dead-letter queue, one for each flow, because nobody reads such a queue by itself."""

from __future__ import annotations

import azure.functions as func

from shared.topics import TOPICS

bp = func.Blueprint()


def _door(flow: str, topic: str) -> None:
    async def dead_letters(message: func.ServiceBusMessage) -> None:
        from shared.delivery import settle_dead_letter

        await settle_dead_letter(message, flow)

    trigger = bp.service_bus_topic_trigger(
        arg_name="message",
        connection="ServiceBus",
        topic_name=topic,
        subscription_name=f"{flow}/$DeadLetterQueue",
    )
    bp.function_name(f"{flow}_dead_letters")(trigger(dead_letters))


for _flow, _topic in TOPICS.items():
    _door(_flow, _topic)
