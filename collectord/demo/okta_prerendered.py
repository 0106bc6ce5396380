"""A System Log rendered beforehand, for the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from collectord.demo.prerendered import Pages, Rendering

if TYPE_CHECKING:
    from collectord.demo.okta_events import OktaEvents

_SPACING_MS = 3


class PrerenderedLog:
    """Pages by cursor; behind the last one the log is quiet."""

    def __init__(self, rendering: Rendering, events: OktaEvents, start_ms: int) -> None:
        self.rendering = rendering
        self._events = events
        self._start_ms = start_ms
        self._pages = Pages(rendering, self._render, b'"uuid":"%08x')
        self._packed = self._pages.packed()
        self.pages = self._pages.count
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
        return self._pages.body(number), self._packed[number] if self._packed else None

    def ids(self, number: int) -> list[str]:
        """The uuids of a page in order, for a check by another process."""
        return [event["uuid"] for event in orjson.loads(self.body(number)[0])]

    def _render(self, number: int, places: range) -> bytes:
        rendered = []
        for place in places:
            event = self._events.event(self._start_ms + place * _SPACING_MS)
            event["uuid"] = f"{number:08x}{event['uuid'][8:]}"
            rendered.append(orjson.dumps(event))
        return b"[" + b",".join(rendered) + b"]"
