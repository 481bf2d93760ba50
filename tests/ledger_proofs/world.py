"""A whole world in one process and in virtual time: workers that die, a bus that redelivers, a SAP that fails.

The story, the delivery engine, the stores, the SAP client and the bus adapter are the product's own. SAP is the
sandbox's simulator over HTTP, the bus is the broker's own engine under `Config.json`, tables are the in-memory twin.
Everything that leaves a worker crosses one place (`World.cross`), where a plan may let something go wrong.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

import azure.functions as func
from aiohttp.test_utils import TestServer
from azure.functions.servicebus import ServiceBusMessage as HostMessage
from azure.servicebus import ServiceBusMessage
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusCommunicationError,
    ServiceBusServerBusyError,
)

from sandbox.broker.config import read_topology
from sandbox.broker.entities import Namespace, Topic
from sandbox.broker.errors import BrokerError
from sandbox.broker.message import Content, Message, parse_content, split_batch
from sandbox.broker.queues import Lock, Queue, Receiver, Stream
from sandbox.kit import exact_json as sandbox_json
from sandbox.kit.simulator import Settings as SimulatorSettings
from sandbox.kit.simulator import build_app
from sandbox.sap import arrangements
from sandbox.sap.services.billing import bill
from sandbox.sap.simulator import SapSimulator
from shared.authority.policy import Policy
from shared.clients.http import BasicAuth, RemoteSystem, Response
from shared.clients.odata import ODataV2
from shared.clients.sap_credit import SapCredit
from shared.clients.sap_ledger import SapLedger
from shared.clients.sap_orders import SapOrders
from shared.delivery import deliver, deliver_without_dossier
from shared.domain.changes import Change, decode
from shared.errors import OutcomeUnknown, RemoteDown
from shared.flows.case_handling import decide_case
from shared.flows.credit_hold_update import credit_hold_update
from shared.flows.order_to_ledger import order_to_ledger
from shared.flows.parked_sweep import parked_sweep
from shared.messaging import Bus, read_delivery
from shared.stores.cases import Cases
from shared.stores.credit_book import CheckDesk, CreditBook
from shared.stores.parking import ParkedIndex
from shared.stores.pauses import Pauses
from shared.stores.recollections import Recollections
from shared.stores.records import Records
from shared.stores.table import Op, Row, RowChanged, RowExists, Table
from shared.telemetry import Counters
from shared.wiring import TABLES, Hub
from tests.hub import MemoryBodies, settings, shipped_policy
from tests.ledger.checking import approved
from tests.ledger_proofs.virtual_time import VirtualLoop
from tests.memory_table import MemoryTable

TOPOLOGY = Path(__file__).parents[2] / "sandbox" / "broker" / "Config.json"
LEDGER, CREDIT = "order_to_ledger", "credit_hold_update"
Nature = Literal["table-read", "table-write", "sap-read", "sap-effect", "bus", "settle"]
LATE_SECONDS = 590.0
"""How late SAP may still post what it was sent: within its maximum runtime of 600 seconds."""
STALE_SECONDS = 45.0
"""How far SAP's reads lag behind its postings: within the lease's margin of 60 seconds."""
FREEZE_SECONDS = 75.0
LONG_FREEZE_SECONDS = 900.0
"""Longer than a lock, and longer than a lease."""
_RENEW_SECONDS = 20.0
_RENEW_SECONDS_MAX = 600.0
_IDLE_SECONDS = 1.0
_SESSIONS = 4
_SWEEP_SECONDS = 60.0
_QUIET_SECONDS_MAX = 6 * 3600.0
_ENDLESS_FAULTS = 200
_REPLAYED = ("kills_the_worker", "attempts_exhausted")


@dataclass(slots=True)
class Doing:
    """The delivery that the current task works on."""

    worker: Worker
    flow: str
    message: Message
    kind: str
    renews: bool = True


_doing: ContextVar[Doing | None] = ContextVar("doing", default=None)
Plan = Callable[[str, Nature], str]
"""Place and nature of a crossing → the fault that strikes there, "" for none."""


def no_faults(place: str, nature: Nature) -> str:
    return ""


def one_by_one(*faults: tuple[str, str]) -> Plan:
    """A plan of faults at named places."""
    planned = dict(faults)
    return lambda place, nature: planned.get(place, "")


@dataclass
class World:
    """Everything there is. `crossed` lists each place that was crossed for the ledger, in order."""

    loop: VirtualLoop
    chance: random.Random
    plan: Plan = no_faults
    policy: Policy = field(default_factory=shipped_policy)
    crossed: list[tuple[str, Nature]] = field(default_factory=list)
    struck: list[tuple[str, str]] = field(default_factory=list)
    tables: dict[str, MemoryTable] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    published: list[Change] = field(default_factory=list)
    told: list[Change] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _born: int = 0

    sap: SapSimulator = field(init=False)
    sap_url: str = field(init=False)
    broker: Namespace = field(init=False)
    timer: Worker = field(init=False)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.loop.epoch(), UTC)

    # --- arranging -----------------------------------------------------------------------------------------------

    async def check(self, order: dict[str, Any], *, legal_entity: str = "GB01") -> str:
        """The checkout's credit check of an order on account; the id of the decision that approves it."""
        deadline = self.loop.time() + 10
        return await approved(
            order, self.timer.hub, request_id=order["SalesId"], deadline=deadline, legal_entity=legal_entity
        )

    async def tell(self, change: Change) -> None:
        """What intake does with an event of Commerce."""
        self.told.append(change)
        await self.timer.hub.bus.publish("orders", change)

    async def read_order(self, legal_entity: str, number: str) -> dict[str, Any] | None:
        """Commerce, as far as it is asked: the order as it was confirmed."""
        orders = [change.data["order"] for change in self.told if change.key == number and change.data.get("order")]
        return orders[0] if orders else None

    def start_worker(self) -> Worker:
        self._born += 1
        worker = Worker(f"worker-{self._born}", self)
        self.workers.append(worker)
        for flow in (LEDGER, CREDIT):
            for _ in range(_SESSIONS):
                self.spawn(worker.serve(flow))
        return worker

    def run_billing(self) -> None:
        """What SAP's billing run does: each sales order that is open and not blocked."""
        for order in list(self.sap.world.sales_orders.values()):
            if order["_open"] and not order["_credit_blocked"] and not order.get("HeaderBillingBlockReason"):
                with self.sap.state.atomic():
                    bill(self.sap.world, order)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(work, context=Context())  # nothing of whoever starts it comes along
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.loop.call_exception_handler({"message": "a task of the world failed", "exception": task.exception()})

    # --- running -------------------------------------------------------------------------------------------------

    async def come_to_rest(self) -> None:
        """Go on, with the sweep on its timer, until nothing waits, runs, or is still to land."""
        until = self.loop.time() + _QUIET_SECONDS_MAX
        while self.loop.time() < until:
            await asyncio.sleep(_SWEEP_SECONDS)
            await parked_sweep(self.timer.hub)
            if self._rests():
                await asyncio.sleep(5)
                if self._rests():
                    return
        raise AssertionError(f"after {_QUIET_SECONDS_MAX / 3600:.0f} hours: {self._unrest()}")

    async def have_cases_replayed(self) -> bool:
        """A person replays what is open because workers died over it or a system was away; False: there is none."""
        hub = self.timer.hub
        cases = [one for one in await hub.cases.list(state="open") if one.code in _REPLAYED]
        for case in cases:
            await decide_case(case, "replay", by="Olga", comment="", hub=hub)
        return bool(cases)

    def _rests(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> dict[str, Any]:
        queues = {flow: self.queue(flow).counts() for flow in (LEDGER, CREDIT)}
        heads = [row for (_, key), row in self.tables["records"].rows.items() if key.startswith("0|park|")]
        parked = [row.partition for row in heads if row.values["state"] != "case" or row.values["decision"]]
        waiting = {flow: counts.active + counts.scheduled for flow, counts in queues.items()}
        late = self.sap.faults.described()["late_effects_pending"]
        scheduled = self.topic.scheduled_count
        found = {"parked": parked, "in queues": sum(waiting.values()), "scheduled": scheduled, "late": late}
        found["running"] = sum(worker.busy for worker in self.workers if not worker.dead)
        return {name: what for name, what in found.items() if what}

    @property
    def topic(self) -> Topic:
        return self.broker.topics["orders"]

    def queue(self, flow: str) -> Queue:
        return self.topic.subscriptions[flow]

    # --- crossing ------------------------------------------------------------------------------------------------

    async def cross[T](self, worker: Worker, what: str, nature: Nature, act: Callable[[], Awaitable[T]]) -> T:
        """One thing leaves a worker: it takes a moment, and the plan may let it go wrong."""
        doing = _doing.get()
        if doing is None:
            return await act()
        await worker.still_lives()
        await asyncio.sleep(self.chance.uniform(0.0005, 0.01))
        await worker.still_lives()
        if doing.flow != LEDGER:
            return await act()
        name = f"{doing.kind}: {what}"
        self._seen[name] += 1
        place = f"{name} #{self._seen[name]}"
        self.crossed.append((place, nature))
        fault = self.plan(place, nature)
        if not fault:
            return await act()
        self.struck.append((place, fault))
        if len(self.struck) > _ENDLESS_FAULTS:
            raise RuntimeError("the plan never lets anything through")
        match fault:
            case "crash_before":
                await worker.die()
            case "crash_after":
                with suppress(Exception):
                    await act()
                await worker.die()
            case "duplicate":
                self.queue(LEDGER).put(doing.message.content)
            case "duplicate_renamed":
                self._tell_again(doing.message)
            case "lock_lost":
                doing.renews = False
                await asyncio.sleep(FREEZE_SECONDS)
                await worker.still_lives()  # what froze and was killed meanwhile sends nothing any more
            case "lock_lost_long":
                doing.renews = False
                await asyncio.sleep(LONG_FREEZE_SECONDS)
                await worker.still_lives()  # what froze and was killed meanwhile sends nothing any more
            case "two_workers":
                other = next((one for one in self.workers if one is not worker and not one.dead), worker)
                self.spawn(other.handle(LEDGER, doing.message, None, None))
            case "stale_read":
                self.sap_fault("stale_read", "GET", "", seconds=STALE_SECONDS)
            case _:
                return await self._fail(worker, what, nature, fault, act)
        return await act()

    async def _fail[T](
        self, worker: Worker, what: str, nature: Nature, fault: str, act: Callable[[], Awaitable[T]]
    ) -> T:
        if nature in ("sap-read", "sap-effect"):
            method, path = what.split(" ")[1:3]
            match fault:
                case "timeout_applied":
                    self.sap_fault("timeout_after", method, path)
                case "timeout_late":
                    self.sap_fault("timeout_late", method, path, appliesAfter=LATE_SECONDS)
                    self.loop.call_later(5, worker.fall)  # so that somebody looks before it lands
                case "timeout_lost":
                    self.sap_fault("timeout_before", method, path)
                case "429":
                    self.sap_fault("status", method, path, status=429, retryAfter=3)
                case "503":
                    self.sap_fault("status", method, path, status=503)
                case "reset":
                    self.sap_fault("reset", method, path)
                case _:
                    raise ValueError(fault)
            return await act()
        if nature == "settle":
            match fault:
                case "timeout_applied":
                    await act()
                    raise BrokerError("timeout", "no answer to the settlement")
                case "timeout_late":
                    self.spawn(self._later(act))
                    raise BrokerError("timeout", "no answer to the settlement")
                case _:
                    raise BrokerError(fault, "the message was not settled")
        match fault:
            case "timeout_applied":
                await act()
            case "timeout_late":
                self.spawn(self._later(act))
            case _:
                pass
        if nature == "bus":
            errors: dict[str, Exception] = {
                "429": ServiceBusServerBusyError(message="busy"),
                "503": ServiceBusCommunicationError(message="not available"),
                "reset": ConnectionResetError("reset by peer"),
            }
            raise errors.get(fault, OperationTimeoutError(message="no answer"))
        if nature == "table-write" and (fault.startswith("timeout") or fault == "reset"):
            raise OutcomeUnknown("a table did not answer a write")
        raise RemoteDown("tables do not answer", system="tables")

    async def _later(self, act: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(5)
        with suppress(RowExists, RowChanged, BrokerError):
            await act()

    def _tell_again(self, message: Message) -> None:
        change = decode(_body(message.content))
        twin = Change(**{name: getattr(change, name) for name in Change.__slots__} | {"id": change.id + "-again"})
        self.queue(LEDGER).put(_content(_bus_message_like(message.content, twin)))

    def sap_fault(self, kind: str, method: str, path: str, **more: Any) -> None:
        count = {} if kind == "stale_read" else {"count": 1}
        order = {"kind": kind, "match": {"method": method, "path": path}, **count, **more}
        self.sap.faults.add(sandbox_json.dumps(order))


@dataclass
class Worker:
    """One process of the app: its own hub, its own connections, eight sessions; it can die."""

    name: str
    world: World
    dead: bool = False
    busy: int = 0
    hub: Hub = field(init=False)
    _receivers: list[tuple[Queue, _SessionReceiver]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hub = _hub_of(self)

    async def still_lives(self) -> None:
        if self.dead:
            await asyncio.get_running_loop().create_future()  # nothing of a dead process ever goes on

    async def die(self) -> None:
        self.fall()
        await self.still_lives()

    def fall(self) -> None:
        """The process ends here and now; another takes its place a second later."""
        if self.dead:
            return
        self.dead = True
        for queue, receiver in self._receivers:
            queue.close_receiver(receiver, orderly=False)
        self.world.loop.call_later(1, self.world.start_worker)

    async def serve(self, flow: str) -> None:
        """One session after the other, message by message, as the host does."""
        queue = self.world.queue(flow)
        while not self.dead:
            receiver = _SessionReceiver()
            entry = (queue, receiver)
            self._receivers.append(entry)
            if not queue.accept_next_session(receiver):
                await receiver.granted.wait()
            while not self.dead and receiver.stream is not None:
                taken = await self._next(queue, receiver)
                if taken is None:
                    break
                await self.handle(flow, *taken, receiver)
            self._receivers.remove(entry)
            if not self.dead:
                queue.close_receiver(receiver, orderly=True)

    async def _next(self, queue: Queue, receiver: _SessionReceiver) -> tuple[Message, Lock] | None:
        receiver.credit = 1
        queue.hand_out(receiver)
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await receiver.came.wait()
        except TimeoutError:
            receiver.credit = 0
            return None
        receiver.came.clear()
        return receiver.taken.pop()

    async def handle(self, flow: str, message: Message, lock: Lock | None, receiver: _SessionReceiver | None) -> None:
        """One message to its story, and settled as the story ends; without a lock nothing is settled."""
        queue = self.world.queue(flow)
        doing = Doing(self, flow, message, str(message.content.application_properties["kind"]))
        _doing.set(doing)
        self.busy += 1
        renewing = self.world.spawn(self._renew(queue, doing, lock))
        try:
            delivery = await read_delivery(_as_host_gives(message), flow, "orders", self.hub.bodies)
            if flow == LEDGER:
                await deliver(delivery, order_to_ledger, self.hub)
            else:
                await deliver_without_dossier(delivery, credit_hold_update, self.hub)
        except Exception as error:
            await self.still_lives()
            self.world.struck.append((f"{doing.kind}: abandoned", type(error).__name__))
            if lock is not None:
                with suppress(BrokerError):
                    queue.abandon(lock)
        else:
            await self._complete(queue, lock, receiver)
        finally:
            renewing.cancel()
            self.busy -= 1
            _doing.set(None)

    async def _complete(self, queue: Queue, lock: Lock | None, receiver: _SessionReceiver | None) -> None:
        if lock is None:
            return

        async def complete() -> None:
            queue.complete(lock)

        try:
            await self.world.cross(self, "settle", "settle", complete)
        except BrokerError:
            # The host logs it; the message stays locked until the session goes, which then starts anew.
            if receiver is not None and receiver.stream is not None:
                queue.close_receiver(receiver, orderly=False)

    async def _renew(self, queue: Queue, doing: Doing, lock: Lock | None) -> None:
        if lock is None:
            return
        for _ in range(int(_RENEW_SECONDS_MAX / _RENEW_SECONDS)):
            await asyncio.sleep(_RENEW_SECONDS)
            if self.dead or not doing.renews or not lock.active:
                return
            with suppress(BrokerError):
                queue.renew_session(str(lock.stream.session_id))


class _SessionReceiver(Receiver):
    def __init__(self) -> None:
        self.credit = 0
        self.granted = asyncio.Event()
        self.came = asyncio.Event()
        self.taken: list[tuple[Message, Lock]] = []

    def has_credit(self) -> bool:
        return self.credit > 0

    def deliver(self, message: Message, lock: Lock | None) -> None:
        assert lock is not None
        self.credit -= 1
        self.taken.append((message, lock))
        self.came.set()

    def session_granted(self, stream: Stream) -> None:
        self.granted.set()

    def session_lost(self) -> None:
        return  # whoever works on goes on working; its settlement will fail


# --- the ports of a worker -------------------------------------------------------------------------------------------


class _WatchedTable:
    """A table as a worker reaches it."""

    def __init__(self, name: str, table: MemoryTable, worker: Worker) -> None:
        self._name, self._table, self._worker = name, table, worker

    async def read(self, partition: str, key: str) -> Row | None:
        return await self._cross("read", "table-read", lambda: self._table.read(partition, key))

    async def query(
        self, partition: str, *, prefix: str = "", before: str | None = None, limit: int | None = None
    ) -> list[Row]:
        return await self._cross(
            "query",
            "table-read",
            lambda: self._table.query(partition, prefix=prefix, before=before, limit=limit),
        )

    async def scan(self, *, where: str = "", limit: int | None = None) -> list[Row]:
        return await self._cross("scan", "table-read", lambda: self._table.scan(where=where, limit=limit))

    async def insert(self, row: Row) -> str:
        return await self._cross(f"insert {_sort(row.key)}", "table-write", lambda: self._table.insert(row))

    async def replace(self, row: Row, etag: str) -> str:
        return await self._cross(f"replace {_sort(row.key)}", "table-write", lambda: self._table.replace(row, etag))

    async def transact(self, partition: str, operations: Sequence[Op]) -> list[str]:
        operations = list(operations)
        what = "+".join(sorted({f"{op.kind} {_sort(op.row.key)}" for op in operations}))
        return await self._cross(what, "table-write", lambda: self._table.transact(partition, operations))

    async def _cross[T](self, what: str, nature: Nature, act: Callable[[], Awaitable[T]]) -> T:
        return await self._worker.world.cross(self._worker, f"{self._name} {what}", nature, act)


def _sort(key: str) -> str:
    """What kind of row a key names."""
    parts = key.split("|")
    return parts[1] if parts[0] == "0" and len(parts) > 1 else "lineage" if parts[0] == "1" else "row"


class _WatchedSystem(RemoteSystem):
    """SAP as a worker reaches it."""

    worker: Worker

    async def request(self, method: str, path: str, **more: Any) -> Response:
        service = path.rsplit("/", 2)[-2 if "opu/odata" in path else -1]
        nature: Nature = "sap-effect" if more["write"] == "effect" else "sap-read"
        return await self.worker.world.cross(
            self.worker,
            f"sap {method} {service}",
            nature,
            lambda: super(_WatchedSystem, self).request(method, path, **more),
        )


class _Client:
    """The bus client's place: what is sent goes to the broker's engine, encoded by Microsoft's own code."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def get_topic_sender(self, topic: str) -> _Sender:
        return _Sender(self._worker, topic)


class _Sender:
    def __init__(self, worker: Worker, topic: str) -> None:
        self._worker, self._topic = worker, topic

    async def __aenter__(self) -> _Sender:
        return self

    async def close(self) -> None:
        return

    async def create_message_batch(self) -> list[ServiceBusMessage]:
        return _Batch()

    async def send_messages(self, messages: ServiceBusMessage | list[ServiceBusMessage]) -> None:
        world = self._worker.world
        for message in messages if isinstance(messages, list) else [messages]:
            properties = cast(dict[str, Any], message.application_properties or {})
            wakes = f" {properties['retryFor']}" if "retryFor" in properties else ""

            async def send(message: ServiceBusMessage = message) -> None:
                world.topic.send([_content(message)])

            if properties["kind"] == "order.posted":
                world.published.append(decode(b"".join(message.body)))
            await world.cross(self._worker, f"bus {properties['kind']}{wakes}", "bus", send)


class _Batch(list[ServiceBusMessage]):
    add_message = list.append


def _content(message: ServiceBusMessage) -> Content:
    outgoing = PyamqpTransport.to_outgoing_amqp_message(message.raw_amqp_message)
    message._message = outgoing
    return parse_content(bytes(PyamqpTransport.encode_message(message)))


def _bus_message_like(content: Content, change: Change) -> ServiceBusMessage:
    from shared.domain.changes import encode

    return ServiceBusMessage(
        encode(change),
        message_id=change.message_id,
        session_id=content.session_id,
        application_properties=cast(Any, dict(content.application_properties)),
    )


def _body(content: Content) -> bytes:
    return split_batch(content.bare)[0]


def _as_host_gives(message: Message) -> func.ServiceBusMessage:
    content = message.content
    return HostMessage(
        body=_body(content),
        application_properties=dict(content.application_properties),
        user_properties={},
        message_id=str(content.message_id),
        delivery_count=message.delivery_count + 1,
        session_id=content.session_id,
    )


def _hub_of(worker: Worker) -> Hub:
    world, policy = worker.world, worker.world.policy
    counters = Counters()
    tables: dict[str, Table] = {
        name: _WatchedTable(name, world.tables.setdefault(name, MemoryTable()), worker) for name in TABLES
    }
    system = _WatchedSystem(
        "sap", world.sap_url, auth=BasicAuth("CONCORD", "not-a-secret"), clock=world.loop.time, counters=counters
    )
    system.worker = worker
    sap = ODataV2(system, client="100")
    bodies = MemoryBodies()
    book = CreditBook(
        tables["credit"], tables["requests"], policy.credit, clock=world.now, counters=counters, digest=policy.digest
    )

    async def client() -> Any:
        return _Client(worker)

    unused = cast(Any, None)
    hub = Hub(
        settings=settings(),
        policy=policy,
        clock=world.now,
        counters=counters,
        records=Records(tables["records"]),
        recollections=Recollections(clock=world.loop.time),
        cases=Cases(tables["cases"]),
        parked=ParkedIndex(tables["parked"]),
        pauses=Pauses(tables["parked"], clock=world.loop.time),
        bodies=bodies,
        bus=Bus(client, bodies, 32, counters),
        credit_book=book,
        credit_desk=CheckDesk(book, SapCredit(sap, policy.credit)),
        sap_credit=unused,
        sap_ledger=SapLedger(sap, client="100"),
        sap_orders=SapOrders(sap),
        sap_stock=unused,
        dataverse=unused,
        commerce=cast(Any, world),
        inventory=unused,
    )
    hub.closing.push_async_callback(system.close)
    return hub


@asynccontextmanager
async def world(
    loop: VirtualLoop, *, seed: int = 0, plan: Plan = no_faults, workers: int = 2, policy: Policy | None = None
) -> AsyncIterator[World]:
    """A world with SAP's customising, three customers with credit, four materials, and workers that serve."""
    random.seed(seed)
    one = World(loop, random.Random(seed), plan, policy or shipped_policy())
    one.sap = SapSimulator(SimulatorSettings(), loop.epoch, password="not-a-secret")
    one.broker = Namespace(read_topology(TOPOLOGY), _BrokerClock(loop))
    for account in ("C-1", "C-2", "C-3"):
        order = arrangements.CreditOrder(
            legal_entity="GB01",
            limit=Decimal(1_000_000),
            currency="GBP",
            prices={f"ITEM-{number}": Decimal(10) for number in range(1, 5)},
        )
        with one.sap.state.atomic():
            arrangements.set_credit_account(one.sap.world, account, order)
    async with TestServer(build_app(one.sap), access_log=None) as server:
        one.sap_url = str(server.make_url("")).rstrip("/")
        one.timer = Worker("timer", one)
        await asyncio.sleep(2 * STALE_SECONDS)  # the customers are old news, however stale a read
        for _ in range(workers):
            one.start_worker()
        try:
            yield one
        finally:
            for task in list(one._tasks):
                task.cancel()
            await asyncio.gather(*one._tasks, return_exceptions=True)
            for worker in (one.timer, *one.workers):
                await worker.hub.closing.aclose()


def by_sales_order(**changes: Any) -> Policy:
    """The shipped policy, with GB01 posting what is on account by sales order; `changes` are further ones of it."""
    shipped = shipped_policy()
    entities = shipped.ledger.legal_entities
    changed = entities["GB01"].model_copy(update={"posting": "sales_order", **changes})
    return replace(shipped, ledger=shipped.ledger.model_copy(update={"legal_entities": entities | {"GB01": changed}}))


@dataclass(frozen=True)
class _BrokerClock:
    loop: VirtualLoop

    def now(self) -> float:
        return self.loop.epoch()

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_at_epoch(when, call)
