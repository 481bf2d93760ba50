"""A cold start: what importing the app costs, over the bare import of the Azure SDKs that its triggers need.

Each figure is one new process with compiled bytecode, timed inside it, without the interpreter's own start. The floor
is `azure.functions` and `azure.servicebus`: what HTTP, timer and Service Bus triggers are made of.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path

from bench.report import Report, interleaved, median

ROUNDS = 15
_ROOT = Path(__file__).resolve().parent.parent
_APP = "function_app"
_SDKS = "azure.functions, azure.servicebus"
_DOORS_ONLY = "azure.functions"
_FIRST_CHECK = (
    "function_app, shared.wiring, shared.flows.checkout_credit_check, shared.clients.http, azure.data.tables.aio"
)


async def run(report: Report) -> None:
    report.say(f"imports in new processes, {ROUNDS} rounds")
    contestants = {name: partial(_seconds, name) for name in (_APP, _SDKS, _DOORS_ONLY, _FIRST_CHECK)}
    found = await interleaved(ROUNDS, contestants)
    app, sdks, doors_only, first = (median(found[name]) for name in contestants)
    detail = f"{app * 1000:,.0f} ms over {sdks * 1000:,.0f} ms"
    report.ratio("import of the app / of the triggers' SDKs", app / sdks, "at most", 1.2, runs=ROUNDS, detail=detail)
    report.figure("import of azure.functions alone", doors_only * 1000, "ms")
    report.figure("loaded by the first credit check of a worker, on top", (first - app) * 1000, "ms")


async def _seconds(modules: str) -> float:
    example = json.loads((_ROOT / "local.settings.example.json").read_text(encoding="utf-8"))["Values"]
    script = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=_ROOT, env=os.environ | example, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    if child.returncode:
        raise RuntimeError(f"import {modules} ended with status {child.returncode}")
    return float(said)
