"""Calls the simulated SAP system as a careful client would: logon, CSRF token, JSON; and its control surface."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import aiohttp
from defusedxml.ElementTree import fromstring

from sandbox.kit import exact_json
from sandbox.kit.simulator import running
from sandbox.sap.simulator import SapSimulator
from sandbox.sap.soap import PATH

ROOT = "/sap/opu/odata/sap"
PASSWORD = "of-these-tests"
LOGON = {"Authorization": aiohttp.encode_basic_auth("CONCORD", PASSWORD), "Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def d(self) -> Any:
        """The content of an OData answer."""
        assert self.status < 300, (self.status, self.body)
        return exact_json.loads_object(self.body)["d"]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The rows of a set."""
        rows: list[dict[str, Any]] = self.d["results"]
        return rows

    @property
    def error(self) -> Any:
        """The content of an OData error."""
        return exact_json.loads_object(self.body)["error"]

    @property
    def refused_property(self) -> str:
        """The property that the first error detail names."""
        return str(self.error["innererror"]["errordetails"][0]["propertyref"])


@dataclass(slots=True)
class Sap:
    """One running simulator and a session with it."""

    simulator: SapSimulator
    url: str
    session: aiohttp.ClientSession
    token: str = ""

    async def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None, **query: str
    ) -> Reply:
        """One OData call; writes carry the CSRF token."""
        sent = LOGON | dict(headers or {})
        data = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data = exact_json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        if method not in {"GET", "HEAD"}:
            sent.setdefault("X-CSRF-Token", await self.fetch_token())
        options = {f"${name}": text for name, text in query.items()}
        async with self.session.request(
            method, f"{self.url}{ROOT}/{path}", data=data, headers=sent, params=options
        ) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **query: str) -> Reply:
        """A read; query options without their dollar sign."""
        return await self.call("GET", path, None, None, **query)

    async def fetch_token(self) -> str:
        """The CSRF token of this session."""
        if not self.token:
            headers = {"X-CSRF-Token": "Fetch"}
            self.token = (await self.call("GET", "API_BUSINESS_PARTNER/", headers=headers)).headers["X-CSRF-Token"]
        return self.token

    async def control(self, method: str, path: str, body: object = None) -> Any:
        """A control call that must succeed."""
        status, answer = await self.try_control(method, path, body)
        assert status == 200, answer
        return answer

    async def try_control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A control call, as (status, JSON or text)."""
        data = None if body is None else exact_json.dumps(body)
        async with self.session.request(method, f"{self.url}/__sim/{path}", data=data) as answer:
            content = await answer.read()
            if answer.content_type != "application/json":
                return answer.status, content.decode()
            return answer.status, exact_json.loads(content)

    async def state(self) -> dict[str, Any]:
        """Everything it holds."""
        held: dict[str, Any] = await self.control("GET", "state")
        return held

    async def account(self, account: str = "C-1", **given: object) -> Any:
        """A credit account, of GB01 and limit 1000 unless said otherwise."""
        return await self.control(
            "PUT", f"credit-accounts/{account}", {"legalEntity": "GB01", "limit": 1000, "currency": "GBP", **given}
        )

    async def post(self, envelope: str, headers: Mapping[str, str] | None = None) -> tuple[int, Element]:
        """A journal entry, as (status, confirmation)."""
        sent = LOGON | {"Content-Type": "text/xml; charset=utf-8"} | dict(headers or {})
        async with self.session.post(self.url + PATH, data=envelope.encode(), headers=sent) as answer:
            return answer.status, fromstring(await answer.read())


@asynccontextmanager
async def running_sap(simulator: SapSimulator) -> AsyncIterator[Sap]:
    """Serve a simulator and log on to it."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with running(simulator) as url, aiohttp.ClientSession(cookie_jar=jar) as session:
        yield Sap(simulator, url, session)
