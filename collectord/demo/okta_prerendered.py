"""A System Log rendered beforehand, so that serving a page costs the benchmark a look-up and a write.

`distinct_pages` bounds the memory: page bodies then repeat, but every uuid on them is unique all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from isal import igzip

from collectord.demo.okta_events import OktaEvents

_GZIP_LEVEL = 1
_SPACING_MS = 3


@dataclass(frozen=True, slots=True)
class Rendering:
    """What to render."""

    total: int
    page_size: int = 1000
    distinct_pages: int | None = None
    """None: every page has a body of its own."""
    gzip: bool = False
    """Compress beforehand too; only with a body of its own for every page."""


class PrerenderedLog:
    """Pages by cursor; behind the last one the log is quiet."""

    def __init__(self, rendering: Rendering, events: OktaEvents, start_ms: int) -> None:
        self.rendering = rendering
        self.pages = -(-rendering.total // rendering.page_size)
        self._start_ms = start_ms
        distinct = min(rendering.distinct_pages or self.pages, self.pages)
        self._bodies = [self._render(events, number) for number in range(distinct)]
        self._last = self._render(events, self.pages - 1) if distinct < self.pages else b""
        self._packed = [igzip.compress(body, _GZIP_LEVEL) for body in self._bodies] if rendering.gzip else []
        self._numbers = {self.cursor(number): number for number in range(self.pages + 1)} | {"": 0}

    def cursor(self, number: int) -> str:
        """`after` that leads to the page."""
        return f"{self._start_ms + number * self.rendering.page_size * _SPACING_MS}_{number}"

    def number(self, cursor: str) -> int | None:
        """The page to which the cursor leads; None for a cursor of somebody else's."""
        return self._numbers.get(cursor)

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        if number >= self.pages:
            return b"[]", None
        if self._last and number == self.pages - 1:
            return self._last, None
        place = number % len(self._bodies)
        if number == place:
            return self._bodies[place], self._packed[place] if self._packed else None
        return self._bodies[place].replace(b'"uuid":"%08x' % place, b'"uuid":"%08x' % number), None

    def ids(self, number: int) -> list[str]:
        """The uuids of a page in order, for a check by another process."""
        return [event["uuid"] for event in orjson.loads(self.body(number)[0])]

    def _render(self, events: OktaEvents, number: int) -> bytes:
        first = number * self.rendering.page_size
        count = min(self.rendering.page_size, self.rendering.total - first)
        rendered = []
        for place in range(first, first + count):
            event = events.event(self._start_ms + place * _SPACING_MS)
            event["uuid"] = f"{number:08x}{event['uuid'][8:]}"
            rendered.append(orjson.dumps(event))
        return b"[" + b",".join(rendered) + b"]"
