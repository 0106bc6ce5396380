"""Events rendered beforehand, so that serving a page costs the benchmark a look-up and a write.

`distinct_pages` bounds the memory: page bodies then repeat, but every id on them is unique all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from isal import igzip

from collectord.demo.sailpoint_objects import SailPointObjects

_GZIP_LEVEL = 1
_SPREAD_MS = 5 * 3_600_000
_NUMBER_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Rendering:
    """What to render."""

    total: int
    page_size: int = 2500
    distinct_pages: int | None = None
    """None: every page has a body of its own."""
    gzip: bool = False
    """Compress beforehand too; only with a body of its own for every page."""


class PrerenderedEvents:
    """Pages by the id of the row before them; spread over five hours."""

    def __init__(self, rendering: Rendering, objects: SailPointObjects, start_ms: int) -> None:
        self.rendering = rendering
        self.pages = -(-rendering.total // rendering.page_size)
        self.start_ms = start_ms
        self._spacing = _SPREAD_MS / rendering.total
        distinct = min(rendering.distinct_pages or self.pages, self.pages)
        self._bodies = [self._render(objects, number) for number in range(distinct)]
        self._last = self._render(objects, self.pages - 1) if distinct < self.pages else b""
        self._packed = [igzip.compress(body, _GZIP_LEVEL) for body in self._bodies] if rendering.gzip else []

    def number(self, after_id: str) -> int | None:
        """The page behind this row; None for an id of somebody else's."""
        try:
            return int(after_id[:_NUMBER_DIGITS], 16) + 1
        except ValueError:
            return None

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        if number >= self.pages:
            return b"[]", None
        if self._last and number == self.pages - 1:
            return self._last, None
        place = number % len(self._bodies)
        if number == place:
            return self._bodies[place], self._packed[place] if self._packed else None
        return self._bodies[place].replace(b'"id":"%08x' % place, b'"id":"%08x' % number), None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [event["id"] for event in orjson.loads(self.body(number)[0])]

    def _render(self, objects: SailPointObjects, number: int) -> bytes:
        first = number * self.rendering.page_size
        count = min(self.rendering.page_size, self.rendering.total - first)
        rows = []
        for place in range(first, first + count):
            event_id = f"{number:0{_NUMBER_DIGITS}x}{place - first:056x}"
            rows.append(orjson.dumps(objects.event(event_id, self.start_ms + int(place * self._spacing))))
        return b"[" + b",".join(rows) + b"]"
