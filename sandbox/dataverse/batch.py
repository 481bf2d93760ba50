"""$batch: many requests in one multipart/mixed message, change sets nested in it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from multidict import CIMultiDict

from sandbox.dataverse.calls import ApiAnswer, ApiCall, split_url
from sandbox.dataverse.errors import MALFORMED, Refused

BATCH_PATH: Final = "$batch"
BATCH_REQUESTS_MAX: Final = 1000
_BOUNDARY: Final = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_LINE_END: Final = re.compile(rb"(--)?[ \t]*(\r\n|\Z)")
_REQUEST_LINE: Final = re.compile(r"(GET|POST|PATCH|PUT|DELETE) (\S.*\S|\S) HTTP/1\.1")


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a batch, with the Content-ID it carries in a change set."""

    call: ApiCall
    content_id: str | None


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Requests that all stand or all fall."""

    parts: tuple[Part, ...]


def read_batch(call: ApiCall) -> list[Part | ChangeSet]:
    """Take a batch apart. Raises Refused (400); lines have to end in CRLF, as Dataverse insists."""
    items: list[Part | ChangeSet] = []
    for headers, content in _parts(call.body, call.headers.get("Content-Type", "")):
        kind = headers.get("Content-Type", "")
        if kind.startswith("multipart/mixed"):
            inner = [_part(call, inner_headers, body) for inner_headers, body in _parts(content, kind)]
            if not inner:
                raise _malformed("a change set without requests")
            if any(part.content_id is None for part in inner):
                raise _malformed("a Content-ID header is required for every request of a change set")
            items.append(ChangeSet(tuple(inner)))
        else:
            items.append(_part(call, headers, content))
    named = [part.content_id for part in parts_of(items) if part.content_id is not None]
    if len(set(named)) < len(named):
        raise _malformed("a Content-ID stands at more than one request")
    return items


def parts_of(items: Sequence[Part | ChangeSet]) -> list[Part]:
    """The requests of a batch in their order, change sets opened."""
    return [part for item in items for part in (item.parts if isinstance(item, ChangeSet) else (item,))]


def write_batch(
    answers: Sequence[list[tuple[Part, ApiAnswer]] | tuple[Part, ApiAnswer]], status: int, batch_id: str
) -> ApiAnswer:
    """Put the answers together: change sets that stood as nested parts, everything else as single ones."""
    boundary = f"batchresponse_{batch_id}"
    body = b""
    for answer in answers:
        body += f"--{boundary}\r\n".encode()
        if isinstance(answer, list):
            inner = f"changesetresponse_{uuid4()}"
            body += f"Content-Type: multipart/mixed; boundary={inner}\r\n\r\n".encode()
            for part, each in answer:
                body += f"--{inner}\r\n".encode() + _written(each, part.content_id)
            body += f"--{inner}--\r\n".encode()
        else:
            body += _written(answer[1], answer[0].content_id)
    body += f"--{boundary}--\r\n".encode()
    return ApiAnswer(status, body, content_type=f"multipart/mixed; boundary={boundary}")


def _parts(body: bytes, content_type: str) -> list[tuple[CIMultiDict[str], bytes]]:
    found = _BOUNDARY.search(content_type)
    if found is None or not content_type.startswith("multipart/mixed"):
        raise _malformed("the content type has to be multipart/mixed with a boundary")
    delimiter = b"\r\n--" + found.group(1).encode()
    pieces: list[bytes] = []
    for piece in (b"\r\n" + body).split(delimiter)[1:]:
        if _LINE_END.match(piece):
            pieces.append(piece)
        elif pieces:
            pieces[-1] += delimiter + piece  # the boundary of a change set that begins like the batch's
    if not pieces or not pieces[-1].startswith(b"--") or any(piece.startswith(b"--") for piece in pieces[:-1]):
        raise _malformed("the closing boundary is missing, or lines do not end in CRLF")
    return [_headers_and_content(piece.partition(b"\r\n")[2]) for piece in pieces[:-1]]


def _headers_and_content(piece: bytes) -> tuple[CIMultiDict[str], bytes]:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator:
        raise _malformed("a part without an empty line after its headers")
    return _headers(head), content


def _headers(head: bytes) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for line in filter(None, _text(head).split("\r\n")):
        name, colon, value = line.partition(":")
        if not colon or "\n" in line:
            raise _malformed(f"'{line}' is not a header")
        headers.add(name.strip(), value.strip())
    return headers


def _part(call: ApiCall, headers: CIMultiDict[str], content: bytes) -> Part:
    if not headers.get("Content-Type", "").startswith("application/http"):
        raise _malformed("every request of a batch is an application/http part")
    request_line, _, rest = content.partition(b"\r\n")
    found = _REQUEST_LINE.fullmatch(_text(request_line).strip())
    if found is None:
        raise _malformed(f"'{_text(request_line)}' is not a request line")
    inner_head, _, body = (b"\r\n" + rest).partition(b"\r\n\r\n")
    method, url = found.group(1), found.group(2)
    try:
        place = (url, "") if url.startswith("$") else split_url(url, call.origin)
    except ValueError as fault:
        raise _malformed(f"'{url}' is not an address") from fault
    if place is None:
        raise _malformed(f"'{url}' lies outside of the service")
    inner = _headers(inner_head)
    content_id = headers.get("Content-ID") or inner.get("Content-ID")
    return Part(ApiCall(method, place[0], place[1], inner, body.strip(b"\r\n"), call.origin), content_id)


def _written(answer: ApiAnswer, content_id: str | None) -> bytes:
    head = ["Content-Type: application/http", "Content-Transfer-Encoding: binary"]
    if content_id is not None:
        head.append(f"Content-ID: {content_id}")
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    if answer.body is not None:
        lines.append(f"Content-Type: {answer.content_type}")
    lines += ["OData-Version: 4.0", *(f"{name}: {value}" for name, value in answer.headers.items())]
    return "\r\n".join([*head, "", *lines, "", ""]).encode() + (answer.body or b"") + b"\r\n"


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as fault:
        raise _malformed("its lines are not UTF-8") from fault


def _malformed(reason: str) -> Refused:
    return Refused(400, MALFORMED, f"The batch request is malformed: {reason}.")
