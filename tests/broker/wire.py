"""A client that speaks AMQP frame by frame, to say what the real client never says."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.broker import codec
from sandbox.broker.codec import Described, Symbol, UByte, UInt, ULong, UShort
from tests.broker.by_hand import encoded

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
EMPTY = -1
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Frame:
    """A frame the broker sent; `code` is EMPTY for one without a body."""

    channel: int
    code: int
    fields: list[Any]
    payload: bytes

    def field(self, index: int) -> Any:
        return self.fields[index] if index < len(self.fields) else None


class Wire:
    """A connection. Fields are given as plain values; ints become uints, which most AMQP numbers are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, code: int, *fields: Any, payload: bytes = b"", channel: int = 0) -> None:
        values = [UInt(value) if type(value) is int else value for value in fields]
        body = codec.encode_described(code, codec.encode_list(codec.encode(value) for value in values)) + payload
        self.raw(struct.pack(">IBBH", 8 + len(body), 2, 0, channel) + body)

    async def frame(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            size, offset, _, channel = struct.unpack(">IBBH", await self._reader.readexactly(8))
            body = (await self._reader.readexactly(size - 8))[offset * 4 - 8 :]
        if not body:
            return Frame(channel, EMPTY, [], b"")
        fields, position = codec.decode(body, 3)
        return Frame(channel, body[2], fields, body[position:])

    async def until(self, code: int) -> Frame:
        """The next frame of a kind; others are dropped."""
        while (frame := await self.frame()).code != code:
            pass
        return frame

    async def end(self) -> bytes:
        """Whatever is left until the broker hangs up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.read(-1)

    def abort(self) -> None:
        """Hang up without a word, as a process that is killed does."""
        self._writer.transport.abort()

    async def attach_sender(self, handle: int, address: str) -> Frame:
        """Attach to send; returns the flow that gives credit, after the attach."""
        self.send(
            ATTACH, f"s{handle}", handle, False, UByte(0), UByte(0), _source("here"), _target(address), None, None, 0
        )
        await self.until(ATTACH)
        return await self.until(FLOW)

    async def attach_receiver(
        self, handle: int, address: str, *, session: str | None = None, properties: dict[str, Any] | None = None
    ) -> Frame:
        """Attach to receive; returns the attach."""
        filters = None if session is None else {Symbol("com.microsoft:session-filter"): session}
        source = _source(address, filters)
        fields = (None, None, None, None, None, None, properties)
        self.send(ATTACH, f"r{handle}", handle, True, UByte(0), UByte(1), source, _target("here"), *fields)
        return await self.until(ATTACH)

    def credit(self, handle: int, credit: int, count: int = 0, window: int = 100, seen: int = 0, **more: bool) -> None:
        """Give a receiving link credit; `seen` is how many transfer frames have come in the session."""
        flags = (None, more.get("drain", False), more.get("echo", False))
        self.send(FLOW, seen, window, 0, 100, handle, count, credit, *flags)

    def transfer(self, handle: int, delivery_id: int, message: bytes) -> None:
        """Send a whole message unsettled."""
        self.send(TRANSFER, handle, delivery_id, b"t", 0, False, False, payload=message)

    async def put(self, handle: int, delivery_id: int, text: str, **fields: Any) -> Any:
        """Send a message and wait for its outcome."""
        self.transfer(handle, delivery_id, encoded(text, **fields))
        return (await self.until(DISPOSITION)).fields[4]


@asynccontextmanager
async def connect(
    port: int, *, frame_bytes_max: int = 65_536, window: int = 100, idle_ms: int | None = None, token: bool = True
) -> AsyncIterator[Wire]:
    """A connection with one session on channel 0, and a token put."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    wire = Wire(reader, writer)
    try:
        wire.raw(b"AMQP\x00\x01\x00\x00")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.readexactly(8) == b"AMQP\x00\x01\x00\x00"
        wire.send(OPEN, "test", "localhost", frame_bytes_max, UShort(10), idle_ms)
        await wire.until(OPEN)
        wire.send(BEGIN, None, 0, window, window)
        await wire.until(BEGIN)
        if token:
            await _put_token(wire)
        yield wire
    finally:
        writer.close()


async def _put_token(wire: Wire) -> None:
    await wire.attach_receiver(90, "$cbs")
    wire.credit(90, 10)
    await wire.attach_sender(91, "$cbs")
    request = b"".join(
        (
            codec.encode_described(0x73, codec.encode_list([codec.encode("request")])),
            codec.encode_described(0x74, codec.encode({"operation": "put-token"})),
            codec.encode_described(0x77, codec.encode("token")),
        )
    )
    wire.transfer(91, 0, request)
    answer = await wire.until(TRANSFER)
    assert b"Accepted" in answer.payload
    await wire.until(DISPOSITION)


def _source(address: str, filters: Any = None) -> Described:
    return Described(ULong(0x28), [address, None, None, None, None, None, None, filters])


def _target(address: str) -> Described:
    return Described(ULong(0x29), [address])
