"""SAP Gateway's idempotent services: a request with RequestID and RepeatabilityCreation is carried out once.

Only where an administrator has set the framework up. Where not, a request that asks for it is rejected, and the answer
says so in `RepeatabilityResult`. What the first request came to is what each repetition gets, also where it failed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sandbox.kit.state import State, Table
from sandbox.sap.errors import SapError
from sandbox.sap.odata import Answer

RESULT: Final = "RepeatabilityResult"


class Repeatability:
    """What was answered to requests that asked to be repeatable, while it is `supported`."""

    def __init__(self, state: State) -> None:
        self.supported = False
        self._answered: Table[tuple[str, str], Answer | SapError] = state.table()

    def answer(self, headers: Mapping[str, str], act: Callable[[], Answer]) -> Answer:
        """Carry out a changing request, or repeat what it came to. Raises SapError."""
        key = (headers.get("RequestID", ""), headers.get("RepeatabilityCreation", ""))
        if not all(key):
            return act()
        if not self.supported:
            message = "Idempotent service framework error: check configuration"
            raise SapError(400, "/IWBEP/CM_COS/001", message, headers={RESULT: "unsupported"})
        if len(key[0]) != 32:
            raise SapError(400, "/IWBEP/CM_COS/002", "RequestID is not a GUID of 32 characters")
        found = self._answered.get(key)
        if found is None:
            found = _tried(act)
            self._answered.put(key, found)
        if isinstance(found, SapError):
            raise found
        return replace(found, headers={**found.headers, RESULT: "accepted"})


def _tried(act: Callable[[], Answer]) -> Answer | SapError:
    try:
        return act()
    except SapError as refusal:
        return SapError(refusal.status, refusal.code, refusal.message, refusal.details, headers={RESULT: "accepted"})
