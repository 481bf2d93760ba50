"""Subscription rules: the SQL filter language of Service Bus, and correlation filters.

SQL has three truth values. A property a message does not carry is NULL, a comparison with NULL is unknown (None
here), NOT unknown is unknown, and only true selects a message: `kind <> 'x'` does not select a message without `kind`.
Values of different types that cannot be compared give unknown as well. Expressions are parsed once into closures.

The language: `= <> != < <= > >=`, AND, OR, NOT, `IS [NOT] NULL`, `[NOT] IN (…)`, `[NOT] LIKE … [ESCAPE …]`,
EXISTS (…), arithmetic `+ - * / %`, parentheses, strings with `''`, numbers, TRUE, FALSE, NULL, properties as `name`,
`user.name`, `sys.Name`, `[name]`, `"name"`, and `property(name)`. Names and keywords do not depend on case.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final, Protocol

from sandbox.broker.message import Content

type Truth = bool | None
type _Expression = Callable[["_View"], Any]


class FilterError(ValueError):
    """A filter expression that does not follow the grammar; the message says where."""


class Filter(Protocol):
    """What a rule asks of a message."""

    def selects(self, content: Content) -> bool:
        """Whether the message belongs in the subscription."""
        ...


class TrueFilter:
    """The `$Default` rule: every message."""

    def selects(self, content: Content) -> bool:
        return True


class CorrelationFilter:
    """Equality of every given system and user property."""

    SYSTEM_NAMES: ClassVar[tuple[str, ...]] = (
        "ContentType",
        "CorrelationId",
        "Label",
        "MessageId",
        "ReplyTo",
        "ReplyToSessionId",
        "SessionId",
        "To",
    )

    def __init__(self, system: dict[str, str], user: dict[str, Any]) -> None:
        self._system = tuple((_SYSTEM_FIELDS[name.lower()], value) for name, value in system.items())
        self._user = tuple((name.lower(), value) for name, value in user.items())

    def selects(self, content: Content) -> bool:
        view = _View(content)
        return all(content.properties[index] == value for index, value in self._system) and all(
            view.user(name) == value for name, value in self._user
        )


class SqlFilter:
    """A SQL filter expression. Raises `FilterError` where it cannot be parsed."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._evaluate = _Parser(expression).parse()

    def selects(self, content: Content) -> bool:
        return self._evaluate(_View(content)) is True

    def __repr__(self) -> str:
        return f"SqlFilter({self.expression!r})"


_SYSTEM_FIELDS: Final = {
    "messageid": 0,
    "to": 2,
    "label": 3,
    "subject": 3,
    "replyto": 4,
    "correlationid": 5,
    "contenttype": 6,
    "sessionid": 10,
    "replytosessionid": 12,
}


class _View:
    """The properties of a message by name, whatever their case."""

    __slots__ = ("_content", "_user")

    def __init__(self, content: Content) -> None:
        self._content = content
        self._user: dict[str, Any] | None = None

    def user(self, lowered: str) -> Any:
        if self._user is None:
            self._user = {str(name).lower(): value for name, value in self._content.application_properties.items()}
        return self._user.get(lowered)

    def system(self, index: int) -> Any:
        return self._content.properties[index]


# --- three-valued logic --------------------------------------------------------------------------------------------


def _both(left: _Expression, right: _Expression) -> _Expression:
    def evaluate(view: _View) -> Truth:
        first = left(view)
        if first is False:
            return False
        second = right(view)
        if second is False:
            return False
        return True if first is True and second is True else None

    return evaluate


def _either(left: _Expression, right: _Expression) -> _Expression:
    def evaluate(view: _View) -> Truth:
        first = left(view)
        if first is True:
            return True
        second = right(view)
        if second is True:
            return True
        return False if first is False and second is False else None

    return evaluate


def _negation(inner: _Expression) -> _Expression:
    def evaluate(view: _View) -> Truth:
        value = inner(view)
        return (not value) if isinstance(value, bool) else None

    return evaluate


def _comparable(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool)
    if isinstance(left, int | float | Decimal):
        return isinstance(right, int | float | Decimal)
    return type(left) is type(right) or (isinstance(left, str) and isinstance(right, str))


def _comparison(operator: str, left: _Expression, right: _Expression) -> _Expression:
    compare = _COMPARISONS[operator]

    def evaluate(view: _View) -> Truth:
        first, second = left(view), right(view)
        if first is None or second is None or not _comparable(first, second):
            return None
        try:
            return compare(first, second)
        except TypeError:  # equal types without an order, for example two maps
            return None

    return evaluate


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": lambda left, right: bool(left == right),
    "<>": lambda left, right: bool(left != right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}


def _membership(value: _Expression, items: list[_Expression]) -> _Expression:
    truth: _Expression = lambda _view: False  # noqa: E731 - the neutral element of OR
    for item in items:
        truth = _either(truth, _comparison("=", value, item))
    return truth


def _likeness(value: _Expression, pattern: _Expression, escape: str | None) -> _Expression:
    def evaluate(view: _View) -> Truth:
        text, like = value(view), pattern(view)
        if not isinstance(text, str) or not isinstance(like, str):
            return None
        return _like_regex(like, escape).fullmatch(text) is not None

    return evaluate


def _like_regex(pattern: str, escape: str | None) -> re.Pattern[str]:
    parts = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            parts.append(re.escape(next(characters, character)))
        elif character == "%":
            parts.append(".*")
        elif character == "_":
            parts.append(".")
        else:
            parts.append(re.escape(character))
    return re.compile("".join(parts), re.DOTALL)


def _arithmetic(operator: str, left: _Expression, right: _Expression) -> _Expression:
    compute = _ARITHMETIC[operator]

    def evaluate(view: _View) -> Any:
        first, second = left(view), right(view)
        if operator == "+" and isinstance(first, str) and isinstance(second, str):
            return first + second
        numbers = all(
            isinstance(side, int | float | Decimal) and not isinstance(side, bool) for side in (first, second)
        )
        if not numbers or (operator in "/%" and second == 0):
            return None
        if isinstance(first, float) or isinstance(second, float):
            first, second = float(first), float(second)
        return compute(first, second)

    return evaluate


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):  # truncates towards zero, as SQL does
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    return left / right


def _remainder(left: Any, right: Any) -> Any:
    return left - _divide(left, right) * right if isinstance(left, int) and isinstance(right, int) else left % right


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": _remainder,
}


# --- grammar -------------------------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
      | (?P<delimited>\[(?:[^\]]|\]\])+\]|"(?:[^"]|"")+")
      | (?P<word>[A-Za-z_@\#\$][\w@\#\$-]*)
      | (?P<symbol><>|!=|<=|>=|[=<>()+\-*/%,.])
    )""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "is", "null", "in", "like", "escape", "exists", "true", "false"})


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words

    def is_symbol(self, *symbols: str) -> bool:
        return self.kind == "symbol" and self.text in symbols


class _Parser:
    """Recursive descent, one method per level of precedence."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(self._tokenize())
        self._next = 0

    def parse(self) -> _Expression:
        tree = self._disjunction()
        if self._peek().kind != "end":
            raise self._unexpected("the end")
        return tree

    def _tokenize(self) -> list[_Token]:
        tokens = []
        position, end = 0, len(self._expression.rstrip())
        while position < end:
            match = _TOKEN.match(self._expression, position)
            if match is None or match.lastgroup is None:
                raise FilterError(f"unreadable at {position}: {self._expression[position : position + 20]!r}")
            tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            position = match.end()
        tokens.append(_Token("end", "", end))
        return tokens

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _took_word(self, *words: str) -> bool:
        if taken := self._peek().is_word(*words):
            self._take()
        return taken

    def _took_symbol(self, symbol: str) -> bool:
        if taken := self._peek().is_symbol(symbol):
            self._take()
        return taken

    def _expect_symbol(self, symbol: str) -> None:
        if not self._took_symbol(symbol):
            raise self._unexpected(repr(symbol))

    def _expect_word(self, word: str) -> None:
        if not self._took_word(word):
            raise self._unexpected(word.upper())

    def _unexpected(self, wanted: str) -> FilterError:
        token = self._peek()
        return FilterError(f"at {token.at}: expected {wanted}, found {token.text or 'the end'!r}")

    def _disjunction(self) -> _Expression:
        tree = self._conjunction()
        while self._took_word("or"):
            tree = _either(tree, self._conjunction())
        return tree

    def _conjunction(self) -> _Expression:
        tree = self._inversion()
        while self._took_word("and"):
            tree = _both(tree, self._inversion())
        return tree

    def _inversion(self) -> _Expression:
        if self._took_word("not"):
            return _negation(self._inversion())
        return self._predicate()

    def _predicate(self) -> _Expression:
        if self._took_word("exists"):
            self._expect_symbol("(")
            value = self._property()
            self._expect_symbol(")")
            return lambda view: value(view) is not None
        value = self._sum()
        token = self._peek()
        if token.is_symbol("=", "<>", "!=", "<", "<=", ">", ">="):
            return _comparison(self._take().text, value, self._sum())
        if self._took_word("is"):
            negated = self._took_word("not")
            self._expect_word("null")
            return (lambda view: value(view) is not None) if negated else (lambda view: value(view) is None)
        negated = self._took_word("not")
        if self._took_word("in"):
            self._expect_symbol("(")
            items = [self._sum()]
            while self._took_symbol(","):
                items.append(self._sum())
            self._expect_symbol(")")
            tree = _membership(value, items)
        elif self._took_word("like"):
            pattern = self._sum()
            tree = _likeness(value, pattern, self._escape())
        elif negated:
            raise self._unexpected("IN or LIKE")
        else:
            return value
        return _negation(tree) if negated else tree

    def _escape(self) -> str | None:
        if not self._took_word("escape"):
            return None
        token = self._take()
        text = _unquote(token.text, "'") if token.kind == "string" else ""
        if len(text) != 1:
            raise FilterError(f"at {token.at}: ESCAPE takes a string of one character")
        return text

    def _sum(self) -> _Expression:
        tree = self._product()
        while self._peek().is_symbol("+", "-"):
            tree = _arithmetic(self._take().text, tree, self._product())
        return tree

    def _product(self) -> _Expression:
        tree = self._signed()
        while self._peek().is_symbol("*", "/", "%"):
            tree = _arithmetic(self._take().text, tree, self._signed())
        return tree

    def _signed(self) -> _Expression:
        if self._took_symbol("-"):
            return _arithmetic("-", lambda _view: 0, self._signed())
        if self._took_symbol("+"):
            return self._signed()
        return self._operand()

    def _operand(self) -> _Expression:
        token = self._peek()
        if self._took_symbol("("):
            tree = self._disjunction()
            self._expect_symbol(")")
            return tree
        if token.kind == "string":
            text = _unquote(self._take().text, "'")
            return lambda _view: text
        if token.kind == "number":
            number = _number(self._take().text)
            return lambda _view: number
        for word, constant in (("true", True), ("false", False), ("null", None)):
            if self._took_word(word):
                return lambda _view, constant=constant: constant  # type: ignore[misc]
        return self._property()

    def _property(self) -> _Expression:
        scope = self._peek()
        name = self._name()
        if scope.is_word("property", "p") and self._took_symbol("("):
            tree = self._property()
            self._expect_symbol(")")
            return tree
        if self._took_symbol("."):
            member = self._peek()
            name = self._name()
            if scope.is_word("sys"):
                field = _SYSTEM_FIELDS.get(name.lower())
                if field is None:
                    raise FilterError(f"at {member.at}: no system property {name!r} can be filtered on")
                return lambda view: view.system(field)
            if not scope.is_word("user"):
                raise FilterError(f"at {scope.at}: the scope is sys or user, not {scope.text!r}")
        lowered = name.lower()
        return lambda view: view.user(lowered)

    def _name(self) -> str:
        token = self._peek()
        if token.kind == "delimited":
            self._take()
            return _unquote(token.text, "]" if token.text[0] == "[" else '"')
        if token.kind != "word" or token.text.lower() in _KEYWORDS:
            raise self._unexpected("a property")
        return self._take().text


def _unquote(text: str, quote: str) -> str:
    return text[1:-1].replace(quote * 2, quote)


def _number(text: str) -> int | float | Decimal:
    if "e" in text.lower():
        return float(text)
    return Decimal(text) if "." in text else int(text)
