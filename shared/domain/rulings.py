"""What can be ruled on a message: a closed union that every story matches exhaustively."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable code for programs, a sentence for people, what to do where something can be done."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Accept:
    """The change is taken and written."""

    reasons: tuple[Reason, ...] = ()
    kind: Literal["accept"] = "accept"


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to do: already so, our own echo, stale, or not a matter of this flow."""

    reasons: tuple[Reason, ...] = ()
    kind: Literal["unchanged"] = "unchanged"


@dataclass(frozen=True, slots=True)
class Hold:
    """A person decides: a case is opened."""

    reasons: tuple[Reason, ...]
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not allowed by authority: the owner's value is restored or a case tells."""

    reasons: tuple[Reason, ...]
    kind: Literal["refuse"] = "refuse"


Ruling = Accept | Unchanged | Hold | Refuse
