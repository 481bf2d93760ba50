"""Times and days as SAP's OData V2 writes them: `/Date(ms)/`, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from shared.errors import Fault, Malformed

_DATE = re.compile(r"^/Date\((-?\d{1,15})([+-]\d{4})?\)/$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: object) -> datetime | None:
    """Aware UTC of `/Date(ms)/` (SAP's milliseconds are UTC already; an offset is only for display). None for null."""
    if value is None:
        return None
    found = _DATE.match(value) if isinstance(value, str) else None
    if found is None:
        raise Malformed([Fault("date", f"{value!r} is not /Date(ms)/")])
    try:
        return _EPOCH + timedelta(milliseconds=int(found[1]))
    except OverflowError as error:
        raise Malformed([Fault("date", f"{value} is beyond any calendar")]) from error


def day(value: object) -> date | None:
    """The calendar day of a `/Date(ms)/` that stands for one (Edm.DateTime without a time)."""
    at = moment(value)
    return None if at is None else at.date()


def stamp(value: datetime | date) -> str:
    """A time or a day as `/Date(ms)/`."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return f"/Date({(value - _EPOCH) // timedelta(milliseconds=1)})/"
