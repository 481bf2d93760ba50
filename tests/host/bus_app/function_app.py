"""A small app on the bus: it remembers what each function was given, and lets callers wait for that over HTTP."""

import asyncio
import json
from collections import defaultdict
from typing import List  # noqa: UP035 - the worker library does not read list[…]

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
seen: dict[str, list[dict[str, object]]] = defaultdict(list)
news = asyncio.Condition()
gate = asyncio.Event()


async def _see(function: str, message: func.ServiceBusMessage, context: func.Context | None = None) -> None:
    async with news:
        seen[function].append(
            {
                "body": message.get_body().decode(),
                "id": message.message_id,
                "session": message.session_id,
                "delivery_count": message.delivery_count,
                "sequence": message.sequence_number,
                "enqueued": message.enqueued_time_utc.isoformat() if message.enqueued_time_utc else None,
                "content_type": message.content_type,
                "correlation_id": message.correlation_id,
                "subject": message.subject,
                "properties": message.application_properties,
                "user_properties": message.user_properties,
                "trace": context.trace_context.trace_parent if context else None,
            }
        )
        news.notify_all()


@app.function_name("plain")
@app.service_bus_queue_trigger(arg_name="message", connection="ServiceBus", queue_name="%PlainQueue%")
async def plain(message: func.ServiceBusMessage, context: func.Context) -> None:
    await _see("plain", message, context)


@app.function_name("poisoned")
@app.service_bus_queue_trigger(arg_name="message", connection="ServiceBus", queue_name="poison")
async def poisoned(message: func.ServiceBusMessage) -> None:
    await _see("poisoned", message)
    raise ValueError("cannot be read")


@app.function_name("buried")
@app.service_bus_queue_trigger(arg_name="message", connection="ServiceBus", queue_name="poison/$DeadLetterQueue")
async def buried(message: func.ServiceBusMessage) -> None:
    await _see("buried", message)


@app.function_name("batch")
@app.service_bus_queue_trigger(
    arg_name="messages", connection="ServiceBus", queue_name="batches", cardinality=func.Cardinality.MANY
)
async def batch(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    for message in messages:
        await _see("batch", message)


@app.function_name("other_batch")
@app.service_bus_queue_trigger(
    arg_name="messages", connection="ServiceBus", queue_name="other_batches", cardinality=func.Cardinality.MANY
)
async def other_batch(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
    for message in messages:
        await _see("other_batch", message)


@app.function_name("slow")
@app.service_bus_queue_trigger(arg_name="message", connection="ServiceBus", queue_name="short_lock")
async def slow(message: func.ServiceBusMessage) -> None:
    """Works for longer than the lock of its queue lasts."""
    await asyncio.sleep(2.5)
    await _see("slow", message)


@app.function_name("kept")
@app.service_bus_queue_trigger(
    arg_name="message", connection="ServiceBus", queue_name="kept", auto_complete_messages=False
)
async def kept(message: func.ServiceBusMessage) -> None:
    await _see("kept", message)


@app.function_name("in_order")
@app.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="events",
    subscription_name="in_order",
    is_sessions_enabled=True,
)
async def in_order(message: func.ServiceBusMessage) -> None:
    """Fails on the first delivery of a message that says so."""
    await _see("in_order", message)
    if message.get_body() == b"fail once" and message.delivery_count == 1:
        raise ValueError("not yet")


@app.function_name("slow_session")
@app.service_bus_topic_trigger(
    arg_name="message",
    connection="ServiceBus",
    topic_name="events",
    subscription_name="slow_session",
    is_sessions_enabled=True,
)
async def slow_session(message: func.ServiceBusMessage) -> None:
    """Works for longer than the session's lock lasts."""
    await asyncio.sleep(2.5)
    await _see("slow_session", message)


@app.function_name("gated")
@app.service_bus_queue_trigger(arg_name="message", connection="ServiceBus", queue_name="gated")
async def gated(message: func.ServiceBusMessage) -> None:
    """Begins, then waits until the gate is opened: in flight for as long as a test needs."""
    await _see("gated", message)
    await gate.wait()
    print("gated has finished", flush=True)


@app.function_name("open_gate")
@app.route(route="gate", methods=["POST"])
async def open_gate(req: func.HttpRequest) -> func.HttpResponse:
    """Opens the gate a moment later, when the caller has had its answer."""
    asyncio.get_running_loop().call_later(float(req.params.get("after", "0")), gate.set)
    return func.HttpResponse(status_code=202)


@app.function_name("seen_so_far")
@app.route(route="seen/{function}", methods=["GET"])
async def seen_so_far(req: func.HttpRequest) -> func.HttpResponse:
    """What a function was given, once that are `count` messages."""
    given = seen[req.route_params["function"]]
    async with news:
        await news.wait_for(lambda: len(given) >= int(req.params.get("count", "0")))
        return func.HttpResponse(json.dumps(given), mimetype="application/json")
