"""Events rendered beforehand, for the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from collectord.demo.prerendered import Pages, Rendering

if TYPE_CHECKING:
    from collectord.demo.sailpoint_objects import SailPointObjects

_SPREAD_MS = 5 * 3_600_000
_NUMBER_DIGITS = 8


class PrerenderedEvents:
    """Pages by the id of the row before them; spread over five hours."""

    def __init__(self, rendering: Rendering, objects: SailPointObjects, start_ms: int) -> None:
        self.rendering = rendering
        self.start_ms = start_ms
        self._objects = objects
        self._spacing = _SPREAD_MS / rendering.total
        self._pages = Pages(rendering, self._render, b'"id":"%08x')
        self._packed = self._pages.packed()
        self.pages = self._pages.count

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
        return self._pages.body(number), self._packed[number] if self._packed else None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [event["id"] for event in orjson.loads(self.body(number)[0])]

    def _render(self, number: int, places: range) -> bytes:
        rows = []
        for place in places:
            event_id = f"{number:0{_NUMBER_DIGITS}x}{place - places.start:056x}"
            rows.append(orjson.dumps(self._objects.event(event_id, self.start_ms + int(place * self._spacing))))
        return b"[" + b",".join(rows) + b"]"
