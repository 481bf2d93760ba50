"""`python -m bench [names…]`: every benchmark of this folder, or those named; a table on screen and out/bench.json.

A benchmark is a module here with `async def run(report: Report) -> None`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path

import bench
from bench.report import Report

OUT = Path("out/bench.json")


def main() -> int:
    known = sorted(
        found.name for found in pkgutil.iter_modules(bench.__path__) if found.name not in {"__main__", "report"}
    )
    benches = {name: module for name in known if hasattr(module := importlib.import_module(f"bench.{name}"), "run")}
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *benches], help=f"one or more of: {', '.join(benches)}")
    chosen = parser.parse_args().names or list(benches)
    report = Report()
    for name in chosen:
        report.bench = name
        report.say("begins")
        try:
            asyncio.run(benches[name].run(report))
        except Exception as fault:  # noqa: BLE001 - one benchmark that fails must not hide what the others found
            traceback.print_exc()
            report.failed[name] = f"{type(fault).__name__}: {fault}"
        report.write(OUT)
    report.show()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
