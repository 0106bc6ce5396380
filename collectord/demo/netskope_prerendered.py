"""An export rendered beforehand, for the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from collectord.demo.prerendered import Pages, Rendering

if TYPE_CHECKING:
    from collectord.demo.netskope_events import NetskopeEvents


class PrerenderedExport:
    """Pages by number; behind the last one nothing is new."""

    def __init__(self, rendering: Rendering, stream: str, events: NetskopeEvents, start: int) -> None:
        self.rendering = rendering
        self.places: dict[str, int] = {}
        """Number of the page last sent, by index."""
        self._stream = stream
        self._events = events
        self._start = start
        self._pages = Pages(rendering, self._render, b'"_id":"%08x')
        self._packed = self._pages.packed()
        self.pages = self._pages.count

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        if number >= self.pages:
            return b'{"ok":1,"result":[],"wait_time":30,"timestamp_hwm":%d}' % (self._start + self.pages), None
        return self._pages.body(number), self._packed[number] if self._packed else None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [event["_id"] for event in orjson.loads(self.body(number)[0])["result"]]

    def _render(self, number: int, places: range) -> bytes:
        rendered: list[bytes] = []
        for _ in places:
            event = self._events.event(self._stream, self._start + number)
            tail = event.pop("_id", "")[8:] or f"{len(rendered):016x}"
            rendered.append(orjson.dumps({"_id": f"{number:08x}{tail}", **event}))
        end = b'],"wait_time":0,"timestamp_hwm":%d}' % (self._start + number)
        return b'{"ok":1,"result":[' + b",".join(rendered) + end
