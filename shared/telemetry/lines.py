"""Log lines: one JSON object for each outcome and each failed attempt.

Keys, rulings, codes and ids only. The text of an exception is never logged: it may quote what a customer wrote, or
what another system answered about one. Its type, its code and its place say where to look; the case says the rest.
"""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import PurePath

_LOG = logging.getLogger("concord")
_PLACES_MAX = 4


def log_outcome(flow: str, **fields: object) -> None:
    """One line per outcome: flow, key, correlation id, ruling, reason, policy version."""
    _LOG.info("%s", json.dumps({"flow": flow, **fields}, default=str))


def log_fault(flow: str, error: BaseException, **fields: object) -> None:
    """One line per failed attempt: the exception's type, its code and system where it has them, and where it arose."""
    known = {name: value for name in ("code", "system", "status") if (value := getattr(error, name, None)) is not None}
    line = {"flow": flow, "error": type(error).__name__, **known, "where": _places(error), **fields}
    _LOG.warning("%s", json.dumps(line, default=str))


def _places(error: BaseException) -> list[str]:
    """The innermost places in the code, last first."""
    frames = traceback.extract_tb(error.__traceback__)[-_PLACES_MAX:]
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
