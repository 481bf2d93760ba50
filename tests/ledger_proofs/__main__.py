"""Replay one run of the proofs: `python -m tests.ledger_proofs <beginning> <place> <fault>`, or `… --seed <n>`."""

from __future__ import annotations

import argparse
import sys

from tests.ledger_proofs.histories import BEGINNINGS, FAULTS, Ended, random_run, strike


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger_proofs", description=__doc__)
    parser.add_argument("beginning", nargs="?", choices=list(BEGINNINGS))
    parser.add_argument("place", nargs="?")
    parser.add_argument("fault", nargs="?", choices=FAULTS)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--by-order", action="store_true", help="GB01 posts by sales order")
    given = parser.parse_args()
    if given.seed is not None:
        return _told(random_run(given.seed, by_order=given.by_order))
    if not given.fault:
        parser.error("a beginning, a place and a fault are needed, or --seed")
    return _told(strike(given.beginning, given.place, given.fault, by_order=given.by_order))


def _told(ended: Ended) -> int:
    faults = iter(ended.struck)
    upcoming = next(faults, None)
    for place, nature in ended.crossed:
        mark = ""
        if upcoming is not None and upcoming[0] == place:
            mark, upcoming = f"   <-- {upcoming[1]}", next(faults, None)
        print(f"{nature:11} {place}{mark}")
    print(f"\nafter {ended.seconds / 60:.1f} minutes of the world's time:")
    for (order, kind, gross), count in sorted(ended.documents.items()):
        print(f"  {count} × {order} {kind} {gross}")
    print("\n".join(f"WRONG: {what}" for what in ended.wrong) or "nothing is wrong")
    return 1 if ended.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
