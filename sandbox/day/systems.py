"""The running stack as the day sees it: the simulators' control surfaces and the product's doors for people."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp

from sandbox.kit import exact_json

type System = Literal["sap", "dataverse", "commerce", "functions", "broker"]

_OK: Final = frozenset({200, 201, 202, 204})
_TIMEOUT_SECONDS: Final = 90.0


class CallRefused(Exception):
    """A call that the day depends on was refused; the text says which, and what was answered."""

    def __init__(self, system: str, method: str, path: str, status: int, answer: str) -> None:
        super().__init__(f"{system} answered {status} to {method} {path}: {answer[:500]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Systems:
    """Where everything is, and the keys and headers that open it. `broker` is None where it shows no control port."""

    session: aiohttp.ClientSession
    urls: dict[System, str]
    workers: tuple[str, ...]
    default_key: str
    master_key: str
    operator: dict[str, str]

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
        """One call: (status, JSON or text); `base` names one worker. Raises CallRefused outside of `accept`."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if system == "functions":
            sent = {"x-functions-key": self.default_key, **self.operator, **sent}
        data = None if body is None else exact_json.dumps(body)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            async with self.session.request(
                method, f"{base or self.urls[system]}{path}", data=data, headers=sent, timeout=timeout
            ) as answer:
                content = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as fault:
            raise CallRefused(system, method, path, 0, f"no answer: {fault!r}") from fault
        if status not in accept:
            raise CallRefused(system, method, path, status, content.decode("utf-8", "replace"))
        if not content:
            return status, None
        try:
            return status, exact_json.loads(content)
        except exact_json.NotJson:
            return status, content.decode("utf-8", "replace")

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
