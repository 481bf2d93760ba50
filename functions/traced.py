"""The trace of a request: each door's work is one span, in the trace that the platform says the request belongs to."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import azure.functions as func

from shared import telemetry
from shared.settings import settings_of_process
from shared.telemetry import export
from shared.telemetry.names import FLOW, STATUS

Door = Callable[[func.HttpRequest], Awaitable[func.HttpResponse]]
TracedDoor = Callable[[func.HttpRequest, func.Context], Awaitable[func.HttpResponse]]


def traced(door: Door) -> TracedDoor:
    """A door whose work is a server span named as the function; `telemetry.traceparent` is its context inside."""
    name = getattr(door, "__name__", "door")

    async def opened(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        export.start(settings_of_process())
        with telemetry.span(name, "server", parent=_came_from(req, context), attributes={FLOW: name}) as work:
            response = await door(req)
            work.note({STATUS: response.status_code})
            return response

    # The worker library reads the parameters' names and types: the door's own, and the context beside them.
    functools.update_wrapper(opened, door, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    del opened.__wrapped__  # type: ignore[attr-defined]
    return opened


def _came_from(request: func.HttpRequest, context: func.Context) -> str:
    """The host's own span of this invocation, else the caller's, else none: a trace begins here."""
    around = context.trace_context.trace_parent or ""
    return around if telemetry.trace_of(around) else request.headers.get("traceparent", "")
