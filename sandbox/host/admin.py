"""What lies under /admin/: the state of the host, its functions, firing one on demand, a restart. Master key only."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qs, unquote

from aiohttp import web

from sandbox.host.keys import Keys
from sandbox.host.runtime import Function, Invoked
from sandbox.kit import exact_json

type Fire = Callable[[str | None], Awaitable[Invoked]]


class Admin:
    """Answers the admin requests; `fires` is how each timer or message function runs on demand."""

    def __init__(
        self,
        keys: Keys,
        functions: Sequence[Function],
        fires: Mapping[str, Fire],
        is_ready: Callable[[], bool],
        running: Callable[[], int],
        restart: Callable[[], None],
    ) -> None:
        self._keys = keys
        self._functions = {function.name: function for function in functions}
        self._fires = fires
        self._is_ready = is_ready
        self._running = running
        self._restart = restart
        self._fired: set[asyncio.Task[Invoked]] = set()

    async def handle(self, request: web.BaseRequest, path: str) -> web.Response:
        """One request; `path` is raw."""
        match request.method, path.rstrip("/").split("/")[2:]:
            case "GET" | "POST", ["host", "ping"]:
                return web.Response(status=200)
            case _ if not self._keys.opens("admin", "", request.headers.get("x-functions-key", _code(request))):
                return web.Response(status=401)
            case "GET", ["host", "status"]:
                state = "Running" if self._is_ready() else "Starting"
                return exact_json.response(
                    {"state": state, "version": "4", "processId": os.getpid(), "running": self._running()}
                )
            case "POST", ["host", "restart"]:
                self._restart()
                return web.Response(status=202)
            case "GET", ["functions"]:
                return exact_json.response([_described(function) for function in self._functions.values()])
            case "GET", ["functions", name] if unquote(name) in self._functions:
                return exact_json.response(_described(self._functions[unquote(name)]))
            case "POST", ["functions", name] if unquote(name) in self._functions:
                return await self._fire(request, unquote(name))
            case _:
                return web.Response(status=404)

    async def drained(self) -> None:
        """Wait for what was fired on demand."""
        if self._fired:
            await asyncio.wait(self._fired)

    async def _fire(self, request: web.BaseRequest, name: str) -> web.Response:
        fire = self._fires.get(name)
        if fire is None:
            return exact_json.response({"error": f"{name} is not fired on demand: call its route"}, status=400)
        try:
            stated = exact_json.loads_object(await request.read() or b"{}")
        except exact_json.NotJson as fault:
            return exact_json.response({"error": str(fault)}, status=400)
        given = stated.get("input")
        if given is not None and not isinstance(given, str):
            return exact_json.response({"error": "input: a string was expected"}, status=400)
        task = asyncio.ensure_future(fire(given))
        self._fired.add(task)
        task.add_done_callback(self._fired.discard)
        if "wait" not in parse_qs(request.query_string, keep_blank_values=True):
            return web.Response(status=202)
        invoked = await asyncio.shield(task)
        return exact_json.response({"succeeded": invoked.failure is None, "failure": invoked.failure}, status=202)


def _code(request: web.BaseRequest) -> str | None:
    codes = parse_qs(request.query_string).get("code")
    return codes[0] if codes else None


def _described(function: Function) -> dict[str, object]:
    return {"name": function.name, "config": {"bindings": [dict(function.trigger)]}, "language": "python"}
