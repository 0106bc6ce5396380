"""Okta's cursors and Link headers, and the proof that a client takes them as they are (okta-netskope.md 1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote, urlencode

from collectord.demo.exchange import Call, Headers
from collectord.demo.okta_log import Position


@dataclass(kw_only=True)
class LinkStyle:
    """How links and cursors look; all of it may be met at Okta or at a proxy before it."""

    separate: bool = True
    """Two header lines; else one line with a comma."""
    lower_case: bool = False
    random_cursors: bool = False
    """Cursors that mean nothing, instead of `milliseconds_number`."""
    base: str = ""
    """Origin in the links; empty = the one that is asked."""


class Cursors:
    """What each `after` stands for, and the links that were given out."""

    def __init__(self, style: LinkStyle, random: Random) -> None:
        self.style = style
        self._random = random
        self._tokens: dict[str, tuple[Position, float]] = {}
        self._of_position: dict[Position, str] = {}
        self._given: set[str] = set()

    def mint(self, position: Position, now: float) -> str:
        """The same place has the same cursor, so that at the tail `next` equals `self`; its age starts at the first."""
        token = self._of_position.get(position)
        if token is None:
            is_random = self.style.random_cursors
            token = f"{self._random.getrandbits(96):024x}" if is_random else f"{position[0]}_{position[1]}"
            self._of_position[position] = token
        self._tokens.setdefault(token, (position, now))
        return token

    def read(self, token: str) -> tuple[Position, float] | None:
        """Position and time of birth; None for a cursor that was never given out."""
        return self._tokens.get(token)

    def links(self, call: Call, base_url: str, after: str | None) -> Headers:
        """`self` and, unless `after` is None, `next`, percent-encoded in Okta's own way, not as the client did it."""
        base = (self.style.base or base_url) + call.target.partition("?")[0]
        values = [f'<{base}?{_encoded(call.pairs)}>; rel="self"']
        if after is not None:
            query = _encoded([*(pair for pair in call.pairs if pair[0] != "after"), ("after", after)])
            self._given.add(_without_limit(query))
            values.append(f'<{base}?{query}>; rel="next"')
        name = "link" if self.style.lower_case else "Link"
        return tuple((name, value) for value in values) if self.style.separate else ((name, ", ".join(values)),)

    def is_verbatim(self, call: Call) -> bool:
        """Whether a request with `after` is a link that was given out, its limit apart (a client may lower it)."""
        return _without_limit(call.raw_query) in self._given


def _encoded(pairs: Sequence[tuple[str, str]]) -> str:
    return urlencode(pairs, safe="", quote_via=quote)


def _without_limit(query: str) -> str:
    return "&".join(part for part in query.split("&") if not part.startswith("limit="))
