"""The running stack as the day sees it: the simulators' control surfaces and the product's doors for people."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal

import aiohttp

from sandbox.kit import exact_json

type System = Literal["sap", "dataverse", "commerce", "functions", "broker"]

_OK: Final = frozenset({200, 201, 202, 204})
_TIMEOUT_SECONDS: Final = 90.0
_PATIENCE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.2


class CallRefused(Exception):
    """A call that the day depends on was refused; the text says which, and what was answered."""

    def __init__(self, system: str, method: str, path: str, status: int, answer: str) -> None:
        super().__init__(f"{system} answered {status} to {method} {path}: {answer[:500]}")
        self.status = status


@dataclass(slots=True)
class Tally:
    """One worker's counters, added up over its lives: a worker that was replaced begins at nought again."""

    lived: Counter[str] = field(default_factory=Counter)
    latest: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Counter[str]) -> Counter[str]:
        """What it has counted in all, now that `seen` was read of it. What a lost life counted last is lost with it."""
        if any(seen[name] < count for name, count in self.latest.items()):
            self.lived += self.latest
        self.latest = seen
        return self.lived + seen


@dataclass(frozen=True, slots=True)
class Systems:
    """Where everything is, and the keys and headers that open it. `broker` is None where it shows no control port."""

    session: aiohttp.ClientSession
    urls: dict[System, str]
    workers: tuple[str, ...]
    default_key: str
    master_key: str
    operator: dict[str, str]
    tallies: dict[str, Tally] = field(default_factory=dict)

    async def get(self, system: System, path: str) -> object:
        """Read as JSON. Raises CallRefused."""
        return (await self.call(system, "GET", path))[1]

    async def read(self, system: System, path: str) -> dict[str, object]:
        """Read a JSON object. Raises CallRefused; NotJson when it is none."""
        answer = await self.get(system, path)
        if not isinstance(answer, dict):
            raise exact_json.NotJson(f"{system} {path}: a JSON object was expected")
        return answer

    async def call(
        self,
        system: System,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        accept: Collection[int] = _OK,
        base: str | None = None,
    ) -> tuple[int, object]:
        """One call: (status, JSON or text); `base` names one worker. Raises CallRefused outside of `accept`.

        Where the app's answer is lost because its worker died, the same call is made again, as every sender does: the
        app answers a repeat as it answered the first.
        """
        sent = {"Content-Type": "application/json", **(headers or {})}
        if system == "functions":
            sent = {"x-functions-key": self.default_key, **self.operator, **sent}
        url, data = f"{base or self.urls[system]}{path}", None if body is None else exact_json.dumps(body)
        patient_until = time.monotonic() + (_PATIENCE_SECONDS if system == "functions" else 0.0)
        while True:
            try:
                status, content = await self._send(method, url, data, sent)
                break
            except (aiohttp.ClientError, TimeoutError) as fault:
                if time.monotonic() > patient_until:
                    raise CallRefused(system, method, path, 0, f"no answer: {fault!r}") from fault
                await asyncio.sleep(_PAUSE_SECONDS)
        if status not in accept:
            raise CallRefused(system, method, path, status, content.decode("utf-8", "replace"))
        if not content:
            return status, None
        try:
            return status, exact_json.loads(content)
        except exact_json.NotJson:
            return status, content.decode("utf-8", "replace")

    async def _send(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with self.session.request(method, url, data=data, headers=headers, timeout=timeout) as answer:
            return answer.status, await answer.read()

    async def administer(self, method: str, path: str, body: object = None) -> object:
        """A call with the master key. Raises CallRefused."""
        return (await self.call("functions", method, path, body, headers={"x-functions-key": self.master_key}))[1]


def systems_of(described: dict[str, object], session: aiohttp.ClientSession) -> Systems:
    """The systems that a stack's description (the content of stack.json) names."""

    def part(name: str) -> dict[str, object]:
        value = described[name]
        assert isinstance(value, dict), f"stack.json: {name} is not an object"
        return value

    functions, keys = part("functions"), part("functions")["keys"]
    assert isinstance(keys, dict), "stack.json: functions.keys is not an object"
    urls: dict[System, str] = {
        "functions": str(functions["url"]),
        "sap": str(part("sap")["url"]),
        "dataverse": str(part("dataverse")["url"]),
        "commerce": str(part("commerce")["url"]),
    }
    control = part("servicebus").get("control_url")
    if control is not None:
        urls["broker"] = str(control)
    several = functions.get("urls", [functions["url"]])
    headers = part("operator")["headers"]
    assert isinstance(several, list) and isinstance(headers, dict), "stack.json: urls, operator.headers"
    return Systems(
        session=session,
        urls=urls,
        workers=tuple(str(url) for url in several),
        default_key=str(keys["default"]),
        master_key=str(keys["master"]),
        operator={str(name): str(value) for name, value in headers.items()},
    )
