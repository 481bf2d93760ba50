"""The trace of an invocation: each door's work is one span, in the trace that the platform says it belongs to.

What a door lets out is logged by type and place, and handed to the host without its message: the host logs whatever it
is handed, and a message may quote what somebody wrote.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func

from shared import telemetry
from shared.errors import Unexpected
from shared.settings import settings_of_process
from shared.telemetry import export
from shared.telemetry.names import FLOW, INVOCATIONS, STATUS

Door = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]
TracedDoor = Callable[[func.HttpRequest, func.Context], Awaitable[func.HttpResponse]]
Timer = Callable[[func.TimerRequest], Awaitable[None]]
TracedTimer = Callable[[func.TimerRequest, func.Context], Awaitable[None]]


def traced(door: Door) -> TracedDoor:
    """A door whose work is a server span named as the function; `telemetry.traceparent` is its context inside."""
    name = _name_of(door)

    async def opened(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        export.start(settings_of_process())
        try:
            with telemetry.span(name, "server", parent=_came_from(req, context), attributes={FLOW: name}) as work:
                response = await door(req)
                work.note({STATUS: response.status_code})
        except Exception as error:  # noqa: BLE001 - raised again, without the words it may quote
            raise _failed(name, error) from None
        telemetry.count(INVOCATIONS, flow=name, outcome="failed" if response.status_code >= 500 else "done")
        return response

    return _as_the_worker_reads_it(opened, door)


def traced_timer(door: Timer) -> TracedTimer:
    """The same for a timer, which begins a trace of its own."""
    name = _name_of(door)

    async def opened(timer: func.TimerRequest, context: func.Context) -> None:
        export.start(settings_of_process())
        around = context.trace_context.trace_parent or ""
        try:
            with telemetry.span(name, "server", parent=around, attributes={FLOW: name}):
                await door(timer)
        except Exception as error:  # noqa: BLE001 - as above
            raise _failed(name, error) from None
        telemetry.count(INVOCATIONS, flow=name, outcome="done")

    return _as_the_worker_reads_it(opened, door)


def _failed(name: str, error: Exception) -> Unexpected:
    """Tell of the failure; what the host may be handed in its place."""
    telemetry.log_fault(name, error)
    telemetry.count(INVOCATIONS, flow=name, outcome="failed")
    return Unexpected(error)


def _came_from(request: func.HttpRequest, context: func.Context) -> str:
    """The host's own span of this invocation, else the caller's, else none: a trace begins here."""
    around = context.trace_context.trace_parent or ""
    return around if telemetry.trace_of(around) else request.headers.get("traceparent", "")


def _name_of(door: Any) -> str:
    return str(door.__name__)


def _as_the_worker_reads_it[Opened](opened: Opened, door: Any) -> Opened:
    """The worker library reads names and types of the parameters: the door's own, and the context beside them."""
    functools.update_wrapper(opened, door, assigned=("__module__", "__name__", "__qualname__", "__doc__"))  # type: ignore[arg-type]
    del opened.__wrapped__  # type: ignore[attr-defined]
    return opened
