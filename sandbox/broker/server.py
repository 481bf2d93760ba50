"""A broker that listens: one AMQP port, and on request a small HTTP port to look in from outside.

`GET /state` on the control port answers with what every entity holds:

    {"name": "sbemulatorns", "connections": 4, "quiet": false,
     "entities": {"orders": {"kind": "topic", "scheduled": 0, "received_total": 12},
                  "orders/Subscriptions/order_to_ledger":
                      {"kind": "subscription", "active": 2, "locked": 1, "scheduled": 0, "deferred": 0,
                       "dead_lettered": 0, "sessions_locked": 1, "oldest_enqueued_time": "2026-11-24T09:30:00.123Z",
                       "received_total": 12, "completed_total": 10}}}

`active` includes `locked`; `oldest_enqueued_time` is that of the oldest active message, or null; totals count since
the start. `quiet` is true when nothing is active and nothing is scheduled anywhere (dead letters do not count).
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sandbox.broker.config import Topology
from sandbox.broker.engine import Connection
from sandbox.broker.entities import Namespace
from sandbox.broker.links import LoopClock, ServiceBusHost
from sandbox.broker.queues import Queue

_LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 512
_REQUEST_SECONDS: Final = 5.0


class Broker:
    """A namespace on a port of 127.0.0.1. To be started and closed on one event loop.

    A client that is silent for more than twice `idle_seconds` is disconnected, as Azure does after four minutes.
    """

    def __init__(self, topology: Topology, *, idle_seconds: float = 120.0) -> None:
        self._idle_seconds = idle_seconds
        self.namespace = Namespace(topology, LoopClock())
        self._host = ServiceBusHost(self.namespace)
        self._servers: list[asyncio.Server] = []
        self.port = 0
        self.control_port: int | None = None

    async def start(self, port: int = 0, control_port: int | None = None) -> None:
        """Listen. Port 0 takes a free one; `port` and `control_port` then say which. Raises OSError if taken."""
        loop = asyncio.get_running_loop()
        connect = partial(Connection, self._host, self._idle_seconds)
        server = await loop.create_server(connect, _LOOPBACK, port, backlog=_BACKLOG)
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]
        if control_port is not None:
            control = await asyncio.start_server(_http(self.state), _LOOPBACK, control_port)
            self._servers.append(control)
            self.control_port = control.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and close every connection with a close frame."""
        for server in self._servers:
            server.close()
        for connection in list(self._host.connections):
            connection.close()
        await asyncio.sleep(0)  # lets the transports see their end

    def state(self) -> dict[str, Any]:
        """What `GET /state` answers."""
        entities: dict[str, Any] = {}
        quiet = True
        for topic in self.namespace.topics.values():
            entities[topic.name] = {
                "kind": "topic",
                "scheduled": topic.scheduled_count,
                "received_total": topic.received_total,
            }
            quiet = quiet and topic.scheduled_count == 0
        for queue in self.namespace.all_queues():
            entities[queue.name] = state = _queue_state(queue)
            quiet = quiet and state["active"] == 0 and state["scheduled"] == 0
        return {
            "name": self.namespace.name,
            "connections": len(self._host.connections),
            "quiet": quiet,
            "entities": entities,
        }


def _queue_state(queue: Queue) -> dict[str, Any]:
    counts = queue.counts()
    oldest = counts.oldest_enqueued_at
    return {
        "kind": "subscription" if "/" in queue.name else "queue",
        "active": counts.active,
        "locked": counts.locked,
        "scheduled": counts.scheduled,
        "deferred": counts.deferred,
        "dead_lettered": counts.dead_lettered,
        "sessions_locked": counts.sessions_locked,
        "oldest_enqueued_time": None
        if oldest is None
        else datetime.fromtimestamp(oldest, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "received_total": queue.received_total,
        "completed_total": queue.completed_total,
    }


def _http(state: Callable[[], dict[str, Any]]) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A handler for one request per connection: `GET /state`, anything else is 404 or 405."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.partition(b" ")
                path = rest.partition(b" ")[0].partition(b"?")[0]
                if path != b"/state":
                    status, body = "404 Not Found", {"error": "GET /state is all there is"}
                elif method != b"GET":
                    status, body = "405 Method Not Allowed", {"error": "the method is GET"}
                else:
                    status, body = "200 OK", state()
                payload = json.dumps(body).encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode()
                    + payload
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError):
            pass  # whoever asked has gone or does not speak HTTP: there is nobody to answer
        finally:
            writer.close()

    return handle
