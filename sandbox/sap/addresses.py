"""Resource paths of OData: what `A_Customer('C-1')/to_CustomerCompany` leads to, and what a row's own address is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from sandbox.sap.edm import EntitySet, EntityType, Hints, Navigation, Service, Value
from sandbox.sap.errors import SapError, not_found
from sandbox.sap.values import comparable, from_literal, literal

_SEGMENT: Final = re.compile(r"(?P<name>[\w$]+)(?:\((?P<key>.*)\))?", re.DOTALL)
_KEY_PART: Final = re.compile(r"\s*(?:(?P<name>\w+)\s*=\s*)?(?P<value>(?:\w+)?'(?:[^']|'')*'|[^',]+)\s*(?:,|$)")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path leads to: a set, or one row of it; `navigated` narrows a set to the children of a row."""

    entity_set: EntitySet
    row: Any = None
    navigated: Hints | None = None
    counting: bool = False


def entity_url(base_url: str, entity_set: EntitySet, row: Any) -> str:
    """The canonical address of a row."""
    keys = entity_set.type.keys
    given = [literal(entity_set.value(row, key.name), key) for key in keys]
    inner = given[0] if len(keys) == 1 else ",".join(f"{k.name}={v}" for k, v in zip(keys, given, strict=True))
    return f"{base_url}/{entity_set.name}({inner})"


def etag_of(entity_set: EntitySet, row: Any) -> str | None:
    """The weak ETag of a row, where its type has one."""
    declared = entity_set.type.etag
    if declared is None:
        return None
    return f'W/"{literal(entity_set.value(row, declared.name), declared)}"'


def resolve(service: Service, path: str) -> Target:
    """What a path leads to. Raises SapError 404, or 400 for a malformed key."""
    segments = _segments(path)
    name, key = segments[0]
    entity_set = service.sets.get(name)
    if entity_set is None:
        raise not_found(f"Resource not found for segment '{name}'")
    target = Target(entity_set) if key is None else Target(entity_set, _row(entity_set, _key(entity_set.type, key)))
    for name, key in segments[1:]:
        if name == "$count":
            target = Target(target.entity_set, target.row, target.navigated, counting=True)
            continue
        navigation = target.entity_set.type.navigations.get(name)
        if navigation is None or target.row is None:
            raise not_found(f"Resource not found for segment '{name}'")
        there = service.sets[navigation.target]
        narrowed = narrow(target.entity_set, target.row, navigation)
        if key is not None:
            target = Target(there, _row(there, {**single(narrowed), **_key(there.type, key, partial=True)}))
        elif navigation.many:
            target = Target(there, navigated=narrowed)
        else:
            found = matching(there, narrowed)
            if not found:
                raise not_found("Resource not found for segment")
            target = Target(there, found[0])
    return target


def _segments(path: str) -> list[tuple[str, str | None]]:
    """Split at slashes outside quotes; a key predicate stays with its name."""
    found: list[tuple[str, str | None]] = []
    for raw in _pieces(unquote(path)):
        segment = _SEGMENT.fullmatch(raw)
        if segment is None:
            raise not_found(f"Resource not found for segment '{raw}'")
        found.append((segment["name"], segment["key"]))
    return found


def _pieces(path: str) -> list[str]:
    """One walk, no pattern that backtracks: what a caller may write here must not cost more than it is long."""
    found, quoted = [""], False
    for character in path:
        quoted ^= character == "'"
        if character == "/" and not quoted:
            found.append("")
        else:
            found[-1] += character
    return [piece for piece in found if piece]


def _key(entity_type: EntityType, text: str, *, partial: bool = False) -> dict[str, Value]:
    keys = {key.name: key for key in entity_type.keys}
    given: dict[str, Value] = {}
    position = 0
    while position < len(text):
        part = _KEY_PART.match(text, position)
        if part is None:
            raise SapError(400, "/IWCOR/CX_DS_KEY_SYNTAX_ERROR", f"Malformed key ({text})")
        name = part["name"] or (next(iter(keys)) if len(keys) == 1 else "")
        if name not in keys:
            raise SapError(400, "/IWCOR/CX_DS_KEY_PROPERTY_UNKNOWN", f"Invalid key predicate type for '{name}'")
        if name in given:
            raise SapError(400, "/IWCOR/CX_DS_KEY_SYNTAX_ERROR", f"Malformed key ({text}): two values for {name}")
        given[name] = from_literal(keys[name], part["value"].strip())
        position = part.end()
    if not partial and set(given) != set(keys):
        raise SapError(400, "/IWCOR/CX_DS_KEY_INCOMPLETE", f"The key ({text}) needs {', '.join(keys)}")
    return given


def _row(entity_set: EntitySet, key: Mapping[str, Value]) -> Any:
    found = matching(entity_set, {name: frozenset({value}) for name, value in key.items()})
    if not found:
        raise not_found(f"Resource not found for segment '{entity_set.type.name}'")
    return found[0]


def single(narrowed: Hints) -> dict[str, Value]:
    """The one value of each property."""
    return {name: next(iter(values)) for name, values in narrowed.items()}


def narrow(entity_set: EntitySet, row: Any, navigation: Navigation) -> Hints:
    """The equalities that lead from a row along a navigation."""
    return {theirs: frozenset({entity_set.value(row, own)}) for own, theirs in navigation.on}


def matching(entity_set: EntitySet, equal: Hints) -> list[Any]:
    """The rows that have one of the wanted values in each property named."""
    wanted = [(name, {comparable(value) for value in values}) for name, values in equal.items()]
    value_of = entity_set.value
    return [
        row
        for row in entity_set.rows(equal)
        if all(comparable(value_of(row, name)) in values for name, values in wanted)
    ]
