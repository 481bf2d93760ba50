"""One remote system over HTTP: one pooled session, a limiter, a circuit, a deadline, and one table of what went wrong.

Nothing is ever repeated here (a refused token excepted): whether to send again is a decision that only the caller can
make, so the three kinds of call are named by it.

    read        changes nothing
    idempotent  sent twice it has the effect of once (upsert, absolute figure, a key the other side remembers)
    effect      sent twice it may happen twice: a lost answer is an `OutcomeUnknown`
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared import exact_json
from shared.errors import Malformed, OutcomeUnknown, Permanent, RemoteDown, Transient
from shared.telemetry import Counters, remote_call, state, traceparent
from shared.telemetry.names import CIRCUIT_OPEN

Write = Literal["read", "idempotent", "effect"]
Happening = Literal["unsent", "lost", "timeout", "throttled", "broken", "refused"]
"""unsent: nothing reached the system · lost: the connection broke after sending · timeout: no answer in time ·
throttled: 429 or 503 · broken: another 5xx, or an answer nobody can read · refused: 4xx"""

HAPPENINGS: tuple[tuple[type[BaseException], Happening], ...] = (
    (aiohttp.ConnectionTimeoutError, "unsent"),
    (aiohttp.ClientConnectorError, "unsent"),  # with its kin: DNS, proxy, TLS, certificate
    (aiohttp.ClientConnectorCertificateError, "unsent"),
    (aiohttp.ServerFingerprintMismatch, "unsent"),
    (aiohttp.InvalidURL, "unsent"),
    (TimeoutError, "timeout"),  # ServerTimeoutError and SocketTimeoutError are TimeoutErrors too
    (aiohttp.ClientError, "lost"),  # reset, disconnected, cut payload, unreadable head
    (OSError, "lost"),
)
"""First match wins. Everything aiohttp can raise is here; a test goes through all its exception classes."""

_CONNECT_SECONDS_MAX = 5.0
_KEEPALIVE_SECONDS = 15.0  # below the idle limit of SAP's ICM and of Azure's front ends: reuse never races a close
_OPEN_SECONDS_MAX = 60.0
_HEADER_BYTES_MAX = 64 * 1024

deadline_var: ContextVar[float | None] = ContextVar("deadline", default=None)
"""Loop time by which the work that runs now must be done, waiting included."""


someone_waits: ContextVar[bool] = ContextVar("someone_waits", default=False)
"""A person waits for this very call, until a deadline: a system that was away is looked at again for its sake.

Without that, a checkout would be told that SAP does not answer for as long as a circuit stays open, up to a minute
after SAP is back.
"""


@contextmanager
def waited_for() -> Iterator[None]:
    """Calls inside are ones that someone waits for."""
    mark = someone_waits.set(True)
    try:
        yield
    finally:
        someone_waits.reset(mark)


@dataclass(frozen=True, slots=True)
class WouldSend:
    """A write that a rehearsal kept from being sent."""

    system: str
    method: str
    path: str
    body: bytes


rehearsal: ContextVar[list[WouldSend] | None] = ContextVar("rehearsal", default=None)
"""While a list stands here, reads go out and writes are kept in it instead: a rehearsal has no effect anywhere."""


@contextmanager
def deadline_after(seconds: float) -> Iterator[float]:
    """Everything inside ends `seconds` from now; an earlier deadline around it stays the one that counts."""
    asked = asyncio.get_running_loop().time() + seconds
    outer = deadline_var.get()
    until = asked if outer is None else min(asked, outer)
    mark = deadline_var.set(until)
    try:
        yield until
    finally:
        deadline_var.reset(mark)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer below 400, its body read whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RemoteError:
    """What the other system said was wrong, in its own words: `target` is the property it names, "" if none."""

    code: str
    message: str
    target: str = ""


class RemoteRefused(Permanent):
    """The other system answered 4xx (or an error inside a success): it understood and will not do it."""

    def __init__(self, system: str, response: Response, errors: tuple[RemoteError, ...]) -> None:
        first = errors[0] if errors else RemoteError(str(response.status), "no reason given")
        named = f" ({first.target})" if first.target else ""
        super().__init__(
            f"{system} refused with {response.status}: {first.code} {first.message}{named}",
            code=f"{system}_refused",
            remedy=f"correct what {system} names, then replay",
        )
        self.system = system
        self.status = response.status
        self.response = response
        self.errors = errors

    @property
    def error_code(self) -> str:
        """The system's own code of the first error, "" where it gave none."""
        return self.errors[0].code if self.errors else ""


class Auth(Protocol):
    """How a call proves who sends it."""

    async def headers(self) -> Mapping[str, str]: ...

    def refused(self) -> bool:
        """Told of a 401; True when the next `headers()` may differ, so that one more try makes sense."""
        ...


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """A communication user."""

    user: str
    password: str

    async def headers(self) -> Mapping[str, str]:
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def refused(self) -> bool:
        return False


class RemoteSystem:
    """One remote system of this worker: `name` for people and errors, `base_url` without a trailing slash.

    `concurrency_max` calls run at once; `timeout_seconds` bounds each call from the moment it is asked for, waiting for
    a free slot included; `clock` gives monotonic seconds for the circuit.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        auth: Auth | None = None,
        concurrency_max: int = 16,
        timeout_seconds: float = 30.0,
        failures_max: int = 5,
        open_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        counters: Counters | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.counters = counters or Counters()
        self.circuit = Circuit(name, failures_max=failures_max, open_seconds=open_seconds, clock=clock)
        self._auth = auth
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(concurrency_max)
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        write: Write,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        deadline: float | None = None,
        redirects: bool = False,
    ) -> Response:
        """Send one call and give its answer below 400.

        `path` is appended to the base url as it is (already percent-encoded), `params` are encoded here, `deadline` is
        loop time (default: that of the work around it), `redirects` follows a 307 with method and body kept. A read
        that someone waits for is sent once more where the system asks to come back before the deadline. Raises
        RemoteDown, Transient, OutcomeUnknown, RemoteRefused.
        """
        kept = rehearsal.get()
        if kept is not None and write != "read":
            kept.append(WouldSend(self.name, method, path, body or b""))
            return Response(204, CIMultiDictProxy(CIMultiDict()), b"")
        until = self._until(deadline)
        url = URL(self.base_url + path + (f"?{_query(params)}" if params else ""), encoded=True)
        response = await self._attempt(method, url, write, headers or {}, body, until, redirects)
        if response.status == 401 and self._auth is not None and self._auth.refused():
            response = await self._attempt(method, url, write, headers or {}, body, until, redirects)
        if _asked_to_come_back(response, write, until):
            response = await self._attempt(method, url, write, headers or {}, body, until, redirects)
        return self.judge(response, write)

    def json(self, response: Response, write: Write) -> Any:
        """The answer's JSON. A page that is none (a proxy, a login form) is a broken system, not our data."""
        try:
            return exact_json.loads(response.body)
        except Malformed as error:
            raise self.unreadable(write, f"the answer is not JSON ({error})") from error

    def unreadable(self, write: Write, said: str) -> Transient:
        """The error for an answer that nobody can read."""
        return self._error("broken", write, said)

    async def close(self) -> None:
        """Give the connections back; the system can be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _until(self, deadline: float | None) -> float:
        own = asyncio.get_running_loop().time() + self._timeout_seconds
        around = deadline if deadline is not None else deadline_var.get()
        return own if around is None else min(own, around)

    async def _attempt(
        self,
        method: str,
        url: URL,
        write: Write,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        redirects: bool,
    ) -> Response:
        async with self._slot(until), self.circuit.passage(until) as passage:
            return await self._call(method, url, write, headers, body, until, redirects, passage)

    async def _call(
        self,
        method: str,
        url: URL,
        write: Write,
        headers: Mapping[str, str],
        body: bytes | None,
        until: float,
        redirects: bool,
        passage: Passage,
    ) -> Response:
        with remote_call(self.name, method, url.path) as call:
            sent: dict[str, str] = {"User-Agent": "Concord", "Accept": "application/json"}
            if parent := traceparent.get():
                sent["traceparent"] = parent
            if self._auth is not None:
                sent |= await self._auth.headers()
            sent |= headers
            if asyncio.get_running_loop().time() >= until:
                # The process slept. A timeout would come too late: on an open connection the first write goes out
                # before anything is waited for, and by now somebody else may have concluded that nothing was sent.
                raise self._error("unsent", write, "the deadline passed before it was sent")
            self.counters.add(f"{self.name}.sent")
            try:
                async with (
                    asyncio.timeout_at(until),
                    self._pool().request(method, url, headers=sent, data=body, allow_redirects=redirects) as answer,
                ):
                    response = Response(answer.status, answer.headers, await answer.read())
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                happening = happening_of(error)
                passage.failed()
                call.ended(happening)
                raise self._error(happening, write, f"{type(error).__name__} {error}".rstrip()) from error
            call.answered(response.status)
            if response.status == 429 or response.status >= 500:
                passage.failed(retry_after_seconds(response.headers))
            else:
                passage.succeeded()
            return response

    def judge(self, response: Response, write: Write) -> Response:
        """The status table: what an answer, or one inside of it, means for a call of this kind."""
        status = response.status
        if status < 400:
            return response
        said = f"{status} {_said(response)}"
        if status in {429, 503}:
            raise self._error("throttled", write, said, retry_after_seconds(response.headers))
        if status in {401, 407}:
            # Our credentials are refused: every message would fail alike, so the lane waits instead of opening cases.
            raise RemoteDown(f"{self.name} does not accept our credentials: {said}", system=self.name)
        if status >= 500 or status == 408:
            raise self._error("broken", write, said, retry_after_seconds(response.headers))
        self.counters.add(f"{self.name}.refused")
        raise RemoteRefused(self.name, response, read_errors(response))

    def _error(self, happening: Happening, write: Write, said: str, retry_after: float | None = None) -> Transient:
        """The table: what happened × what kind of call → what the caller must know."""
        self.counters.add(f"{self.name}.{happening}")
        match happening:
            case "unsent" | "throttled":
                return RemoteDown(f"{self.name}: {said}", system=self.name, retry_after_seconds=retry_after)
            case _ if write == "effect":
                return OutcomeUnknown(f"{self.name}: {said}", retry_after_seconds=retry_after)
            case "lost":
                return RemoteDown(f"{self.name}: {said}", system=self.name, retry_after_seconds=retry_after)
            case _:
                # Slow or broken for this one record, perhaps: its key waits, not the lane. Were it the whole system,
                # the circuit says so soon.
                return Transient(f"{self.name}: {said}", retry_after_seconds=retry_after)

    @asynccontextmanager
    async def _slot(self, until: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(until):
                await self._slots.acquire()
        except TimeoutError as error:
            raise self._error("unsent", "read", "no free slot before the deadline") from error
        try:
            yield
        finally:
            self._slots.release()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS_MAX),
                auto_decompress=True,
                max_line_size=_HEADER_BYTES_MAX,  # SAP puts its messages into one header, up to twenty of them
                max_field_size=_HEADER_BYTES_MAX,
            )
        return self._session


class Circuit:
    """Stops calls to a system that does not answer, and lets one through now and then to see whether it is back.

    `failures_max` failures in a row open it for `open_seconds`, doubling up to a minute while probes fail; a
    Retry-After opens it at once for that long, because sending on makes a throttled system wait longer. A call that
    someone waits for is the next look, or waits for the one under way; a Retry-After holds for it as well, and it waits
    for its end where that comes before its deadline.
    """

    def __init__(self, name: str, *, failures_max: int, open_seconds: float, clock: Callable[[], float]) -> None:
        self._name = name
        self._failures_max = failures_max
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_in_a_row = 0
        self._open_until: float | None = None
        self._asked_to_wait_until = 0.0
        self._probing = False
        self._probed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """True while calls are refused without being sent."""
        return self._open_until is not None and (self._probing or self._clock() < self._open_until)

    @asynccontextmanager
    async def passage(self, until: float) -> AsyncIterator[Passage]:
        """One call's way through, by loop time `until`; raises RemoteDown when the circuit is open."""
        passage = Passage(self)
        if someone_waits.get():
            await self._wait_as_asked(until)
        if self._open_until is not None:
            impatient = someone_waits.get() and self._clock() >= self._asked_to_wait_until
            if impatient and self._probing:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._probed.wait(), until - asyncio.get_running_loop().time())
                impatient = False  # that was the look for this call too: a system that is away is not asked by each
        if self._open_until is not None:
            wait = 0.0 if impatient else self._open_until - self._clock()
            if wait > 0 or self._probing:
                state(CIRCUIT_OPEN, 1, system=self._name)
                raise RemoteDown(
                    f"{self._name} does not answer; the next look is due shortly",
                    system=self._name,
                    retry_after_seconds=max(wait, 0.5),
                )
            self._probing = passage.is_probe = True
            self._probed.clear()
        try:
            yield passage
        finally:
            if passage.is_probe:
                self._probing = False
                self._probed.set()

    async def _wait_as_asked(self, until: float) -> None:
        """Wait for the end of a Retry-After; not at all where it comes after the deadline (loop time)."""
        loop = asyncio.get_running_loop()
        while self._open_until is not None and (wait := self._asked_to_wait_until - self._clock()) > 0:
            if wait >= until - loop.time():
                return
            await asyncio.sleep(wait)

    def succeed(self, *, was_probe: bool) -> None:
        if self._open_until is None or was_probe:  # a straggler's success does not shorten a wait that was asked for
            if self._open_until is not None:
                state(CIRCUIT_OPEN, 0, system=self._name)
            self._failures = self._opened_in_a_row = 0
            self._open_until = None

    def fail(self, retry_after: float | None, *, was_probe: bool) -> None:
        self._failures += 1
        if retry_after is not None:
            self._asked_to_wait_until = self._clock() + retry_after
            self._open_until = max(self._open_until or 0.0, self._asked_to_wait_until)
        elif self._open_until is not None and not was_probe:
            return  # calls that were under way when it opened do not lengthen the wait
        elif was_probe or self._failures >= self._failures_max:
            self._open_until = self._clock() + min(self._open_seconds * 2**self._opened_in_a_row, _OPEN_SECONDS_MAX)
            self._opened_in_a_row = min(self._opened_in_a_row + 1, 8)
            self._failures = 0


@dataclass(slots=True)
class Passage:
    """One call under way; told how it went. A call that was cancelled says nothing."""

    circuit: Circuit
    is_probe: bool = False

    def succeeded(self) -> None:
        self.circuit.succeed(was_probe=self.is_probe)

    def failed(self, retry_after: float | None = None) -> None:
        self.circuit.fail(retry_after, was_probe=self.is_probe)


def happening_of(error: BaseException) -> Happening:
    """What a client exception means, by the table; raises the error itself when the table does not know it."""
    for kind, happening in HAPPENINGS:
        if isinstance(error, kind):
            return happening
    raise error


def _asked_to_come_back(response: Response, write: Write, until: float) -> bool:
    """Whether a throttled read that someone waits for can be tried again in time."""
    if response.status not in {429, 503} or write != "read" or not someone_waits.get():
        return False
    asked = retry_after_seconds(response.headers)
    return asked is not None and asked < until - asyncio.get_running_loop().time()


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, from either of its two forms; None when absent or unreadable."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        return min(float(value), 3600.0)
    try:
        return max(0.0, min(parsedate_to_datetime(value).timestamp() - time.time(), 3600.0))
    except ValueError:
        return None


def read_errors(response: Response) -> tuple[RemoteError, ...]:
    """The errors a body names, in OData's forms (SAP's V2 and Dataverse's V4); one of the raw text otherwise."""
    try:
        raw = exact_json.loads(response.body)
    except Malformed:
        raw = None
    error = raw.get("error") if isinstance(raw, dict) else None
    if not isinstance(error, dict):
        text = response.body[:300].decode("utf-8", "replace").strip()
        return (RemoteError(str(response.status), text or "no reason given"),)
    message = error.get("message")
    said = message.get("value") if isinstance(message, dict) else message
    inner = error.get("innererror")
    details = inner.get("errordetails") if isinstance(inner, dict) else None
    named = [
        RemoteError(
            str(detail.get("code", "")),
            str(detail.get("message", "")),
            str(detail.get("propertyref") or detail.get("target") or ""),
        )
        for detail in details or ()
        if isinstance(detail, dict) and detail.get("severity", "error") in {"error", "abort"}
    ]
    head = RemoteError(str(error.get("code", "")), str(said or ""), str(error.get("target") or ""))
    if named and (named[0].code, named[0].message) == (head.code, head.message):
        return tuple(named)  # SAP repeats the head as its first detail, with the property added
    return (head, *named)


def headers_of(pairs: Mapping[str, str]) -> CIMultiDictProxy[str]:
    """Headers as a response carries them: names without case, several values of a name."""
    return CIMultiDictProxy(CIMultiDict(pairs))


def _query(params: Mapping[str, str]) -> str:
    # %20, not "+": OData servers read a plus in a literal as a plus.
    return urlencode(params, quote_via=quote, safe="$,()'/:*=")


def _said(response: Response) -> str:
    first = read_errors(response)[0]
    return f"{first.code} {first.message}"[:300]
