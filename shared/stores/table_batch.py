"""A table transaction on the wire: the multipart request of OData batch, and what each part of its answer says.

Microsoft's client builds and reads the same through Python's e-mail library, part by part and line by line; at a third
of all that a credit check costs a worker, that was its largest single expense. Signing, retries, connections and
errors of the call as a whole remain the client's.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

Verb = Literal["insert", "replace", "upsert", "delete"]

_BOUNDARY = re.compile(r'boundary="?([^";]+)')
_FAILED_AT = re.compile(r"^(\d+):")
_CHANGING = (
    "Content-Type: application/json;odata=nometadata\r\nAccept: application/json;odata=minimalmetadata\r\n"
    "Prefer: return-no-content\r\nDataServiceVersion: 3.0\r\n"
)
_DELETING = "Accept: application/json;odata=minimalmetadata\r\nDataServiceVersion: 3.0\r\n"
_METHODS: Mapping[Verb, str] = {"insert": "POST", "replace": "PUT", "upsert": "PUT", "delete": "DELETE"}


@dataclass(frozen=True, slots=True)
class Part:
    """One write of a transaction: `condition` is the If-Match header, "" for none."""

    verb: Verb
    entity: Mapping[str, Any]
    condition: str = ""


class NotABatchAnswer(Exception):
    """The answer is not what a table service answers to a batch."""


class Refused(Exception):
    """The transaction was refused as a whole: `index` of the part that failed, its status and the service's code."""

    def __init__(self, index: int, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.index, self.status, self.code = index, status, code


def encode_batch(table_url: str, parts: Sequence[Part]) -> tuple[str, bytes]:
    """The Content-Type and the body of one transaction."""
    batch, changes = f"batch_{secrets.token_hex(16)}", f"changeset_{secrets.token_hex(16)}"
    pieces = [f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changes}\r\n\r\n"]
    for index, part in enumerate(parts):
        pieces.append(
            f"--{changes}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {index}\r\n\r\n{_METHODS[part.verb]} {_address(table_url, part)} HTTP/1.1\r\n"
        )
        if part.condition:
            pieces.append(f"If-Match: {part.condition}\r\n")
        if part.verb == "delete":
            pieces.append(f"{_DELETING}\r\n\r\n")
        else:
            pieces.append(f"{_CHANGING}\r\n{_body(part.entity)}\r\n")
    pieces.append(f"--{changes}--\r\n\r\n--{batch}--\r\n")
    return f"multipart/mixed; boundary={batch}", "".join(pieces).encode()


def decode_batch(content_type: str, body: bytes) -> list[str]:
    """The new ETag of each part ("" for a delete); raises `Refused`, or `NotABatchAnswer`."""
    outer = _parts(content_type, body.decode("utf-8", "replace"))
    if len(outer) != 1:
        raise NotABatchAnswer(f"{len(outer)} change sets")
    headers, _, changes = outer[0].partition("\r\n\r\n")
    answers = [_answer(part) for part in _parts(_header(headers, "content-type"), changes)]
    if not answers:
        raise NotABatchAnswer("no part in the change set")
    etags = []
    for status, head, said in answers:
        if not 200 <= status < 300:
            raise _refused(status, said)
        etags.append(_header(head, "etag"))
    return etags


def _address(table_url: str, part: Part) -> str:
    if part.verb == "insert":
        return table_url
    keys = (quote(str(part.entity[name]).replace("'", "''"), safe="") for name in ("PartitionKey", "RowKey"))
    return "{}(PartitionKey='{}',RowKey='{}')".format(table_url, *keys)


def _body(entity: Mapping[str, Any]) -> str:
    """JSON with the types that JSON does not tell, as OData wants them. ASCII only, so that no byte is in question."""
    told: dict[str, Any] = {}
    for name, value in entity.items():
        match value:
            case str() | bool():
                told[name] = value
            case int() if abs(value) < 2**31:
                told[name] = value
                told[f"{name}@odata.type"] = "Edm.Int32"
            case datetime():
                told[name] = f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
                told[f"{name}@odata.type"] = "Edm.DateTime"
            case bytes():
                told[name] = base64.b64encode(value).decode()
                told[f"{name}@odata.type"] = "Edm.Binary"
            case _:
                raise TypeError(f"{name}: a row holds no {type(value).__name__} like this")
    return json.dumps(told, separators=(",", ":"))


def _parts(content_type: str, text: str) -> list[str]:
    """What stands between the boundaries that a content type names."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise NotABatchAnswer(f"content type {content_type!r} names no boundary")
    pieces = f"\r\n{text}".split(f"\r\n--{boundary.group(1)}")
    if len(pieces) < 2 or not pieces[-1].startswith("--"):
        raise NotABatchAnswer("the multipart body has no end")
    return [piece.removeprefix("\r\n") for piece in pieces[1:-1]]


def _answer(part: str) -> tuple[int, str, str]:
    """Status, headers and body of the HTTP answer inside one part."""
    _, _, http = part.partition("\r\n\r\n")
    line, _, rest = http.partition("\r\n")
    head, _, said = rest.partition("\r\n\r\n")
    words = line.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise NotABatchAnswer(f"a part begins with {line[:60]!r}")
    return int(words[1]), head, said


def _header(headers: str, name: str) -> str:
    for line in headers.split("\r\n"):
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""


def _refused(status: int, said: str) -> Refused:
    try:
        told = json.loads(said)
    except ValueError:
        told = {}
    error = told.get("odata.error") if isinstance(told, dict) else None
    error = error if isinstance(error, dict) else {}
    message = error.get("message")
    text = str(message.get("value", "")) if isinstance(message, dict) else str(message or "")
    at = _FAILED_AT.match(text)
    return Refused(int(at.group(1)) if at else 0, status, str(error.get("code", "")), text[:300])
