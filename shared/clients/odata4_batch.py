"""OData V4 `$batch`: several requests in one multipart/mixed message, and what the answer says of each.

A batch is a row of steps. A step of one request stands alone; a step of several is a change set, which stands or falls
as one. The service works them off in order and stops at the first step that fails, so the answer names every step up to
and including that one. Python's e-mail library reads the same, at several times the cost of the call around it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from multidict import CIMultiDict, CIMultiDictProxy

from shared.clients.http import Response

REQUESTS_MAX = 1000
"""Requests in one batch; Dataverse refuses more (0x80048d1f)."""

_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_LINE_END = re.compile(rb"(--)?[ \t]*(\r\n|\Z)")
_STATUS = re.compile(rb"HTTP/1\.\d ([1-5]\d\d)\b")


@dataclass(frozen=True, slots=True)
class Request:
    """One request inside a batch: `path` is absolute and encoded, its query included; `body` is JSON, b"" for none."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class NotABatchAnswer(Exception):
    """The answer is not what a service answers to a batch."""


def write_batch(steps: Sequence[Sequence[Request]]) -> tuple[str, bytes]:
    """Content type and body of a batch. Lines end in CRLF, which Dataverse insists on."""
    batch = f"batch_{secrets.token_hex(16)}"
    pieces: list[bytes] = []
    content_id = 0
    for step in steps:
        pieces.append(f"--{batch}\r\n".encode())
        if len(step) == 1:
            pieces.append(_written(step[0], ""))
            continue
        changes = f"changeset_{secrets.token_hex(16)}"
        pieces.append(f"Content-Type: multipart/mixed; boundary={changes}\r\n\r\n".encode())
        for request in step:
            content_id += 1
            pieces.append(f"--{changes}\r\n".encode() + _written(request, f"Content-ID: {content_id}\r\n"))
        pieces.append(f"--{changes}--\r\n".encode())
    pieces.append(f"--{batch}--\r\n".encode())
    return f"multipart/mixed; boundary={batch}", b"".join(pieces)


def is_batch_answer(response: Response) -> bool:
    """Whether the answer tells of single requests; where one of them failed the status around it is that of any."""
    return response.headers.get("Content-Type", "").lower().startswith("multipart/mixed")


def read_batch(response: Response) -> list[tuple[Response, ...]]:
    """The answers of each step that was begun, in order: of every request, or of the one that failed its change set.

    Raises NotABatchAnswer.
    """
    return [
        tuple(_answer(inner) for inner in _parts(kind, content)) if kind.lower().startswith("multipart/mixed")
        else (_answer(part),)
        for part in _parts(response.headers.get("Content-Type", ""), response.body)
        for kind, content in [_typed(part)]
    ]  # fmt: skip


def _written(request: Request, identity: str) -> bytes:
    about = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
    return (
        f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{identity}\r\n"
        f"{request.method} {request.path} HTTP/1.1\r\n{about}\r\n"
    ).encode() + request.body + b"\r\n"  # fmt: skip


def _parts(content_type: str, body: bytes) -> list[bytes]:
    """What stands between the boundaries that a content type names."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise NotABatchAnswer(f"content type {content_type[:80]!r} names no boundary")
    delimiter = b"\r\n--" + found.group(1).encode()
    pieces: list[bytes] = []
    for piece in (b"\r\n" + body).split(delimiter)[1:]:
        if _LINE_END.match(piece):
            pieces.append(piece)
        elif pieces:
            pieces[-1] += delimiter + piece  # the boundary of something inside, which begins like this one
    if not pieces or not pieces[-1].startswith(b"--") or any(piece.startswith(b"--") for piece in pieces[:-1]):
        raise NotABatchAnswer("the multipart body has no end, or more than one")
    return [piece.partition(b"\r\n")[2] for piece in pieces[:-1]]


def _typed(part: bytes) -> tuple[str, bytes]:
    """The content type of a part, and what is in it."""
    head, _, content = part.partition(b"\r\n\r\n")
    return _headers(head).get("Content-Type", ""), content


def _answer(part: bytes) -> Response:
    """The HTTP answer inside a part."""
    _, _, http = part.partition(b"\r\n\r\n")
    line, _, rest = http.partition(b"\r\n")
    status = _STATUS.match(line)
    if status is None:
        raise NotABatchAnswer(f"a part begins with {line[:60]!r}")
    head, _, content = (b"\r\n" + rest).partition(b"\r\n\r\n")
    return Response(int(status.group(1)), _headers(head), content)


def _headers(head: bytes) -> CIMultiDictProxy[str]:
    found: CIMultiDict[str] = CIMultiDict()
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.add(name.strip(), value.strip())
    return CIMultiDictProxy(found)
