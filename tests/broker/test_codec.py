"""The codec against values of every kind, against malformed bytes, and against the real client's own codec."""

import uuid
from decimal import Decimal
from typing import Any

import pytest
from azure.servicebus._pyamqp._decode import decode_payload
from hypothesis import given
from hypothesis import strategies as st

from sandbox.broker import codec
from sandbox.broker.codec import Array, CodecError, Described, Int, Symbol, Timestamp, UByte, UInt, ULong, UShort
from sandbox.broker.errors import BrokerError
from sandbox.broker.message import Message, parse_content, split_batch
from tests.broker.by_hand import body, content, encoded

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.uuids()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=40,
)


@given(_VALUES)
def test_what_is_written_reads_back_the_same_and_is_skipped_whole(value: Any) -> None:
    raw = codec.encode(value)
    assert codec.decode(raw) == (value, len(raw))
    assert codec.skip(raw, 0) == len(raw)


@pytest.mark.parametrize(
    "value",
    [UByte(200), UShort(60_000), UInt(0), UInt(200), UInt(2**32 - 1), ULong(0), ULong(2**64 - 1), Int(-7), Int(70_000)],
)
def test_integers_of_every_width_keep_their_value(value: int) -> None:
    assert codec.decode(codec.encode(value))[0] == value


def test_typed_values_keep_their_type() -> None:
    described = Described(Symbol("com.microsoft:x"), [Timestamp(1_795_500_000_000), Symbol("s"), None])
    value, _ = codec.decode(codec.encode(described))
    assert value == described
    assert isinstance(value.value[0], Timestamp)
    assert isinstance(value.value[1], Symbol)


def test_arrays_read_back_as_lists() -> None:
    ids = (uuid.uuid4(), uuid.uuid4())
    assert codec.decode(codec.encode(Array(0x98, ids)))[0] == list(ids)
    assert codec.decode(codec.encode(Array(0xB3, ("a", "bc"))))[0] == ["a", "bc"]
    assert codec.decode(codec.encode(Array(0x81, ())))[0] == []


def test_decimals_are_read_exactly() -> None:
    coefficient, exponent = 1234567, -3
    bits = ((exponent + 6176) << 113) | coefficient
    assert codec.decode(b"\x94" + bits.to_bytes(16, "big"))[0] == Decimal("1234.567")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else_happens(raw: bytes) -> None:
    for read in (codec.decode, codec.skip, codec.split_list, codec.split_map):
        try:
            read(raw, 0)
        except CodecError:
            continue


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    for read in (parse_content, split_batch):
        try:
            read(raw)
        except BrokerError:
            continue


def test_deep_nesting_and_huge_counts_are_refused() -> None:
    nested = b"\x45"
    for _ in range(60):
        nested = codec.encode_list([nested])
    with pytest.raises(CodecError, match="deeply"):
        codec.decode(nested)
    with pytest.raises(CodecError):
        codec.decode(b"\xd0\x00\x00\x00\x08\xff\xff\xff\xff\x40\x40\x40\x40")


def test_a_message_of_the_real_client_is_cut_without_changing_a_byte() -> None:
    raw = encoded("body", message_id="m-1", session_id="lane-07", application_properties={"kind": "order.confirmed"})
    parsed = parse_content(raw)
    assert raw.endswith(parsed.bare)
    assert (parsed.message_id, parsed.session_id) == ("m-1", "lane-07")
    assert parsed.application_properties == {"kind": "order.confirmed"}
    assert body(parsed) == "body"


def test_what_the_broker_writes_the_real_client_reads() -> None:
    sent = content("body", message_id="m-1", application_properties={"n": 2})
    message = Message(sent, 7, 5, 1_795_500_000.123, 1_795_500_060.123, delivery_count=2)
    received = decode_payload(memoryview(message.encode(1_795_500_030.0)))
    assert received.header is not None and received.header.delivery_count == 2 and received.header.ttl == 60_000
    assert received.message_annotations == {
        b"x-opt-sequence-number": 7,
        b"x-opt-enqueue-sequence-number": 5,
        b"x-opt-enqueued-time": 1_795_500_000_123,
        b"x-opt-locked-until": 1_795_500_030_000,
        b"x-opt-message-state": 0,
    }
    assert received.application_properties == {b"n": 2}
    assert received.data == [b"body"]


@pytest.mark.parametrize("properties", [None, {"kind": "k", "DeadLetterReason": "an older one"}])
@pytest.mark.parametrize("message_id", [None, "m-1"])
def test_dead_lettering_adds_its_two_properties_and_nothing_else(
    properties: dict[str, Any] | None, message_id: str | None
) -> None:
    before = content("body", message_id=message_id, application_properties=properties)
    after = before.dead_lettered("why", "because")
    expected = {**(properties or {}), "DeadLetterReason": "why", "DeadLetterErrorDescription": "because"}
    assert after.application_properties == expected
    again = parse_content(after.bare)
    assert (again.application_properties, again.properties, body(again)) == (expected, before.properties, "body")


def test_ids_longer_than_128_characters_are_refused() -> None:
    content("body", message_id="m" * 128, session_id="s" * 128)
    with pytest.raises(BrokerError, match="session id"):
        parse_content(_with_session_id("s" * 129))


def _with_session_id(session_id: str) -> bytes:
    fields = [b"\x40"] * 10 + [codec.encode(session_id)]
    return codec.encode_described(0x73, codec.encode_list(fields)) + codec.encode_described(0x75, codec.encode(b"x"))
