"""The messages between a Functions host and its Python worker, as plain objects.

The worker library only reads and builds attributes by name, so no protobuf and no gRPC is needed. Class and attribute
names are those of the FunctionRpc protocol; that is why some of them look unlike the rest of this code.
"""

from enum import IntEnum
from typing import Any


class Record:
    """A message of the protocol: its keyword arguments become its attributes."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} carries no {name!r}: {sorted(self.__dict__)}")


class TypedData:
    """One value of one kind: `TypedData(json="…")`, `TypedData(bytes=b"…")`, or nothing at all."""

    __slots__ = ("__dict__", "_kind")

    def __init__(self, **value: Any) -> None:
        self._kind = next(iter(value), None)
        self.__dict__.update(value)

    def WhichOneof(self, group: str) -> str | None:
        """The kind of the value, or None when there is none."""
        return self._kind if group == "data" else None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class ParameterBinding:
    """The value of one parameter of the function."""

    __slots__ = ("data", "name")

    def __init__(self, name: str, data: TypedData | None) -> None:
        self.name = name
        self.data = data

    def WhichOneof(self, group: str) -> str | None:
        """Always plain data; shared memory is not offered."""
        return "data" if group == "rpc_data" else None


class BindingInfo(Record):
    """How a parameter is bound."""

    undefined = 0
    out = 1
    inout = 2


class StatusResult(Record):
    """Success or Failure, with `exception` on failure."""

    Failure = 0
    Success = 1


class SameSite(IntEnum):
    """The SameSite attribute of a cookie; `None` means that it was not given."""

    Lax = 1
    Strict = 2
    ExplicitNone = 3


setattr(SameSite, "None", 0)


class RpcHttpCookie(Record):
    """A cookie of an answer; optional attributes are Nullable records or None."""

    SameSite = SameSite


class RpcException(Record):
    """`message` is type and text of the exception, `stack_trace` its traceback."""


class RpcHttp(Record):
    """An HTTP request or answer."""


class RpcFunctionMetadata(Record):
    """One indexed function."""


class RpcRetryOptions(Record):
    """The retry policy of a function, which Service Bus triggers do not honour."""


class WorkerMetadata(Record):
    """What the worker says about itself."""


class WorkerInitResponse(Record):
    """Whether the app was indexed."""


class FunctionMetadataResponse(Record):
    """The indexed functions."""


class FunctionLoadResponse(Record):
    """Acknowledges one function."""


class FunctionEnvironmentReloadResponse(Record):
    """Answers a reload, which this host never asks for."""


class InvocationResponse(Record):
    """What became of an invocation."""


class NullableString(Record):
    """`value` is text."""


class NullableBool(Record):
    """`value` is a bool."""


class NullableDouble(Record):
    """`value` is a number."""


class NullableTimestamp(Record):
    """`value` is a time."""


class Collection(Record):
    """The elements of a collection, under the name of their kind."""
