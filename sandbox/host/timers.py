"""Timers: each fires on demand, and on its schedule when the host was asked to; never twice at once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sandbox.host.ncrontab import Schedule, ScheduleRefused, parse
from sandbox.host.protos import TypedData
from sandbox.host.runtime import Function, Invoked, Invoker
from sandbox.host.settings import SettingsRefused, resolve
from sandbox.host.trace import trace_of
from sandbox.kit import exact_json

_NEVER: Final = "0001-01-01T00:00:00+00:00"


class Timer:
    """One timer function and when it last fired."""

    def __init__(self, function: Function, invoker: Invoker) -> None:
        """Raises SettingsRefused naming the function when its schedule cannot be read."""
        self.function = function
        self._invoker = invoker
        self._turn = asyncio.Lock()
        self._last: datetime | None = None
        try:
            self.schedule: Schedule = parse(resolve(str(function.trigger["schedule"])))
        except (ScheduleRefused, SettingsRefused) as fault:
            raise SettingsRefused(f"function {function.name}: {fault}") from fault

    @property
    def runs_on_startup(self) -> bool:
        """Whether the trigger asks to fire when the host starts."""
        return bool(self.function.trigger.get("runOnStartup", False))

    async def fire(self, *, is_past_due: bool = False) -> Invoked:
        """Run the function; waits while it is running already."""
        async with self._turn:
            now = datetime.now(UTC)
            stated = {
                "Schedule": {"AdjustForDST": True},
                "ScheduleStatus": {
                    "Last": self._last.isoformat() if self._last else _NEVER,
                    "Next": self.schedule.after(now).isoformat(),
                    "LastUpdated": self._last.isoformat() if self._last else _NEVER,
                },
                "IsPastDue": is_past_due,
            }
            self._last = now
            data = TypedData(json=exact_json.dumps(stated).decode())
            return await self._invoker.invoke(self.function, data, {}, trace_of(None))

    async def keep_schedule(self) -> None:
        """Fire at each due time until cancelled. A due time that passes while the function runs is caught up once."""
        if self.runs_on_startup:
            await self.fire()
        due = self.schedule.after(datetime.now(UTC))
        while True:
            late_seconds = (datetime.now(UTC) - due).total_seconds()
            if late_seconds < 0:
                await asyncio.sleep(-late_seconds)
                late_seconds = 0.0
            await self.fire(is_past_due=late_seconds > 1)
            due = self.schedule.after(max(due, datetime.now(UTC) if late_seconds > 1 else due))


def timers_of(functions: Sequence[Function], invoker: Invoker) -> tuple[Timer, ...]:
    """The timers among the functions. Raises SettingsRefused."""
    return tuple(Timer(function, invoker) for function in functions if function.kind == "timerTrigger")
