"""Moments and days that other systems send, read at the edge within the years that every calendar here computes with.

Outside of them a time zone or a month's end may lie beyond what a date can hold, and no business date ever lies there:
the first of January of the year 1 is how .NET writes a date that nobody set.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

YEARS = range(1900, 2200)


def moment_of(value: object) -> datetime:
    """An aware moment, in UTC, from ISO 8601 text with its time zone. Raises ValueError saying what is wrong."""
    moment = _parsed(value)
    if moment.tzinfo is None:
        raise ValueError("has no time zone")
    return moment.astimezone(UTC)


def moment_or_utc_of(value: object) -> datetime:
    """An aware moment in the time zone it was written in; without one it means UTC, as Retail Server means it."""
    moment = _parsed(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def day_of(value: object) -> date:
    """A calendar day from ISO 8601 text; a time of day beside it is left out. Raises ValueError."""
    return _parsed(value).date()


def within_years(moment: date) -> bool:
    """Whether calendars can compute with it, a day to either side included."""
    return moment.year in YEARS


def _parsed(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"is {type(value).__name__}, not ISO 8601 text")
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError("is not ISO 8601 text of a date or time") from None
    if not within_years(moment):
        raise ValueError(f"lies outside of the years {YEARS[0]} to {YEARS[-1]}")
    return moment
