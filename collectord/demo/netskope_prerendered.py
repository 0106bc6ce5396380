"""An export rendered beforehand, so that serving a page costs the benchmark a look-up and a write.

`distinct_pages` bounds the memory: page bodies then repeat, but every `_id` on them is unique all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from isal import igzip

from collectord.demo.netskope_events import NetskopeEvents

_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Rendering:
    """What to render."""

    stream: str
    total: int
    page_size: int = 10_000
    distinct_pages: int | None = None
    """None: every page has a body of its own."""
    gzip: bool = False
    """Compress beforehand too; only with a body of its own for every page."""


class PrerenderedExport:
    """Pages by number; behind the last one nothing is new."""

    def __init__(self, rendering: Rendering, events: NetskopeEvents, start: int) -> None:
        self.rendering = rendering
        self.pages = -(-rendering.total // rendering.page_size)
        self.places: dict[str, int] = {}
        """Number of the page last sent, by index."""
        self._start = start
        distinct = min(rendering.distinct_pages or self.pages, self.pages)
        self._bodies = [self._render(events, number) for number in range(distinct)]
        self._last = self._render(events, self.pages - 1) if distinct < self.pages else b""
        self._packed = [igzip.compress(body, _GZIP_LEVEL) for body in self._bodies] if rendering.gzip else []

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        if number >= self.pages:
            return b'{"ok":1,"result":[],"wait_time":30,"timestamp_hwm":%d}' % (self._start + self.pages), None
        if self._last and number == self.pages - 1:
            return self._last, None
        place = number % len(self._bodies)
        if number == place:
            return self._bodies[place], self._packed[place] if self._packed else None
        return self._bodies[place].replace(b'"_id":"%08x' % place, b'"_id":"%08x' % number), None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [event["_id"] for event in orjson.loads(self.body(number)[0])["result"]]

    def _render(self, events: NetskopeEvents, number: int) -> bytes:
        first = number * self.rendering.page_size
        count = min(self.rendering.page_size, self.rendering.total - first)
        rendered: list[bytes] = []
        for _ in range(count):
            event = events.event(self.rendering.stream, self._start + number)
            tail = event.pop("_id", "")[8:] or f"{len(rendered):016x}"
            rendered.append(orjson.dumps({"_id": f"{number:08x}{tail}", **event}))
        end = b'],"wait_time":0,"timestamp_hwm":%d}' % (self._start + number)
        return b'{"ok":1,"result":[' + b",".join(rendered) + end
