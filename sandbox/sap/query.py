"""Query options of OData V2: `$filter`, `$orderby`, `$select`, `$expand`, `$top`, `$skip`."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sandbox.sap.edm import Edm, EntitySet, EntityType, Hints, Property, Service, Value
from sandbox.sap.errors import SapError, bad_property
from sandbox.sap.values import comparable, from_literal

type Predicate = Callable[[Any], bool]
type Expand = dict[str, "Expand"]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<literal>(?:datetimeoffset|datetime|guid|time)?'(?:[^']|'')*'|[+-]?\d+(?:\.\d+)?[MmDdFfL]?|"
    r"\b(?:true|false|null)\b)|(?P<word>[A-Za-z_][\w/]*)|(?P<mark>[(),]))"
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "gt": lambda a, b: bool(a > b),
    "ge": lambda a, b: bool(a >= b),
    "lt": lambda a, b: bool(a < b),
    "le": lambda a, b: bool(a <= b),
}
_TEXT: Final[dict[str, Callable[[str, str], bool]]] = {
    "substringof": lambda text, part: part in text,
    "startswith": lambda text, part: text.startswith(part),
    "endswith": lambda text, part: text.endswith(part),
}
_WHOLE: Final = re.compile(r"[0-9]{1,9}")  # Edm.Int32 at most
_NESTING_MAX: Final = 100
_OPTIONS: Final = frozenset(
    {"$filter", "$orderby", "$select", "$expand", "$top", "$skip", "$inlinecount", "$skiptoken", "$format"}
)


@dataclass(frozen=True, slots=True)
class Compare:
    """`property operator literal`."""

    name: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class TextTest:
    """`substringof('part', property)`, `startswith(property, 'part')`, `endswith(property, 'part')`."""

    name: str
    function: str
    part: str
    expected: bool = True


@dataclass(frozen=True, slots=True)
class Junction:
    """Several conditions joined by `and` or `or`."""

    operator: str
    parts: "tuple[Condition, ...]"


@dataclass(frozen=True, slots=True)
class Negation:
    """`not (condition)`."""

    part: "Condition"


type Condition = Compare | TextTest | Junction | Negation


@dataclass(frozen=True, slots=True)
class Query:
    """The query options of one read. `top` None = as many as a page holds."""

    condition: Condition | None
    order: tuple[tuple[str, bool], ...]
    select: frozenset[str] | None
    expand: Expand
    top: int | None
    skip: int
    inline_count: bool


def once(options: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The options of an address by name. Raises SapError 400 where a system option comes twice."""
    found: dict[str, str] = {}
    for name, text in options:
        if name.startswith("$") and name in found:
            raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", f"System query option {name} is given more than once")
        found[name] = text
    return found


def whole_number(text: str) -> int | None:
    """A count or a position, or None where the text is none."""
    return int(text) if _WHOLE.fullmatch(text) else None


def parse(service: Service, entity_set: EntitySet, options: Mapping[str, str]) -> Query:
    """Read the query options. Raises SapError 400 for anything this set does not know."""
    for name in options:
        if name.startswith("$") and name not in _OPTIONS:
            raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", f"Invalid system query option {name}")
    if options.get("$format", "json") not in {"json", "application/json"}:
        raise SapError(415, "/IWBEP/CM_MGW_RT/176", "The requested resource representation is not supported")
    expand = parse_expand(service, entity_set, options.get("$expand", ""))
    return Query(
        condition=parse_filter(entity_set.type, options["$filter"]) if options.get("$filter", "").strip() else None,
        order=_parse_order(entity_set.type, options.get("$orderby", "")),
        select=_parse_select(entity_set.type, options.get("$select", "")),
        expand=expand,
        top=_whole(options, "$top"),
        skip=_whole(options, "$skip") or 0,
        inline_count=_inline_count(options.get("$inlinecount", "none")),
    )


def hints(condition: Condition | None) -> Hints:
    """Per property, the only values a row can have; gathered from equalities that `and` (or one `or` of one) joins."""
    match condition:
        case Compare(name, "eq", value):
            return {name: frozenset({value})}
        case Junction("and", parts):
            found: dict[str, frozenset[Value]] = {}
            for part in parts:
                for name, values in hints(part).items():
                    found[name] = found[name] & values if name in found else values
            return found
        case Junction("or", parts):
            alternatives = [hints(part) for part in parts]
            shared = set(alternatives[0]).intersection(*alternatives[1:])
            return {name: frozenset().union(*(one[name] for one in alternatives)) for name in shared}
        case _:
            return {}


def predicate(entity_set: EntitySet, condition: Condition) -> Predicate:
    """A function that tests one row."""
    value_of = entity_set.value
    match condition:
        case Compare(name, operator, expected):
            compare, wanted = _COMPARE[operator], comparable(expected)
            if isinstance(wanted, str | bool) and operator in {"eq", "ne"}:
                return lambda row: compare(value_of(row, name), wanted)

            def test(row: Any) -> bool:
                value = comparable(value_of(row, name))
                if value is None or wanted is None:
                    return operator in {"eq", "ne"} and compare(value, wanted)
                return compare(value, wanted)

            return test
        case TextTest(name, function, part, expected_truth):
            matches = _TEXT[function]
            return lambda row: matches(str(value_of(row, name)), part) is expected_truth
        case Negation(part_condition):
            inner = predicate(entity_set, part_condition)
            return lambda row: not inner(row)
        case Junction(operator, parts):
            tests = [predicate(entity_set, one) for one in parts]
            if operator == "and":
                return lambda row: all(one(row) for one in tests)
            return lambda row: any(one(row) for one in tests)


def parse_expand(service: Service, entity_set: EntitySet, text: str) -> Expand:
    """`to_Item/to_ScheduleLine,to_Partner` as a tree of navigations. Raises SapError 400 for an unknown one."""
    tree: Expand = {}
    for path in filter(None, (part.strip() for part in text.split(","))):
        branch, here = tree, entity_set
        for name in path.split("/"):
            navigation = here.type.navigations.get(name)
            if navigation is None:
                raise SapError(
                    400, "/IWBEP/CM_MGW_RT/021", f"Navigation property {name} not found in type {here.type.name}"
                )
            branch, here = branch.setdefault(name, {}), service.sets[navigation.target]
    return tree


def parse_filter(entity_type: EntityType, text: str) -> Condition:
    """Parse a `$filter`. Raises SapError 400."""
    return _parse_filter_cached(entity_type.name, text, _Types(entity_type))


class _Types:
    """Lets the cache below key on the type's name alone."""

    def __init__(self, entity_type: EntityType) -> None:
        self.entity_type = entity_type

    def __hash__(self) -> int:
        return hash(self.entity_type.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Types) and other.entity_type.name == self.entity_type.name


@lru_cache(maxsize=512)
def _parse_filter_cached(_: str, text: str, types: _Types) -> Condition:
    parser = _Parser(types.entity_type, _tokens(text))
    condition = parser.either()
    parser.end()
    return condition


def _syntax(message: str) -> SapError:
    return SapError(400, "/IWCOR/CX_DS_EXPR_SYNTAX_ERROR", f"Invalid filter: {message}")


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position, text = [], 0, text.strip()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or token.lastgroup is None:
            raise _syntax(f"unexpected {text[position : position + 20]!r} at position {position}")
        found.append((token.lastgroup, token[token.lastgroup]))
        position = token.end()
    return found


class _Parser:
    """Recursive descent over `or`, `and`, `not`, comparisons, text functions and parentheses."""

    def __init__(self, entity_type: EntityType, tokens: list[tuple[str, str]]) -> None:
        self._type = entity_type
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def either(self) -> Condition:
        parts = [self._both()]
        while self._accept("word", "or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Junction("or", tuple(parts))

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise _syntax(f"unexpected {self._tokens[self._next][1]!r}")

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._accept("word", "and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else Junction("and", tuple(parts))

    def _one(self) -> Condition:
        if self._accept("word", "not"):
            with self._deeper():
                return Negation(self._one())
        if self._accept("mark", "("):
            with self._deeper():
                condition = self.either()
            self._expect("mark", ")")
            return condition
        word = self._expect("word")
        if self._accept("mark", "("):
            return self._function(word)
        declared = self._property(word)
        operator = self._expect("word")
        if operator not in _COMPARE:
            raise _syntax(f"unknown operator {operator!r}")
        return Compare(word, operator, from_literal(declared, self._expect("literal")))

    def _function(self, function: str) -> Condition:
        if function not in _TEXT:
            raise _syntax(f"function {function!r} is not supported")
        if function == "substringof":
            part = self._expect("literal")
            self._expect("mark", ",")
            name = self._expect("word")
        else:
            name = self._expect("word")
            self._expect("mark", ",")
            part = self._expect("literal")
        self._expect("mark", ")")
        declared = self._property(name)
        if declared.edm is not Edm.STRING:
            raise _syntax(f"{function} needs text; {name} is {declared.edm}")
        expected = True
        if self._accept("word", "eq"):
            truth = self._expect("literal")
            if truth not in {"true", "false"}:
                raise _syntax(f"{function} gives true or false, never {truth}")
            expected = truth == "true"
        return TextTest(name, function, str(from_literal(declared, part)), expected)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > _NESTING_MAX:
            raise _syntax(f"nested more than {_NESTING_MAX} levels deep")
        yield
        self._depth -= 1

    def _property(self, name: str) -> Property:
        return _declared(self._type, name)

    def _accept(self, kind: str, text: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == (kind, text):
            self._next += 1
            return True
        return False

    def _expect(self, kind: str, text: str | None = None) -> str:
        if self._next >= len(self._tokens):
            raise _syntax("it ends too early")
        found_kind, found = self._tokens[self._next]
        if found_kind != kind or (text is not None and found != text):
            raise _syntax(f"{text or kind} was expected, not {found!r}")
        self._next += 1
        return found


def _declared(entity_type: EntityType, name: str) -> Property:
    declared = entity_type.properties.get(name)
    if declared is None:
        raise bad_property(
            name, f"Property {name} not found in type {entity_type.name}", "005056A509B11EE1B9A8FEC11C23378E"
        )
    return declared


def _parse_order(entity_type: EntityType, text: str) -> tuple[tuple[str, bool], ...]:
    order = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, direction = part.partition(" ")
        if direction.strip() not in {"", "asc", "desc"}:
            raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", f"Invalid $orderby: {part}")
        order.append((_declared(entity_type, name).name, direction.strip() == "desc"))
    return tuple(order)


def _parse_select(entity_type: EntityType, text: str) -> frozenset[str] | None:
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names or "*" in names:
        return None
    for name in names:
        if name.partition("/")[0] not in entity_type.navigations:
            _declared(entity_type, name)
    return frozenset(names)


def _whole(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    number = whole_number(text)
    if number is None:
        raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", f"Invalid value {text[:20]!r} for {name}")
    return number


def _inline_count(text: str) -> bool:
    if text not in {"none", "allpages"}:
        raise SapError(400, "/IWCOR/CX_OD_BAD_REQUEST", f"Invalid value {text!r} for $inlinecount")
    return text == "allpages"
