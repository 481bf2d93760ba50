"""What people's doors read of a query: numbers, durations, moments; every faulty one named."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from shared.domain.moments import moment_of
from shared.errors import Fault, Malformed

_DURATION = re.compile(r"^([0-9]{1,6})(s|m|h|d)$")
_DURATION_MAX = timedelta(days=36_500)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_query[Value](params: Mapping[str, str], readers: Mapping[str, Callable[[str], Value]]) -> dict[str, Value]:
    """The values of those parameters that are given; raises `Malformed` naming each that cannot be read."""
    found: dict[str, Value] = {}
    faults: list[Fault] = []
    for name, reader in readers.items():
        text = params.get(name)
        if text is None or text == "":
            continue
        try:
            found[name] = reader(text)
        except ValueError as error:
            faults.append(Fault(name, str(error)))
    if faults:
        raise Malformed(faults)
    return found


def duration(text: str) -> timedelta:
    """`90s`, `15m`, `2h`, `3d`; raises ValueError."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("is not a duration such as 90s, 15m, 2h or 3d")
    length = timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})
    if length > _DURATION_MAX:
        raise ValueError("is longer than a hundred years")
    return length


def whole(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers between two bounds, both included."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= most:
            raise ValueError(f"is not a whole number from {least} to {most}")
        return int(text[:9])

    return read


def moment(text: str) -> datetime:
    """An ISO 8601 moment with its zone, as aware UTC; raises ValueError."""
    return moment_of(text)
