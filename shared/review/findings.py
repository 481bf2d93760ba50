"""What a review finds: an error stops a deployment, a warning is for a person to weigh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`where` is a place in a policy file, a mapping or a metadata document; `remedy` is what to do about it."""

    level: Literal["error", "warning"]
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.where}: {self.what}; {self.remedy}"


def error(where: str, what: str, remedy: str) -> Finding:
    return Finding("error", where, what, remedy)


def warning(where: str, what: str, remedy: str) -> Finding:
    return Finding("warning", where, what, remedy)
