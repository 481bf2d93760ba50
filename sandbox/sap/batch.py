"""`$batch`: several requests in one multipart body. A change set is atomic; a part can fail under an outer 202."""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from multidict import CIMultiDict

from sandbox.kit.state import State
from sandbox.sap.errors import SapError
from sandbox.sap.odata import Answer, Call
from sandbox.sap.query import once

type Carry = Callable[[Call], Answer]

_REASONS: Final = {
    200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 412: "Precondition Failed", 415: "Unsupported Media Type",
    428: "Precondition Required",
}  # fmt: skip
_READS: Final = frozenset({"GET", "HEAD"})


def answer(state: State, carry: Carry, call: Call) -> Answer:
    """Carry out a batch: reads one by one, each change set as a whole. Raises SapError 400 where it is malformed."""
    boundary = secrets.token_hex(16).upper()
    replies = []
    for headers, content in _parts(call.headers.get("Content-Type", ""), call.body):
        if headers.get("Content-Type", "").startswith("multipart/mixed"):
            replies.append(_change_set(state, carry, call, headers, content))
        else:
            inner = _request(call, headers, content)
            if inner.method not in _READS:
                raise SapError(400, "/IWFND/CM_MGW/016", "A write stands outside a change set")
            replies.append(_reply(headers, _safely(carry, inner)))
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), reply) for reply in replies)
    body += b"--%s--\r\n" % boundary.encode()
    about = {"Content-Type": f"multipart/mixed; boundary={boundary}", "DataServiceVersion": "2.0"}
    return Answer(202, about, body)


def _change_set(state: State, carry: Carry, call: Call, headers: Mapping[str, str], content: bytes) -> bytes:
    boundary = secrets.token_hex(16).upper()
    replies: list[bytes] = []
    try:
        with state.atomic():
            for inner_headers, inner_content in _parts(headers["Content-Type"], content):
                inner = _request(call, inner_headers, inner_content)
                if inner.method in _READS:
                    raise SapError(400, "/IWFND/CM_MGW/018", "A read stands inside a change set")
                replies.append(_reply(inner_headers, carry(inner)))
    except SapError as refusal:  # one answer for the whole change set
        return _reply({}, _refused(refusal))
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), reply) for reply in replies)
    body += b"--%s--\r\n" % boundary.encode()
    head = f"Content-Type: multipart/mixed; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _parts(content_type: str, body: bytes) -> list[tuple[CIMultiDict[str], bytes]]:
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith("multipart/mixed") or found is None:
        raise SapError(400, "/IWFND/CM_MGW/012", "A batch needs Content-Type multipart/mixed with a boundary")
    marker = b"--" + found[1].encode()
    chunks = re.split(rb"(?:^|\r?\n)" + re.escape(marker), body)
    if len(chunks) < 2 or not chunks[-1].startswith(b"--"):
        raise SapError(400, "/IWFND/CM_MGW/013", "The batch does not end with its boundary")
    return [_split(chunk.lstrip(b"\r\n") if chunk[:1] in b"\r\n" else chunk) for chunk in chunks[1:-1]]


def _split(chunk: bytes) -> tuple[CIMultiDict[str], bytes]:
    head, _, content = (
        chunk.replace(b"\r\n", b"\n").partition(b"\n\n") if b"\r\n\r\n" not in chunk else chunk.partition(b"\r\n\r\n")
    )
    headers: CIMultiDict[str] = CIMultiDict()
    for line in head.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers, content


def _request(call: Call, headers: Mapping[str, str], content: bytes) -> Call:
    if not headers.get("Content-Type", "").startswith("application/http"):
        raise SapError(400, "/IWFND/CM_MGW/014", "A batch part needs Content-Type application/http")
    line, _, rest = content.lstrip(b"\r\n").partition(b"\n")
    words = line.decode("utf-8", "replace").split()
    if len(words) != 3 or not words[2].startswith("HTTP/"):
        raise SapError(400, "/IWFND/CM_MGW/015", f"Malformed request line {line!r}")
    inner_headers, body = _split(rest) if rest.strip() else (CIMultiDict[str](), b"")
    try:
        parts = urlsplit(words[1])
    except ValueError as fault:
        raise SapError(400, "/IWFND/CM_MGW/015", f"Malformed address {words[1]!r}: {fault}") from fault
    root = urlsplit(call.base_url)
    if parts.netloc not in {"", root.netloc} or (parts.path.startswith("/") and not parts.path.startswith(root.path)):
        raise SapError(400, "/IWFND/CM_MGW/015", f"Address {words[1]!r} is not of this service")
    path = parts.path.removeprefix(root.path)
    asked = once(parse_qsl(parts.query, keep_blank_values=True))
    return Call(words[0].upper(), path, asked, inner_headers, body.rstrip(b"\r\n"), call.base_url)


def _safely(carry: Carry, call: Call) -> Answer:
    try:
        return carry(call)
    except SapError as refusal:
        return _refused(refusal)


def _refused(refusal: SapError) -> Answer:
    return Answer(refusal.status, {"Content-Type": "application/json"}, refusal.body())


def _reply(asked: Mapping[str, str], reply: Answer) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    lines.append(f"Content-Length: {len(reply.body)}")
    inner = ("\r\n".join(lines) + "\r\n\r\n").encode() + reply.body
    head = "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
    if "Content-ID" in asked:
        head += f"Content-ID: {unquote(asked['Content-ID'])}\r\n"
    return f"{head}Content-Length: {len(inner)}\r\n\r\n".encode() + inner
