"""Okta's SCIM-like expressions, as far as collectors use them: comparisons, `and`, `or`, `not`, parentheses.

Rules: okta-netskope.md 1.2 (parameters of logs) and 1.3 (search and filter of users).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

import orjson

from collectord.demo.okta_errors import OktaError

_ATTRIBUTE = r"[A-Za-z_$][\w.$\-/]*"
_TOKEN = re.compile(rf'\s*(?:"(?:[^"\\]|\\.)*"|[()]|{_ATTRIBUTE}|-?\d+)')

LOG_ATTRIBUTES = frozenset(
    {
        "actor",
        "authenticationContext",
        "client",
        "debugContext",
        "device",
        "displayMessage",
        "eventType",
        "legacyEventType",
        "outcome",
        "request",
        "securityContext",
        "severity",
        "target",
        "transaction",
        "uuid",
        "version",
    }
)
"""Top-level keys that may be filtered; `published` may not (okta-netskope.md 1.2 [OKQ])."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda found, wanted: bool(found == wanted),
    "ne": lambda found, wanted: bool(found != wanted),
    "sw": lambda found, wanted: isinstance(found, str) and found.startswith(wanted),
    "ew": lambda found, wanted: isinstance(found, str) and found.endswith(wanted),
    "co": lambda found, wanted: isinstance(found, str) and wanted in found,
    "gt": lambda found, wanted: isinstance(found, type(wanted)) and gt(found, wanted),
    "ge": lambda found, wanted: isinstance(found, type(wanted)) and ge(found, wanted),
    "lt": lambda found, wanted: isinstance(found, type(wanted)) and lt(found, wanted),
    "le": lambda found, wanted: isinstance(found, type(wanted)) and le(found, wanted),
    "pr": lambda found, _: found is not None,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`attribute operator value`."""

    attribute: str
    operator: str
    value: Any

    def matches(self, document: Any) -> bool:
        found = list(_values(document, self.attribute.split(".")))
        if self.operator == "ne":
            return self.value not in found
        return any(_OPERATORS[self.operator](value, self.value) for value in found)


@dataclass(frozen=True, slots=True)
class Combination:
    """`and` or `or` of two or more, `not` of one."""

    word: str
    parts: tuple[Comparison | Combination, ...]

    def matches(self, document: Any) -> bool:
        if self.word == "not":
            return not self.parts[0].matches(document)
        truths = (part.matches(document) for part in self.parts)
        return all(truths) if self.word == "and" else any(truths)


Expression = Comparison | Combination


def comparisons(expression: Expression) -> Iterator[Comparison]:
    """Every comparison in it, for a vendor's rules about attributes and operators."""
    if isinstance(expression, Comparison):
        yield expression
    else:
        for part in expression.parts:
            yield from comparisons(part)


def has_not(expression: Expression) -> bool:
    if isinstance(expression, Comparison):
        return False
    return expression.word == "not" or any(has_not(part) for part in expression.parts)


def parse(text: str) -> Expression:
    """Read an expression; OktaError E0000053 when it is not one."""
    parser = _Parser(list(_tokens(text)))
    expression = parser.alternatives()
    if parser.tokens:
        raise _bad(f"unexpected {parser.tokens[0]}")
    return expression


def log_filter(text: str) -> Expression:
    """A filter of the System Log, with its own rules."""
    expression = parse(text)
    for comparison in comparisons(expression):
        if comparison.attribute.partition(".")[0] not in LOG_ATTRIBUTES:
            raise _bad(f"field {comparison.attribute} cannot be filtered")
        forbidden = {"debugContext.debugData.url", "debugContext.debugData.requestUri"}
        if comparison.operator == "co" and comparison.attribute in forbidden:
            raise OktaError(400, "E0000031", f"Invalid search criteria: co on {comparison.attribute}")
    return expression


class _Parser:
    """Recursive descent over `tokens`, which it uses up."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def alternatives(self) -> Expression:
        return self._chain("or", lambda: self._chain("and", self._term))

    def _chain(self, word: str, part: Callable[[], Expression]) -> Expression:
        parts = [part()]
        while self.tokens and self.tokens[0].lower() == word:
            self._next()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Combination(word, tuple(parts))

    def _term(self) -> Expression:
        word = self._next()
        if word == "(":
            return self._closed()
        if word.lower() == "not":
            self._expect("(")
            return Combination("not", (self._closed(),))
        return self._comparison(word)

    def _closed(self) -> Expression:
        inner = self.alternatives()
        self._expect(")")
        return inner

    def _comparison(self, attribute: str) -> Comparison:
        if not re.fullmatch(_ATTRIBUTE, attribute):
            raise _bad(f"{attribute} is no attribute")
        operator = self._next().lower()
        if operator not in _OPERATORS:
            raise _bad(f"{operator} is no operator")
        return Comparison(attribute, operator, None if operator == "pr" else _literal(self._next()))

    def _expect(self, sign: str) -> None:
        if self._next() != sign:
            raise _bad(f"{sign} expected")

    def _next(self) -> str:
        if not self.tokens:
            raise _bad("ends too early")
        return self.tokens.pop(0)


def _tokens(text: str) -> Iterator[str]:
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _bad(f"cannot be read at {position}")
        yield match[0].strip()
        position = match.end()


def _literal(token: str) -> Any:
    try:
        return orjson.loads(token)
    except orjson.JSONDecodeError as error:
        raise _bad(f"{token} is no value") from error


def _values(document: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(document, list):
        for element in document:
            yield from _values(element, path)
    elif not path:
        yield document
    elif isinstance(document, dict) and path[0] in document:
        yield from _values(document[path[0]], path[1:])


def _bad(reason: str) -> OktaError:
    return OktaError(400, "E0000053", f"Invalid filter: {reason}")
