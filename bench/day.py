"""The whole day: orders a second end to end, calls an order to the tables and to Dataverse, memory of all processes of
the stack together.

The 2010 retail file is replayed where CONCORD_TEST_DATA names its folder, else the day written here. Whole, because
the first thousand requests of anything are free: what a system grants in five minutes shows only after that.
Memory is the sum of proportional set sizes (pages that processes share count once), sampled while the day runs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import msgspec
import psutil

from bench.report import Report

_FILE = "online_retail_2010-12.csv.gz"
_SAMPLE_SECONDS = 0.5


async def run(report: Report) -> None:
    data = os.environ.get("CONCORD_TEST_DATA")
    given = ["--data", str(Path(data) / _FILE)] if data else []
    with tempfile.TemporaryDirectory(prefix="concord-bench-") as out:
        report.say(f"replays {_FILE if given else 'the written day'}")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sandbox.day", *given, "--out", out, stdout=asyncio.subprocess.PIPE
        )
        said, peak = await asyncio.gather(_read(child), _peak_memory(child))
        if child.returncode:
            raise RuntimeError(f"the day ended with status {child.returncode}: {said[-2000:]}")
        summary = msgspec.json.decode(await asyncio.to_thread(Path(out, "summary.json").read_bytes))
    orders, seconds = summary["orders"]["read"], float(summary["seconds"])
    report.figure("orders a second until all is at rest", orders / seconds, "orders/s", "15 on two idle cores")
    report.figure("table calls an order", float(summary["table_calls_per_order"]), "calls", "at most 10")
    requests = summary["remote_calls"].get("dataverse", 0) / orders
    report.figure("requests to Dataverse an order", requests, "requests", "at most 2: a user has 6,000 in 5 minutes")
    report.figure("peak memory of all processes", peak / 2**20, "MiB", "below 1,500")
    for flow, percentiles in summary["latency_ms"].items():
        report.figure(f"{flow} p50", float(percentiles["p50"]), "ms")
        report.figure(f"{flow} p99", float(percentiles["p99"]), "ms")


async def _read(child: asyncio.subprocess.Process) -> str:
    said, _ = await child.communicate()
    return said.decode()


async def _peak_memory(child: asyncio.subprocess.Process) -> int:
    """Bytes at the highest sample, over the day's process and all below it."""
    peak = 0
    while child.returncode is None:
        peak = max(peak, _memory(child.pid))
        await asyncio.sleep(_SAMPLE_SECONDS)
    return peak


def _memory(pid: int) -> int:
    try:
        day = psutil.Process(pid)
        processes = [day, *day.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended between two looks
            continue
    return total
