"""Which function an HTTP request belongs to: the first whose route template and methods both match."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from sandbox.host.runtime import AppNotIndexed, Function

_PARAMETER: Final = re.compile(r"\{(\*{0,2})([A-Za-z_]\w*)((?::[a-z]+(?:\([^)]*\))?)*)(\?)?\}")
_CONSTRAINTS: Final = {
    "": r"[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "bool": r"(?:true|false)",
    "guid": r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
    "decimal": r"-?\d+(?:\.\d+)?",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP function: `methods` empty = any; `level` is anonymous, function or admin."""

    function: Function
    template: str
    methods: frozenset[str]
    level: str
    pattern: re.Pattern[str]


class Routes:
    """The routes of an app in the order in which its functions were indexed."""

    def __init__(self, functions: Sequence[Function], prefix: str) -> None:
        """Raises AppNotIndexed for a template this host cannot read."""
        self._routes = tuple(_route(function, prefix) for function in functions)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a raw (still quoted) path, with its unquoted route values; None = 404."""
        for route in self._routes:
            if route.methods and method not in route.methods:
                continue
            found = route.pattern.fullmatch(path)
            if found is not None:
                return route, {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
        return None


def _route(function: Function, prefix: str) -> Route:
    trigger: Mapping[str, object] = function.trigger
    template = str(trigger.get("route") or function.name).strip("/")
    methods = trigger.get("methods") or ()
    assert isinstance(methods, list | tuple)
    level = str(trigger.get("authLevel", "FUNCTION")).lower()
    whole = f"{prefix}/{template}" if prefix else template
    return Route(function, template, frozenset(str(m).upper() for m in methods), level, _pattern(function, whole))


def _pattern(function: Function, template: str) -> re.Pattern[str]:
    pattern = ""
    for segment in template.split("/"):
        found = _PARAMETER.fullmatch(segment)
        if found is not None:
            catch_all, name, constraint, optional = found.groups()
            kind = constraint.lstrip(":")
            if kind not in _CONSTRAINTS:
                raise AppNotIndexed(f"function {function.name}: route constraint {kind!r} is not served")
            value = f"(?P<{name}>{'.*' if catch_all else _CONSTRAINTS[kind]})"
            pattern += f"(?:/{value})?" if optional or catch_all else f"/{value}"
        elif "{" in segment:
            pattern += "/" + _mixed(function, segment)
        else:
            pattern += "/" + re.escape(segment)
    return re.compile(pattern + "/?", re.IGNORECASE)  # as ASP.NET: case and a trailing slash mean nothing


def _mixed(function: Function, segment: str) -> str:
    """A segment of text and parameters, such as `{year}-{month}`."""
    pattern, end = "", 0
    for found in _PARAMETER.finditer(segment):
        catch_all, name, constraint, optional = found.groups()
        kind = constraint.lstrip(":")
        if catch_all or optional or kind not in _CONSTRAINTS:
            raise AppNotIndexed(f"function {function.name}: route segment {segment!r} is not served")
        value = "[^/]+?" if kind == "" else _CONSTRAINTS[kind]
        pattern += re.escape(segment[end : found.start()]) + f"(?P<{name}>{value})"
        end = found.end()
    rest = segment[end:]
    if "{" in rest or "}" in rest:
        raise AppNotIndexed(f"function {function.name}: route segment {segment!r} is not served")
    return pattern + re.escape(rest)
