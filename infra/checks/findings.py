"""What a check found, in one sentence with its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`where` is a file and what stands in it; `what` says what is wrong and what would be right."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Unsupported(Exception):
    """An expression beyond the plain subset that these checks understand."""
