"""December 2010, 2,025 real invoices on the running stack: the month closes, and no forgery in it stays unnoticed.

One way of tampering at a time on an order that the seed chooses, then every way on every kind of order at once; each
has to be found, named and costed to the penny, nothing else reported, closing refused; undone, the month closes again.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.day.__main__ import POLICY_OF_FILES
from sandbox.day.invoices import day_of
from sandbox.day.quiet import fire_timers, until_quiet
from sandbox.day.replay import replay, seed
from sandbox.day.retail_file import read_rows
from sandbox.day.systems import Systems, systems_of
from sandbox.stack import Stack
from tests.reconciliation.finding import misses
from tests.reconciliation.tampering import ALL, Subject, Tampered, subjects_of

SEED = 2010_12
MONTH = "/api/reconciliation/GB01/2010-12"
_REST_SECONDS = 900.0
_MANY_LINES = 100


@dataclass(frozen=True, slots=True)
class Month:
    """The stack once the month is replayed."""

    systems: Systems

    async def told(self) -> dict[str, Any]:
        report: dict[str, Any] = await self.systems.read("functions", MONTH)
        assert all(bridge["addsUp"] for bridge in report["bridges"]), report["bridges"]
        return report

    async def closed(self) -> tuple[int, dict[str, Any]]:
        status, said = await self.systems.call("functions", "POST", f"{MONTH}/close", {}, accept={200, 201, 409})
        assert isinstance(said, dict)
        return status, said

    async def control(self, system: Any, method: str, path: str, body: object = None) -> Any:
        return (await self.systems.call(system, method, f"/__sim/{path}", body))[1]

    async def looked_at(self, done: list[Tampered]) -> list[str]:
        """What is not found of it, or found beyond; then it is undone."""
        report = await self.told()
        wrong = misses(report, [found for one in done for found in one.found])
        status, refusal = await self.closed()
        named = {row["orderNumber"] for row in report["rows"] if not row["explained"]}
        if status != 409 or {item["orderNumber"] for item in refusal["items"]} != named:
            wrong.append(f"closing answers {status}: {str(refusal)[:500]}")
        for one in done:
            await one.undo()
        return wrong


@pytest.fixture
async def month(data: Path, tmp_path: Path) -> AsyncIterator[Month]:
    day = day_of(read_rows(data / "online_retail_2010-12.csv.gz"), "December 2010")
    told = tmp_path / "stack.json"
    async with (
        Stack(workers=2, overlay=POLICY_OF_FILES, out=told) as _,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session,
    ):
        systems = systems_of(json.loads(told.read_text()), session)
        await seed(day, systems, lambda *_: None)
        await replay(day, systems, lambda *_: None)
        for _ in range(2):
            await until_quiet(systems, deadline_seconds=_REST_SECONDS, look=lambda _: None)
            await fire_timers(systems)
        yield Month(systems)


def kinds_of(subjects: list[Subject]) -> dict[str, list[Subject]]:
    """Subjects by what kind of order they are; an order is of the first kind that fits."""
    kinds: dict[str, list[Subject]] = defaultdict(list)
    for one in subjects:
        lines, tenders = one.order["SalesLines"], {tender["TenderTypeId"] for tender in one.order["TenderLines"]}
        gift = any(line.get("IsGiftCardLine") for line in lines)
        linked = any(line.get("ReturnTransactionId") for line in lines)
        back = one.gross < 0
        kind = (
            "gift voucher" if gift
            else "charges given back" if back and not lines
            else "charges" if not lines
            else "return of a known sale" if back and linked
            else "return of an unknown sale" if back
            else "hundreds of lines" if len(lines) >= _MANY_LINES
            else "goods with charges" if one.order["ChargeLines"]
            else "on account" if "4" in tenders
            else "till sale"
        )  # fmt: skip
        kinds[kind].append(one)
    return kinds


@pytest.mark.prove
@pytest.mark.timeout(3000)
async def test_december_closes_and_what_is_tampered_with_in_any_system_is_found_named_and_costed(month: Month) -> None:
    before = await month.told()
    assert (before["orders"], before["unexplained"], before["difference"]) == (2025, 0, {"GBP": "0.00"})
    assert (before["matched"], before["explained"], before["inFlight"]) == (1885, 140, 0)
    assert {row["code"] for row in before["rows"]} == {"no_ledger_matter"}
    status, certificate = await month.closed()
    assert (status, certificate["number"]) == (201, "GB01-2010-12-01")

    state = {name: await month.control(name, "GET", "state") for name in ("sap", "commerce", "dataverse")}
    kinds = kinds_of(subjects_of(state, month.control))
    assert set(kinds) == {
        "on account", "till sale", "hundreds of lines", "goods with charges", "charges", "charges given back",
        "return of a known sale", "return of an unknown sale", "gift voucher",
    }  # fmt: skip
    chance, wrong = random.Random(SEED), list[str]()
    names = sorted(kinds)
    for number, way in enumerate(ALL):
        fitting = [one for one in kinds[names[number % len(names)]] if way.fits(one)]
        subject = chance.choice(fitting or [one for name in names for one in kinds[name] if way.fits(one)])
        wrong += [f"{way} alone: {one}" for one in await month.looked_at([await way.act(subject)])]
    done = []
    for name in names:
        ways = list(ALL)
        for subject in chance.sample(kinds[name], min(len(ALL), len(kinds[name]))):
            fitting_ways = [way for way in ways if way.fits(subject)]
            if fitting_ways:
                ways.remove(chosen := chance.choice(fitting_ways))
                done.append(await chosen.act(subject))
    wrong += [f"all at once: {one}" for one in await month.looked_at(done)]
    assert not wrong, f"{len(wrong)} of {len(ALL) + len(done)}:\n" + "\n".join(wrong)

    after = await month.told()
    assert {name: side["sha256"] for name, side in after["systems"].items()} == {
        name: side["sha256"] for name, side in before["systems"].items()
    }
    status, certificate = await month.closed()
    assert (status, certificate["number"]) == (201, "GB01-2010-12-02")
    print(f"{len(ALL)} ways one at a time, {len(done)} at once over {len(kinds)} kinds of order, all found")
