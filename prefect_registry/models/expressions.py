"""Filter expressions as they are written: words, texts and numbers, put together by SQL's rules.

The grammar::

    expression  = conjunction {"OR" conjunction}
    conjunction = negation {"AND" negation}
    negation    = {"NOT"} ("(" expression ")" | comparison)
    comparison  = field ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") value
                | field ["NOT"] ("LIKE" | "ILIKE") text
                | field ["NOT"] "IN" "(" value {"," value} ")"
                | field ["NOT"] "BETWEEN" value "AND" value
                | field "IS" ["NOT"] "NULL"
    field       = name | "properties." (key | "`any key`")
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefect_registry.errors import InvalidInput

LONGEST: Final = 10_000
"""Characters of an expression."""
DEEPEST: Final = 50
"""Parentheses inside parentheses."""

_KEYWORDS = frozenset({"AND", "OR", "NOT", "LIKE", "ILIKE", "IN", "IS", "NULL", "BETWEEN", "TRUE", "FALSE"})
_COMPARED = ("=", "!=", "<>", "<", "<=", ">", ">=")
_SHAPES = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*")
      | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[^\W\d]\w*)(?:(?P<key>(?:\.\w[\w-]*)+)|\.`(?P<quoted>(?:[^`]|``)*)`)?
      | (?P<sign><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
_SHOWN = 60
"""Characters of an expression to either side of an error."""

Value = bool | int | float | str


@dataclass(frozen=True)
class Token:
    """A part of an expression: ``kind`` is text, number, word, keyword, sign or end; ``column`` counts from 0."""

    kind: str
    text: str
    column: int
    key: str | None = None

    def is_(self, *wanted: str) -> bool:
        """Whether it is one of these keywords or signs."""
        return self.kind in ("keyword", "sign") and self.text in wanted

    @property
    def told(self) -> str:
        """For errors: what was found."""
        shown = self.text if len(self.text) <= 40 else f"{self.text[:40]}…"
        return "the end" if self.kind == "end" else shown if self.kind == "text" else f'"{shown}"'


@dataclass(frozen=True)
class Literal:
    """A value in an expression."""

    value: Value
    column: int


@dataclass(frozen=True)
class Field:
    """What a comparison is about: a name, and the key behind it, if there is one."""

    name: str
    key: str | None
    column: int


@dataclass(frozen=True)
class Comparison:
    """``operator`` is ``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, LIKE, ILIKE, IN, BETWEEN or NULL (of which the
    negation is part: ``x IS NOT NULL``).
    """

    field: Field
    operator: str
    values: tuple[Literal, ...]
    negated: bool = False


@dataclass(frozen=True)
class Negation:
    """What is not so."""

    part: Node


@dataclass(frozen=True)
class Junction:
    """Several conditions of which all hold (AND) or one (OR)."""

    operator: str
    parts: tuple[Node, ...]


Node = Comparison | Negation | Junction


def invalid(expression: str, problems: list[tuple[int, str]]) -> InvalidInput:
    """The error for an expression: it is shown, with a mark below the first problem."""
    column = min(problems)[0]
    start = max(0, column - _SHOWN)
    before, after = "…" * (start > 0), "…" * (column + _SHOWN < len(expression))
    shown = f"{before}{re.sub(r'[^ -~]+', _on_one_line, expression[start : column + _SHOWN])}{after}"
    mark = " " * (len(before) + column - start) + "^"
    told = [f"column {at + 1}: {problem}" for at, problem in sorted(problems)]
    return InvalidInput(
        "filter_query is not valid",
        why=f"\n    {shown}\n    {mark}\n{'; '.join(told[:20])}",
        todo="Correct the expression, or leave it out",
        committed="no",
        problems=told,
        expression=expression[:LONGEST],
        column=column + 1,
    )


def _on_one_line(found: re.Match[str]) -> str:
    return "".join(c if c.isprintable() else " " for c in found.group())


def parse(expression: str) -> Node | None:
    """The meaning of an expression; None for a blank one. ``InvalidInput`` tells the first error, and where it is."""
    if not isinstance(expression, str):
        raise InvalidInput.of("filter_query", [f"it must be a text, not {type(expression).__name__}"])
    if len(expression) > LONGEST:
        raise InvalidInput.of(
            "filter_query", [f"it has {len(expression):,} characters; at most {LONGEST:,} are allowed"]
        )
    tokens = _tokens(expression)
    return _Parser(expression, tokens).whole() if len(tokens) > 1 else None


def parse_field(text: str) -> Field | None:
    """The meaning of a text that is a field and nothing else; None for any other text."""
    try:
        tokens = _tokens(text) if len(text) <= LONGEST else []
    except InvalidInput:
        return None
    return Field(tokens[0].text, tokens[0].key, 0) if [t.kind for t in tokens] == ["word", "end"] else None


def _tokens(expression: str) -> list[Token]:
    found, at = [], 0
    while at < len(expression):
        match = _SHAPES.match(expression, at)
        if match is None:
            raise invalid(expression, [(at, _what_it_is(expression[at]))])
        kind, text = str(match.lastgroup), match.group()
        if (odd := next((i for i, c in enumerate(text) if c == "\0" or "\ud800" <= c <= "\udfff"), -1)) >= 0:
            raise invalid(expression, [(at + odd, "found a character that no text here can have")])
        if kind in ("key", "quoted"):
            key = match["key"][1:] if match["key"] else match["quoted"].replace("``", "`")
            found.append(Token("word", match["word"], at, key))
        elif kind == "word" and text.upper() in _KEYWORDS:
            found.append(Token("keyword", text.upper(), at))
        elif kind != "space":
            found.append(Token(kind, text, at))
        at = match.end()
    return [*found, Token("end", "", len(expression))]


def _what_it_is(character: str) -> str:
    if character in "'\"`":
        return f"found {character}, expected another {character} that ends it"
    return f"found {character!r}, expected a field, a value, an operator or a parenthesis"


class _Parser:
    """Recursive descent: a method for each rule."""

    def __init__(self, expression: str, tokens: list[Token]) -> None:
        self.expression = expression
        self.tokens = iter(tokens)
        self.token = next(self.tokens)
        self.depth = 0

    def whole(self) -> Node:
        """Everything up to the end."""
        found = self._expression()
        if self.token.kind != "end":
            raise self._unexpected("AND, OR or the end")
        return found

    def _expression(self) -> Node:
        return self._junction("OR", lambda: self._junction("AND", self._negation))

    def _junction(self, operator: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._accept(operator):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(operator, tuple(parts))

    def _negation(self) -> Node:
        negated = False
        while self._accept("NOT"):
            negated = not negated
        found = self._parenthesis() if self.token.is_("(") else self._comparison()
        return Negation(found) if negated else found

    def _parenthesis(self) -> Node:
        if self.depth == DEEPEST:
            raise invalid(self.expression, [(self.token.column, f"found more than {DEEPEST} nested parentheses")])
        self.depth += 1
        self._expect("(")
        found = self._expression()
        self._expect(")", "AND, OR or )")
        self.depth -= 1
        return found

    def _comparison(self) -> Node:
        field = self._field()
        if self.token.is_(*_COMPARED):
            sign = self._next().text
            return Comparison(field, "!=" if sign == "<>" else sign, (self._value(),))
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL", "NULL" if negated else "NULL or NOT NULL")
            return Comparison(field, "NULL", (), negated)
        negated = self._accept("NOT")
        for operator in ("LIKE", "ILIKE"):
            if self._accept(operator):
                return Comparison(field, operator, (self._text(),), negated)
        if self._accept("BETWEEN"):
            low = self._value()
            self._expect("AND")
            return Comparison(field, "BETWEEN", (low, self._value()), negated)
        if self._accept("IN"):
            return Comparison(field, "IN", self._several(), negated)
        words = "LIKE, ILIKE, IN, BETWEEN"
        raise self._unexpected(words if negated else f"an operator: {' '.join(_COMPARED)}, {words}, IS, NOT")

    def _field(self) -> Field:
        if self.token.kind != "word":
            raise self._unexpected("a field, NOT or (")
        word = self._next()
        return Field(word.text, word.key, word.column)

    def _several(self) -> tuple[Literal, ...]:
        self._expect("(")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect(")", "a comma or )")
        return tuple(values)

    def _text(self) -> Literal:
        if self.token.kind != "text":
            raise self._unexpected("a text in quotes")
        return self._value()

    def _value(self) -> Literal:
        token = self.token
        if token.is_("TRUE", "FALSE"):
            return Literal(self._next().text == "TRUE", token.column)
        if token.kind == "text":
            quote = self._next().text[0]
            return Literal(token.text[1:-1].replace(quote * 2, quote), token.column)
        if token.kind == "number":
            return Literal(self._number(self._next()), token.column)
        expected = "a value: a text in quotes, a number, true or false"
        raise self._unexpected(f"{expected}; IS NULL asks for what is not there" if token.is_("NULL") else expected)

    def _number(self, token: Token) -> int | float:
        if token.text.lstrip("+-").isdigit():
            number = int(token.text) if len(token.text) <= 40 else 1 << 64
            if not -(1 << 63) <= number < 1 << 63:
                raise invalid(self.expression, [(token.column, f"found {token.told}, expected 64 bits at most")])
            return number
        if not math.isfinite(float(token.text)):
            raise invalid(self.expression, [(token.column, f"found {token.told}, expected a finite number")])
        return float(token.text)

    # -- steps ---------------------------------------------------------------------------------------------------

    def _next(self) -> Token:
        token, self.token = self.token, next(self.tokens, self.token)
        return token

    def _accept(self, wanted: str) -> bool:
        if not self.token.is_(wanted):
            return False
        self._next()
        return True

    def _expect(self, wanted: str, told: str = "") -> None:
        if not self._accept(wanted):
            raise self._unexpected(told or wanted)

    def _unexpected(self, expected: str) -> InvalidInput:
        return invalid(self.expression, [(self.token.column, f"found {self.token.told}, expected {expected}")])
