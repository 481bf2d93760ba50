"""The worker side: index the app with Microsoft's runtime library and invoke its functions."""

import asyncio
import contextvars
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import azure_functions_runtime as worker
import msgspec

from sandbox.host import protos
from sandbox.host.protos import ParameterBinding, Record, TypedData

_SERVED_BINDINGS: Final = frozenset({"httpTrigger", "serviceBusTrigger", "timerTrigger", "http"})
_NO_RETRY: Final = Record(retry_count=0, max_retry_count=0, exception=None)
_NO_ATTRIBUTES: Final[Mapping[str, str]] = {}


class AppNotIndexed(Exception):
    """The app cannot be served; the text says why, with the app's own traceback when there is one."""


class BusRefused(Exception):
    """An entity cannot be received from; the text names function and entity."""


class InvocationTimeout(Exception):
    """The function ran longer than functionTimeout of host.json."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app; `trigger` is its trigger binding as the decorators state it."""

    name: str
    id: str
    trigger: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The trigger's type, for instance `httpTrigger`."""
        return str(self.trigger["type"])


@dataclass(frozen=True, slots=True)
class Trace:
    """W3C trace context of an invocation."""

    parent: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Invoked:
    """What became of an invocation: `failure` is None on success, else the exception's type and text."""

    value: TypedData | None = None
    failure: str | None = None
    traceback: str = ""


async def index(app_directory: Path) -> tuple[Function, ...]:
    """Import the app's function_app.py and list its functions. Raises AppNotIndexed."""
    if not (app_directory / "function_app.py").is_file():
        raise AppNotIndexed(f"there is no function_app.py in {app_directory}")
    sys.path.insert(0, str(app_directory))
    os.chdir(app_directory)
    worker.start_threadpool_executor()
    asked = Record(
        request=Record(worker_init_request=Record(capabilities={}, function_app_directory=str(app_directory))),
        properties={"protos": protos, "host": "127.0.0.1"},
    )
    try:
        started = await worker.worker_init_request(asked)
    except (SystemExit, KeyboardInterrupt) as fault:
        raise AppNotIndexed(f"function_app.py ended the process\n{traceback.format_exc()}") from fault
    if started.result.status != protos.StatusResult.Success:
        told = started.result.exception
        raise AppNotIndexed(f"function_app.py does not index: {told.message}\n{told.stack_trace}")
    listed = await worker.functions_metadata_request(Record(request=Record()))
    functions = tuple(_function(metadata) for metadata in listed.function_metadata_results or ())
    if not functions:
        raise AppNotIndexed("function_app.py registers no functions")
    return functions


class Invoker:
    """Runs functions, each in a task of its own, and knows how many are at work."""

    def __init__(self, timeout_seconds: float | None) -> None:
        self._timeout_seconds = timeout_seconds
        self._running: set[asyncio.Task[Invoked]] = set()

    @property
    def running(self) -> int:
        """Invocations at work."""
        return len(self._running)

    async def invoke(
        self, function: Function, data: TypedData, metadata: Mapping[str, TypedData], trace: Trace
    ) -> Invoked:
        """Run one function to its end. Whatever it raises is the answer's `failure`, never an exception here."""
        task = asyncio.create_task(self._run(function, data, metadata, trace), context=contextvars.Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            invoked = await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # the caller is being cancelled; the invocation goes on
            invoked = Invoked(failure="CancelledError: the function cancelled itself")
            _tell(function, invoked)
        return invoked

    async def drained(self, timeout_seconds: float) -> bool:
        """Wait for every running invocation; False when some were still at work after `timeout_seconds`."""
        if not self._running:
            return True
        _, unfinished = await asyncio.wait(self._running, timeout=timeout_seconds)
        return not unfinished

    async def _run(
        self, function: Function, data: TypedData, metadata: Mapping[str, TypedData], trace: Trace
    ) -> Invoked:
        invoked = await self._bounded(function, data, metadata, trace)
        if invoked.failure is not None:
            _tell(function, invoked)
        return invoked

    async def _bounded(
        self, function: Function, data: TypedData, metadata: Mapping[str, TypedData], trace: Trace
    ) -> Invoked:
        invocation_id = str(uuid4())
        worker.invocation_id_cv.set(invocation_id)  # the library does so for sync functions only
        asked = Record(
            invocation_request=Record(
                invocation_id=invocation_id,
                function_id=function.id,
                input_data=(ParameterBinding(function.trigger["name"], data),),
                trigger_metadata=metadata,
                trace_context=Record(trace_parent=trace.parent, trace_state=trace.state, attributes=_NO_ATTRIBUTES),
                retry_context=_NO_RETRY,
            )
        )
        try:
            async with asyncio.timeout(self._timeout_seconds) as limit:
                answer = await worker.invocation_request(Record(request=asked))
        except TimeoutError:
            if not limit.expired():
                raise
            return Invoked(failure=f"{InvocationTimeout.__name__}: longer than {self._timeout_seconds} seconds")
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as fault:
            # the library lets these through; an app that calls sys.exit() must not take the host with it
            return Invoked(failure=f"{type(fault).__name__}: {fault}", traceback=traceback.format_exc())
        if answer.result.status != protos.StatusResult.Success:
            told = answer.result.exception
            return Invoked(failure=told.message, traceback=told.stack_trace)
        return Invoked(answer.return_value)


def _tell(function: Function, invoked: Invoked) -> None:
    print(f"function {function.name} failed: {invoked.failure}\n{invoked.traceback}", file=sys.stderr, flush=True)


def _function(metadata: Any) -> Function:
    bindings: Sequence[dict[str, Any]] = [msgspec.json.decode(raw) for raw in metadata.raw_bindings]
    unserved = sorted({str(binding["type"]) for binding in bindings} - _SERVED_BINDINGS)
    if unserved:
        raise AppNotIndexed(f"function {metadata.name} has bindings that this host does not serve: {unserved}")
    triggers = [binding for binding in bindings if str(binding["type"]).endswith("Trigger")]
    if len(triggers) != 1:
        raise AppNotIndexed(f"function {metadata.name} has {len(triggers)} triggers, not one")
    return Function(metadata.name, metadata.function_id, triggers[0])
