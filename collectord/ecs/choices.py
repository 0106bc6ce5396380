"""Decisions at work: from the words of a record to what its table of decisions says, and a count of the unknown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectord.ecs.tables import Decision

_REMEMBERED = 4096
"""Combinations of words; what a vendor may send is without bound."""
_LONGEST = 256
_COUNTED = 256
"""Names of unknown event types that are counted one by one."""
OTHERS = "(others)"


class Choice:
    """One table of decisions; called with the words of a record, or None where there is none."""

    def __init__(self, decision: Decision, unknown: dict[str, int]) -> None:
        self._rows = [(_matcher(patterns), decided) for patterns, decided in decision.rows[:-1]]
        self._default = decision.rows[-1][1]
        self._unknown = unknown
        self._counted = decision.counted
        self._known: dict[tuple[str | None, ...], tuple[Any, ...]] = {}

    def __call__(self, *words: str | None) -> tuple[Any, ...]:
        """What is decided, one value for each target."""
        decided = self._known.get(words)
        if decided is None:
            decided = self._decide(words)
        if self._counted and decided is self._default:
            self._count(words[0])
        return decided

    def _decide(self, words: tuple[str | None, ...]) -> tuple[Any, ...]:
        line = _line(words)
        decided = next((decided for matches, decided in self._rows if matches(line)), self._default)
        if len(line) <= _LONGEST:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[words] = decided
        return decided

    def _count(self, word: str | None) -> None:
        name = word[:_LONGEST] if word else "(none)"
        if name not in self._unknown and len(self._unknown) >= _COUNTED:
            name = OTHERS
        self._unknown[name] = self._unknown.get(name, 0) + 1


def _line(words: tuple[str | None, ...]) -> str:
    return "\0".join((word or "").replace("\0", " ") for word in words)


def _matcher(patterns: tuple[str, ...]) -> Any:
    parts = ("[^\0]*".join(re.escape(text) for text in pattern.split("*")) for pattern in patterns)
    return re.compile("\0".join(parts), re.IGNORECASE).fullmatch
