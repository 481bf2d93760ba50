"""Six-field NCRONTAB schedules in UTC: second minute hour day month day-of-week."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS: Final = {name: n for n, name in enumerate(_MONTH_NAMES, 1)}
_DAYS: Final = {name: n for n, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_PART: Final = re.compile(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d+))?")
_YEARS_AHEAD: Final = 8  # the 29th of February can be that far away


class ScheduleRefused(ValueError):
    """The text is not a schedule; it names the field at fault."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The seconds, minutes, … at which a timer fires; a day must match both day of month and day of week."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def after(self, instant: datetime) -> datetime:
        """The first firing later than `instant` (aware UTC). Raises ScheduleRefused when there is none for years."""
        moment = instant.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        last_year = moment.year + _YEARS_AHEAD
        while moment.year <= last_year:
            if not self._is_day(moment):
                moment = moment.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif moment.hour not in self.hours:
                moment = moment.replace(minute=0, second=0) + timedelta(hours=1)
            elif moment.minute not in self.minutes:
                moment = moment.replace(second=0) + timedelta(minutes=1)
            elif moment.second not in self.seconds:
                moment += timedelta(seconds=1)
            else:
                return moment
        raise ScheduleRefused("the schedule never fires")

    def _is_day(self, moment: datetime) -> bool:
        return moment.month in self.months and moment.day in self.days and moment.isoweekday() % 7 in self.weekdays


def parse(text: str) -> Schedule:
    """Read a schedule of six fields (five: the second is 0). Raises ScheduleRefused."""
    fields = text.split()
    if len(fields) == 5:
        fields.insert(0, "0")
    if len(fields) != 6:
        raise ScheduleRefused(f"{text!r} has {len(fields)} fields, not six")
    weekdays = _field("day of week", fields[5], 0, 7, _DAYS)
    return Schedule(
        _field("second", fields[0], 0, 59),
        _field("minute", fields[1], 0, 59),
        _field("hour", fields[2], 0, 23),
        _field("day", fields[3], 1, 31),
        _field("month", fields[4], 1, 12, _MONTHS),
        frozenset(day % 7 for day in weekdays),
    )


def _field(name: str, text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ScheduleRefused(f"{name}: {part!r} is not understood")
        star, first, last, step = found.groups()
        if star == "*":
            start, end = low, high
        else:
            start = _number(name, first, names)
            end = _number(name, last, names) if last else (high if step else start)
        if not low <= start <= end <= high or (step is not None and int(step) == 0):
            raise ScheduleRefused(f"{name}: {part!r} is outside {low}-{high}")
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)


def _number(name: str, text: str, names: dict[str, int] | None) -> int:
    if text.isdecimal():
        return int(text)
    if names and text[:3].lower() in names:
        return names[text[:3].lower()]
    raise ScheduleRefused(f"{name}: {text!r} is not understood")
