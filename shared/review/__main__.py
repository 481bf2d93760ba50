"""`python -m shared.review [--metadata DIR] [--overlay FILE]`: exit status 1 where an error is found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from shared.authority.policy import PolicyFaulty, load_policy
from shared.mapping.objects import OBJECTS
from shared.review.drift import mapped_uses, read_uses, review_drift
from shared.review.findings import Finding
from shared.review.metadata import read_metadata
from shared.review.ownership import review_ownership
from shared.review.policies import review_policies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.review", description=__doc__)
    parser.add_argument("--metadata", type=Path, help="a folder of EDMX and OpenAPI documents")
    parser.add_argument("--overlay", type=Path, help="policy values laid over the shipped ones")
    asked = parser.parse_args()
    if asked.metadata is not None and not asked.metadata.is_dir():
        parser.error(f"{asked.metadata} is not a folder")
    try:
        policy = load_policy(asked.overlay)
    except PolicyFaulty as fault:
        _say(str(fault))
        return 1
    findings = review_ownership(policy.authority, OBJECTS) + review_policies(policy)
    if asked.metadata is not None:
        services, unreadable = read_metadata(asked.metadata)
        findings += unreadable + review_drift(read_uses() | mapped_uses(OBJECTS), services)
    return _tell(findings, policy.digest)


def _tell(findings: list[Finding], digest: str) -> int:
    for finding in sorted(findings, key=lambda one: (one.level, one.where)):
        _say(str(finding))
    errors = sum(finding.level == "error" for finding in findings)
    _say(f"policy {digest}: {errors} errors, {len(findings) - errors} warnings")
    return 1 if errors else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
