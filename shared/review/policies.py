"""Policies that must agree with each other: the same legal entity means the same company, currency and calendar."""

from __future__ import annotations

from collections.abc import Iterator

from shared.authority.policy import Policy
from shared.review.findings import Finding, error, warning

_SAME = ("company_code", "currency", "time_zone")


def review_policies(policy: Policy) -> list[Finding]:
    """Where credit.yaml and ledger.yaml tell two stories of one legal entity."""
    return list(_entities(policy))


def _entities(policy: Policy) -> Iterator[Finding]:
    credit, ledger = policy.credit.legal_entities, policy.ledger.legal_entities
    for code in sorted(credit.keys() - ledger.keys()):
        yield error(f"credit.yaml: {code}", "is checked at checkout but cannot post", "add it to ledger.yaml")
    for code in sorted(ledger.keys() - credit.keys()):
        yield warning(
            f"ledger.yaml: {code}", "posts but has no credit rules: it cannot sell on account", "add it to credit.yaml"
        )
    for code in sorted(credit.keys() & ledger.keys()):
        for name in _SAME:
            ours, theirs = getattr(credit[code], name), getattr(ledger[code], name)
            if ours != theirs:
                yield error(f"{code}.{name}", f"is {ours} in credit.yaml and {theirs} in ledger.yaml", "make them one")
        if credit[code].segment != ledger[code].credit_segment:
            yield error(
                f"{code}.segment",
                f"is {credit[code].segment} in credit.yaml and {ledger[code].credit_segment} in ledger.yaml",
                "make them one",
            )
