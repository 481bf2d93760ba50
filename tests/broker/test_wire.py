"""The protocol itself: frames, windows, credit, heartbeats, and peers that break off or break the rules."""

import asyncio
from typing import Any

import pytest

from sandbox.broker import codec
from sandbox.broker.codec import Described, Symbol, ULong
from sandbox.broker.config import parse_topology
from sandbox.broker.message import BATCH_FORMAT, parse_content
from sandbox.broker.server import Broker
from tests.broker.by_hand import body, encoded
from tests.broker.conftest import DOCUMENT, RunningBroker
from tests.broker.wire import ATTACH, CLOSE, DETACH, DISPOSITION, EMPTY, END, FLOW, TRANSFER, connect

_ACCEPTED = Described(ULong(0x24), [])


async def test_a_message_is_split_into_frames_the_client_can_take_and_joined_from_any(broker: RunningBroker) -> None:
    text = "x" * 3000
    async with connect(broker.port, frame_bytes_max=512) as wire:
        await wire.attach_sender(0, "work")
        message = encoded(text)
        wire.send(TRANSFER, 0, 7, b"t", 0, False, True, payload=message[:10])
        wire.send(TRANSFER, 0, None, None, None, None, True, payload=message[10:11])
        wire.send(TRANSFER, 0, None, None, None, None, False, payload=message[11:])
        assert (await wire.until(DISPOSITION)).fields[1:4] == [7, 7, True]
        await wire.attach_receiver(1, "work")
        wire.credit(1, 1, seen=1)
        parts = [await wire.until(TRANSFER)]
        while parts[-1].field(5):
            parts.append(await wire.until(TRANSFER))
        assert len(parts) >= 6
        assert len({part.field(1) for part in parts[1:]} - {None, parts[0].field(1)}) == 0
        joined = b"".join(part.payload for part in parts)
        assert parse_content(joined).bare == parse_content(message).bare


async def test_a_message_larger_than_the_window_waits_for_it_in_the_middle(broker: RunningBroker) -> None:
    async with connect(broker.port, frame_bytes_max=512, window=3) as wire:
        await wire.attach_sender(0, "work")
        await wire.put(0, 0, "x" * 3000)
        await wire.put(0, 1, "after it")
        await wire.attach_receiver(1, "work")
        wire.credit(1, 2, seen=1, window=3, echo=True)
        first = [await wire.frame() for _ in range(4)]
        assert [frame.code for frame in first] == [TRANSFER] * 3 + [FLOW]
        wire.send(FLOW, 4, 100, 0, 100)
        rest = [await wire.until(TRANSFER)]
        while rest[-1].field(5):
            rest.append(await wire.until(TRANSFER))
        whole = b"".join(frame.payload for frame in [*first[:3], *rest])
        assert whole.count(b"x") >= 3000
        assert body(parse_content((await wire.until(TRANSFER)).payload)) == "after it"


async def test_an_aborted_message_never_was(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "work")
        wire.send(TRANSFER, 0, 0, b"t", 0, False, True, payload=encoded("a")[:10])
        wire.send(TRANSFER, 0, None, None, None, None, False, None, None, None, True)
        await wire.put(0, 1, "b")
        assert broker.entity("work")["active"] == 1


async def test_nothing_is_sent_beyond_the_credit_or_the_window(broker: RunningBroker) -> None:
    async with connect(broker.port, window=4) as wire:
        await wire.attach_sender(0, "work")
        for n in range(8):
            await wire.put(0, n, f"{n}")
        await wire.attach_receiver(1, "work")
        wire.credit(1, 2, seen=1, echo=True)  # the answer of $cbs was the first frame
        assert [(await wire.frame()).code for _ in range(3)] == [TRANSFER, TRANSFER, FLOW]
        wire.credit(1, 100, count=2, seen=3, window=3, echo=True)
        assert [(await wire.frame()).code for _ in range(4)] == [TRANSFER] * 3 + [FLOW]
        assert broker.entity("work")["locked"] == 5
        wire.send(FLOW, 6, 100, 0, 100)
        rest = [await wire.until(TRANSFER) for _ in range(3)]
        assert [body(parse_content(frame.payload)) for frame in rest] == ["5", "6", "7"]


async def test_draining_uses_the_credit_up_and_says_so(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "work")
        await wire.put(0, 0, "a")
        await wire.attach_receiver(1, "work")
        wire.credit(1, 10, seen=1, drain=True)
        assert (await wire.frame()).code == TRANSFER
        flow = await wire.until(FLOW)
        assert (flow.field(5), flow.field(6), flow.field(8)) == (10, 0, True)
        await wire.put(0, 1, "b")
        assert broker.entity("work")["locked"] == 1


async def test_the_client_gets_credit_and_window_again_as_it_uses_them_up(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        flow = await wire.attach_sender(0, "work")
        credit = flow.field(6)
        message = encoded("x")
        for n in range(credit // 2):
            wire.transfer(0, n, message)
        flow = await wire.until(FLOW)
        assert (flow.field(4), flow.field(5), flow.field(6)) == (0, credit // 2, credit)


async def test_sending_on_a_handle_that_is_not_attached_ends_the_connection(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        wire.send(TRANSFER, 9, 0, b"t", 0, False, False)
        assert (await wire.until(CLOSE)).field(0).value[0] == "amqp:session:unattached-handle"


async def test_a_message_that_cannot_be_decoded_is_rejected_with_a_whole_error(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "work")
        wire.transfer(0, 0, b"\x00\x53\x75\xb0\x00\x00\xff\xffshort")
        rejected = (await wire.until(DISPOSITION)).field(4)
        condition, description, info = rejected.value[0].value
        assert (rejected.descriptor, condition, info) == (0x25, "amqp:decode-error", {})
        assert "cut short" in description


async def test_a_quiet_connection_is_kept_alive(broker: RunningBroker) -> None:
    async with connect(broker.port, idle_ms=100) as wire:
        assert [(await wire.frame()).code for _ in range(3)] == [EMPTY] * 3


async def test_a_silent_client_is_told_and_disconnected() -> None:
    broker = Broker(parse_topology(DOCUMENT), idle_seconds=0.05)
    await broker.start()
    async with connect(broker.port) as wire:
        error = (await wire.until(CLOSE)).field(0)
        assert error.value[0] == "amqp:connection:forced"
        assert await wire.end() == b""
    await broker.close()


async def test_a_process_that_dies_leaves_its_session_at_once_and_the_attempt_counts(broker: RunningBroker) -> None:
    async with connect(broker.port) as other, connect(broker.port) as wire:
        await wire.attach_sender(0, "talks")
        await wire.put(0, 0, "a", session_id="s")
        attached = await wire.attach_receiver(1, "talks", session="s")
        assert attached.field(5).value[7] == {"com.microsoft:session-filter": "s"}
        assert "com.microsoft:locked-until-utc" in attached.field(13)
        wire.credit(1, 1, seen=1)
        assert (await wire.until(TRANSFER)).payload[:3] == b"\x00\x53\x70"
        waiting = asyncio.create_task(other.attach_receiver(1, "talks", session=None))
        waiting.cancel()
        wire.abort()
        other.send(*_next_session(2, "talks"))
        attached = await other.until(ATTACH)
        assert attached.field(5).value[7] == {"com.microsoft:session-filter": "s"}
        other.credit(2, 1, seen=1)
        header, _ = codec.decode((await other.until(TRANSFER)).payload)
        assert header.value[4] == 1


def _next_session(handle: int, address: str, timeout_ms: int | None = None) -> tuple[Any, ...]:
    source = Described(ULong(0x28), [address, *[None] * 6, {Symbol("com.microsoft:session-filter"): None}])
    target = Described(ULong(0x29), ["here"])
    properties = None if timeout_ms is None else {Symbol("com.microsoft:timeout"): codec.UInt(timeout_ms)}
    return (ATTACH, f"r{handle}", handle, True, None, None, source, target, *[None] * 6, properties)


async def test_waiting_for_a_session_ends_in_time_or_when_the_client_goes(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        wire.send(*_next_session(1, "talks", timeout_ms=50))
        assert (await wire.until(ATTACH)).field(5) is None
        detach = await wire.until(DETACH)
        assert (detach.field(1), detach.field(2).value[0]) == (True, "com.microsoft:timeout")
        wire.send(*_next_session(2, "talks"))
        wire.send(DETACH, 2, True)
        assert (await wire.until(DETACH)).field(0) == 2
        wire.send(*_next_session(3, "talks"))
        wire.send(END)
        await wire.until(END)
        wire.send(DETACH, 3, True)  # the real client says this after the end of its session
    async with connect(broker.port) as wire:
        wire.send(*_next_session(1, "talks"))
        await wire.attach_sender(0, "talks")
        await wire.put(0, 0, "a", session_id="s")
        assert broker.entity("talks")["sessions_locked"] == 1  # the one who is still there has it


async def test_a_settlement_after_the_session_was_lost_is_answered(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "brief-talks")
        await wire.put(0, 0, "a", session_id="s")
        await wire.attach_receiver(1, "brief-talks", session="s")
        wire.credit(1, 1, seen=1)
        delivery = (await wire.until(TRANSFER)).field(1)
        detach = await wire.until(DETACH)
        assert detach.field(2).value[0] == "com.microsoft:session-lock-lost"
        wire.send(DISPOSITION, True, delivery, delivery, False, _ACCEPTED)
        state = (await wire.until(DISPOSITION)).field(4)
        assert state.value[0].value[0] == "com.microsoft:session-lock-lost"
        wire.send(DISPOSITION, True, 4711, 4711, False, _ACCEPTED)
        assert (await wire.until(DISPOSITION)).field(4).descriptor == 0x25


async def test_one_disposition_can_settle_many(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "work")
        for n in range(3):
            await wire.put(0, n, f"{n}")
        await wire.attach_receiver(1, "work")
        wire.credit(1, 3, seen=1)
        ids = [(await wire.until(TRANSFER)).field(1) for _ in range(3)]
        wire.send(DISPOSITION, True, ids[0], ids[-1], False, _ACCEPTED)
        assert {(await wire.until(DISPOSITION)).field(1) for _ in range(3)} == set(ids)
        assert broker.entity("work")["active"] == 0


async def test_duplicates_are_accepted_and_dropped_alone_and_in_batches(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        await wire.attach_sender(0, "once")
        for n in range(3):
            assert (await wire.put(0, n, "a", message_id="same")).descriptor == 0x24
        inner = [encoded("b", message_id=name) for name in ("same", "other", "other")]
        batch = b"".join(codec.encode_described(0x75, codec.encode(message)) for message in inner)
        wire.send(TRANSFER, 0, 3, b"t", BATCH_FORMAT, False, False, payload=batch)
        assert (await wire.until(DISPOSITION)).field(4).descriptor == 0x24
        assert broker.entity("once")["active"] == 2


async def test_no_link_without_a_token(broker: RunningBroker) -> None:
    async with connect(broker.port, token=False) as wire:
        attached = await wire.attach_receiver(1, "work")
        assert attached.field(5) is None
        assert (await wire.until(DETACH)).field(2).value[0] == "amqp:unauthorized-access"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"AMQP\x00\x01\x00\x00" + b"\xff" * 64,
        b"AMQP\x00\x01\x00\x00" + b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x11\x45",  # begin before open
        b"AMQP\x03\x01\x00\x00" + b"\x00\x00\x00\x0c\x02\x01\x00\x00\x00\x53\x44\x45",  # an outcome from the client
    ],
)
async def test_a_peer_that_does_not_speak_amqp_is_hung_up_on(broker: RunningBroker, garbage: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(garbage)
    async with asyncio.timeout(5):
        assert (await reader.read(-1))[:4] == b"AMQP"
    writer.close()


@pytest.mark.parametrize(
    "frame",
    [
        (DISPOSITION, True),
        (FLOW, None, None),
        (FLOW, 0, 1, 0, 1, "handle"),
        (TRANSFER, "handle", None, b"t"),
        (ATTACH, "n", 1, True, None, None, None, None, None, None, None, None, None, None, "properties"),
        (DETACH, "handle", True),
        (0x42, 1),
        (ATTACH, "no handle"),
        (ATTACH, None, None, None),
        (TRANSFER,),
        (DETACH,),
    ],
)
async def test_a_malformed_frame_ends_the_connection_and_nobody_elses(broker: RunningBroker, frame: Any) -> None:
    async with connect(broker.port) as bystander, connect(broker.port) as wire:
        wire.send(*frame)
        error = (await wire.until(CLOSE)).field(0).value[0]
        assert error in {"amqp:decode-error", "amqp:not-allowed"}
        assert await wire.end() == b""
        await bystander.attach_sender(0, "work")
        assert (await bystander.put(0, 0, "still served")).descriptor == 0x24


async def test_the_broker_says_goodbye(broker: RunningBroker) -> None:
    async with connect(broker.port) as wire:
        asyncio.run_coroutine_threadsafe(broker.broker.close(), broker.loop)
        assert (await wire.until(CLOSE)).field(0) is None
        assert await wire.end() == b""
