"""What SAP says when it will not take something, as a reason with what a person can do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.domain.rulings import Reason

Remedies = Sequence[tuple[str, str, str]]
"""A pattern of SAP's words, our code, what a person can do; the first that fits counts.

Message numbers differ between releases, the words hardly do.
"""
CURRENCY = (r"currency", "currency", "allow the currency in SAP or correct the order, then replay")


@dataclass(frozen=True, slots=True)
class Rejected:
    """SAP read what it was sent and will not take it: nothing has landed."""

    reasons: tuple[Reason, ...]


def reason_of(message_number: str, said: str, remedies: Remedies) -> Reason:
    """One message of SAP's as a reason; `message_number` is "" where it gave none."""
    quoted = f"SAP: {said} [{message_number}]" if message_number else f"SAP: {said}"
    for pattern, code, remedy in remedies:
        if re.search(pattern, said, re.IGNORECASE):
            return Reason(code, quoted, remedy)
    return Reason("sap_rejected", quoted, "correct what SAP names, then replay")
