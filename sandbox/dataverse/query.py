"""The part of OData's query language that Dataverse speaks: $select, $filter, $orderby, $expand, $top and $count."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Final
from urllib.parse import unquote_plus

from sandbox.dataverse.errors import bad_query

type Comparable = str | int | Decimal | bool | datetime | date | None
type Getter[R] = Callable[[R], Comparable]
type Test[R] = Callable[[R], bool]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<comma>,)"
    r"|(?P<text>'(?:[^']|'')*')"
    r"|(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
    r"|(?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))"
    r"|(?P<day>\d{4}-\d\d-\d\d)"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<enum>[A-Za-z_][\w.]*'(?:[^']|'')*')"
    r"|(?P<name>[A-Za-z_@][\w.]*(?:/[A-Za-z_][\w.]*)*))"
)
_COMPARISONS: Final = ("eq", "ne", "gt", "ge", "lt", "le")
_DEPTH_MAX: Final = 100
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_FUNCTIONS: Final = ("contains", "startswith", "endswith")
_KNOWN_OPTIONS: Final = frozenset(
    {"$select", "$filter", "$orderby", "$expand", "$top", "$count", "$skiptoken", "$deltatoken"}
)


class Family(Enum):
    """What compares with what: a comparison across families is refused."""

    TEXT = "Edm.String"
    NUMBER = "Edm.Decimal"
    FLAG = "Edm.Boolean"
    MOMENT = "Edm.DateTimeOffset"
    GUID = "Edm.Guid"
    ENUM = "Enum"


@dataclass(frozen=True, slots=True)
class Property[R]:
    """A property path of a row: how to read it, the family its values belong to, and of an enumeration its members."""

    path: str
    getter: Getter[R]
    family: Family
    enumeration: str = ""
    members: tuple[str, ...] = ()


type Resolve[R] = Callable[[str], Property[R]]


@dataclass(frozen=True, slots=True)
class Filter[R]:
    """A compiled $filter. `equalities` are conjuncts (path, collated value) that every matching row fulfils."""

    test: Test[R]
    equalities: tuple[tuple[str, Comparable], ...]


@dataclass(frozen=True, slots=True)
class Expand:
    """One $expand item: a navigation property and what to select there."""

    navigation: str
    select: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Options:
    """The query options of one request, split but not yet held against a table."""

    select: tuple[str, ...] | None = None
    filter: str | None = None
    orderby: tuple[tuple[str, bool], ...] = ()
    expand: tuple[Expand, ...] = ()
    top: int | None = None
    count: bool = False
    skiptoken: str | None = None
    deltatoken: str | None = None
    custom: Mapping[str, str] | None = None


def read_query(query: str) -> dict[str, str]:
    """The raw query string as name → value. A name that comes twice is an error in OData; Refused (400)."""
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        name = unquote_plus(name)
        if name in found:
            raise bad_query(
                f"Query option '{name}' was specified more than once, but it must be specified at most once."
            )
        found[name] = unquote_plus(value)
    return found


def read_options(found: Mapping[str, str]) -> Options:
    """Sort the options of a query. Raises Refused (400) for an unknown `$` option and for $skip, which is not there."""
    if "$skip" in found:
        raise bad_query("Skip Clause is not supported in CRM")
    unknown = [name for name in found if name.startswith("$") and name not in _KNOWN_OPTIONS]
    if unknown:
        raise bad_query(f"The query parameter {unknown[0]} is not supported")
    return Options(
        select=_names(found["$select"]) if "$select" in found else None,
        filter=found.get("$filter"),
        orderby=_ordering(found["$orderby"]) if "$orderby" in found else (),
        expand=_expands(found["$expand"]) if "$expand" in found else (),
        top=whole("$top", found["$top"]) if "$top" in found else None,
        count=flag("$count", found["$count"]) if "$count" in found else False,
        skiptoken=found.get("$skiptoken"),
        deltatoken=found.get("$deltatoken"),
        custom={name: value for name, value in found.items() if not name.startswith("$")},
    )


def compile_filter[R](expression: str, resolve: Resolve[R]) -> Filter[R]:
    """A test for rows from a $filter expression; `resolve` knows the property paths. Raises Refused (400).

    Text compares without regard to case, as the database behind Dataverse does; null compares equal to null only.
    """
    return _Parser(expression, resolve).parse()


def collated(value: Comparable) -> Comparable:
    """A value as the database compares it."""
    return value.casefold().rstrip() if isinstance(value, str) else value


def sort_rows[R](rows: Sequence[R], ordering: Sequence[tuple[Getter[R], bool]]) -> list[R]:
    """Rows in order of (getter, descending); nulls come first when ascending, as in SQL Server."""
    result = list(rows)
    for getter, descending in reversed(ordering):
        result.sort(key=lambda row, getter=getter: _sort_key(getter(row)), reverse=descending)  # type: ignore[misc]
    return result


def _sort_key(value: Comparable) -> tuple[bool, object]:
    return (value is not None, 0 if value is None else collated(value))


class _Parser[R]:
    """Recursive descent over: or ← and ← not ← comparison | function | ( or )."""

    def __init__(self, expression: str, resolve: Resolve[R]) -> None:
        self._expression = expression
        self._resolve = resolve
        self._tokens = self._tokenize(expression)
        self._at = 0
        self._equalities: list[tuple[str, Comparable]] = []
        self._conjunction = True
        self._depth = 0

    def parse(self) -> Filter[R]:
        test = self._either()
        if self._at < len(self._tokens):
            raise self._fault()
        return Filter(test, tuple(self._equalities) if self._conjunction else ())

    def _tokenize(self, expression: str) -> list[tuple[str, str]]:
        tokens, position = [], 0
        while position < len(expression.rstrip()):
            found = _TOKEN.match(expression, position)
            if found is None or found.lastgroup is None:
                raise self._fault()
            tokens.append((found.lastgroup, found.group(found.lastgroup)))
            position = found.end()
        return tokens

    def _fault(self) -> Exception:
        return bad_query(f"Syntax error in the expression '{self._expression}' of query option '$filter'.")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self, group: str) -> str:
        found, text = self._peek()
        if found != group:
            raise self._fault()
        self._at += 1
        return text

    def _word(self, *words: str) -> bool:
        if self._peek()[0] == "name" and self._peek()[1] in words:
            self._at += 1
            return True
        return False

    def _either(self) -> Test[R]:
        tests = [self._both()]
        while self._word("or"):
            self._conjunction = False
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> Test[R]:
        tests = [self._negation()]
        while self._word("and"):
            tests.append(self._negation())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _negation(self) -> Test[R]:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise bad_query(f"The recursion limit of {_DEPTH_MAX} of query option '$filter' has been exceeded.")
        try:
            if not self._word("not"):
                return self._primary()
            self._conjunction = False
            test = self._negation()
            return lambda row: not test(row)
        finally:
            self._depth -= 1

    def _primary(self) -> Test[R]:
        group, text = self._peek()
        if group == "open":
            self._at += 1
            test = self._either()
            self._take("close")
            return test
        if group == "name" and text in _FUNCTIONS:
            return self._function(text)
        if group != "name":
            raise self._fault()
        self._at += 1
        found = self._resolve(text)
        operator = self._take("name")
        if operator not in _COMPARISONS:
            raise self._fault()
        literal = self._literal(found, operator)
        if operator == "eq" and literal is not None:
            self._equalities.append((found.path, collated(literal)))
        return _comparison(found.getter, operator, literal)

    def _function(self, name: str) -> Test[R]:
        self._at += 1
        self._take("open")
        found = self._resolve(self._take("name"))
        if found.family is not Family.TEXT:
            raise bad_query(
                f"No function signature for the function with name '{name}' matches the specified arguments."
            )
        getter = found.getter
        self._take("comma")
        part = collated(_unquoted(self._take("text")))
        self._take("close")
        if not isinstance(part, str):
            raise self._fault()
        wanted = part

        def test(row: R) -> bool:
            value = getter(row)
            if not isinstance(value, str):
                return False
            text = value.casefold()
            match name:
                case "contains":
                    return wanted in text
                case "startswith":
                    return text.startswith(wanted)
                case _:
                    return text.endswith(wanted)

        return test

    def _literal(self, found: Property[R], operator: str) -> Comparable:
        group, text = self._peek()
        self._at += 1
        try:
            literal, own = self._read(found, group, text, operator)
        except ValueError as fault:  # the right form, and yet no such day
            raise self._fault() from fault
        if literal is not None and own is not found.family:
            raise bad_query(
                "A binary operator with incompatible types was detected. Found operand types "
                f"'{found.family.value}' and '{own.value}' for operator kind '{operator}'."
            )
        return literal

    def _read(self, found: Property[R], group: str, text: str, operator: str) -> tuple[Comparable, Family]:
        match group:
            case "text":
                return _unquoted(text), Family.TEXT
            case "guid":
                return text.lower(), Family.GUID
            case "enum":
                kind, member = text[: text.index("'")], _unquoted(text[text.index("'") :])
                if found.family is Family.ENUM and (kind != found.enumeration or member not in found.members):
                    raise bad_query(f"The string '{text}' is not a valid enumeration type constant.")
                return member, Family.ENUM
            case "instant":
                return datetime.fromisoformat(text).astimezone(UTC), Family.MOMENT
            case "day":
                return date.fromisoformat(text), Family.MOMENT
            case "number":
                return _number(text), Family.NUMBER
            case "name" if text in {"true", "false"}:
                return text == "true", Family.FLAG
            case "name" if text == "null" and operator in {"eq", "ne"}:
                return None, found.family
            case _:
                raise self._fault()


def _comparison[R](getter: Getter[R], operator: str, literal: Comparable) -> Test[R]:
    wanted = collated(literal)

    def test(row: R) -> bool:
        value = collated(getter(row))
        if operator == "eq":
            return _same_moment_type(value, wanted) == wanted
        if operator == "ne":
            return _same_moment_type(value, wanted) != wanted
        if value is None or wanted is None:
            return False
        comparable = _same_moment_type(value, wanted)
        match operator:
            case "gt":
                return bool(comparable > wanted)  # type: ignore[operator]
            case "ge":
                return bool(comparable >= wanted)  # type: ignore[operator]
            case "lt":
                return bool(comparable < wanted)  # type: ignore[operator]
            case _:
                return bool(comparable <= wanted)  # type: ignore[operator]

    return test


def _same_moment_type(value: Comparable, wanted: Comparable) -> Comparable:
    """An instant held against a day counts by its day, a day held against an instant by its first moment."""
    if isinstance(value, datetime) and isinstance(wanted, date) and not isinstance(wanted, datetime):
        return value.date()
    if isinstance(value, date) and not isinstance(value, datetime) and isinstance(wanted, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as fault:  # an exponent beyond all reason
        raise ValueError(text) from fault


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _ordering(text: str) -> tuple[tuple[str, bool], ...]:
    result = []
    for item in _names(text):
        name, _, direction = item.partition(" ")
        if direction.strip() not in {"", "asc", "desc"}:
            raise bad_query(f"Syntax error in the expression '{text}' of query option '$orderby'.")
        result.append((name, direction.strip() == "desc"))
    return tuple(result)


def _expands(text: str) -> tuple[Expand, ...]:
    found = []
    for item in _split_outside_parentheses(text):
        name, parenthesis, rest = item.strip().partition("(")
        select = None
        if parenthesis:
            if not rest.endswith(")"):
                raise bad_query(f"Syntax error in the expression '{text}' of query option '$expand'.")
            for option in filter(None, rest[:-1].split(";")):
                key, _, value = option.strip().partition("=")
                if key != "$select":
                    raise bad_query(f"The query option '{key}' inside $expand is not supported")
                select = _names(value)
        found.append(Expand(name, select))
    return tuple(found)


def _split_outside_parentheses(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def whole(name: str, text: str) -> int:
    """The number an option gives. Raises Refused (400) where it is none, or more than Edm.Int32 holds."""
    if not _WHOLE.fullmatch(text):
        raise bad_query(
            f"Invalid value '{text[:20]}' for {name} query option found. It requires a non-negative integer."
        )
    return int(text)


def flag(name: str, text: str) -> bool:
    """The truth an option gives. Raises Refused (400) where it is none."""
    if text not in {"true", "false"}:
        raise bad_query(f"Invalid value '{text}' for {name} query option found.")
    return text == "true"
