"""A legal entity's own days, months and years: what date a posting bears and which period it falls into."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime

from shared.authority.ledger import FiscalCalendar, LegalEntity
from shared.domain.moments import within_years
from shared.errors import Fault, Malformed


@dataclass(frozen=True, slots=True)
class FiscalPeriod:
    """A period of the books: `year` as SAP names it, `period` 1 to 12."""

    year: int
    period: int


@dataclass(frozen=True, slots=True)
class Month:
    """A month of business dates, as reports are asked for: `yyyy-mm`."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last(self) -> date:
        return date(self.year, self.month, calendar.monthrange(self.year, self.month)[1])

    def __contains__(self, day: date) -> bool:
        return (day.year, day.month) == (self.year, self.month)


def read_month(text: str) -> Month:
    """Read `yyyy-mm`; raises `Malformed` naming the field."""
    try:
        day = date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise Malformed([Fault("period", f"{text!r} is not a month written yyyy-mm")]) from error
    if not within_years(day):
        raise Malformed([Fault("period", f"{text!r} lies outside of the years that books are kept for")])
    return Month(day.year, day.month)


def business_day(moment: datetime, entity: LegalEntity) -> date:
    """The legal entity's calendar day of a moment: at 23:30 in London it is tomorrow in Tokyo."""
    return moment.astimezone(entity.zone).date()


def fiscal_period(day: date, books: FiscalCalendar) -> FiscalPeriod:
    """The period of the books that a posting date falls into."""
    months_in = (day.month - books.first_month) % 12
    starts_in = day.year if day.month >= books.first_month else day.year - 1
    named = starts_in + 1 if books.named_after == "end" and books.first_month > 1 else starts_in
    return FiscalPeriod(named, months_in + 1)
