"""The ruling on a change of fields: who owns each, and what becomes of a change by somebody else. Pure.

A change from the owner is taken. A change from a reader is restored, held for a person, or taken once, as the
authority file says. Coupled fields (an amount and its currency) share one fate, the strictest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.authority.ownership import Authority, System

Fate = Literal["take", "same", "restore", "hold", "accept_once"]
_STRICTNESS: tuple[Fate, ...] = ("same", "take", "accept_once", "restore", "hold")


@dataclass(frozen=True, slots=True)
class FieldFate:
    """What becomes of one field: `old` is the owner's value where the change came from a reader, else the readers'."""

    name: str
    old: Any
    new: Any
    source: System
    owner: System
    readers: tuple[System, ...]
    fate: Fate


def rule_on(
    authority: Authority,
    object_name: str,
    *,
    source: System,
    changed: Mapping[str, Any],
    standing: Mapping[str, Any],
    legal_entity: str = "",
    stage: str = "",
    restored: Mapping[str, int] | None = None,
) -> tuple[FieldFate, ...]:
    """Rule on the governed fields among `changed`, against the value that stands for each in `standing`.

    `restored` counts how often each field was restored within the window; beyond the authority's limit two systems
    are fighting, and a person decides.
    """
    fates: dict[str, FieldFate] = {}
    for name, new in changed.items():
        if name not in authority.objects.get(object_name, {}):
            continue
        rule = authority.rule(object_name, name, legal_entity=legal_entity, stage=stage)
        old = standing.get(name)
        fate: Fate
        if name in standing and old == new:
            fate = "same"
        elif rule.owner == source:
            fate = "take"
        elif rule.on_conflict == "restore" and (restored or {}).get(name, 0) >= authority.restores.most:
            fate = "hold"
        else:
            fate = rule.on_conflict
        fates[name] = FieldFate(name, old, new, source, rule.owner, rule.readers, fate)
    return tuple(_together(authority, object_name, fate, fates) for fate in fates.values())


def _together(authority: Authority, object_name: str, one: FieldFate, fates: Mapping[str, FieldFate]) -> FieldFate:
    """A field with the strictest fate among those it is ruled on with, unless it did not change itself."""
    if one.fate == "same":
        return one
    coupled = authority.objects[object_name][one.name].coupled
    strictest = max((one, *(fates[name] for name in coupled if name in fates)), key=_strictness)
    return FieldFate(one.name, one.old, one.new, one.source, one.owner, one.readers, strictest.fate)


def _strictness(fate: FieldFate) -> int:
    return _STRICTNESS.index(fate.fate)
