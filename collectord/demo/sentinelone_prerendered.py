"""A list rendered beforehand, for the benchmark."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson

from collectord.demo.prerendered import Pages, Rendering

if TYPE_CHECKING:
    from collectord.demo.sentinelone_objects import SentinelOneObjects

_SPACING_MICROS = 3_000


class PrerenderedList:
    """Pages by cursor; the last one has none."""

    def __init__(self, rendering: Rendering, stream: str, objects: SentinelOneObjects, start_micros: int) -> None:
        self.rendering = rendering
        self.stream = stream
        self.end_micros = start_micros + rendering.total * _SPACING_MICROS
        self._objects = objects
        self._start = start_micros
        self._rows = Pages(rendering, self._render, b'"id":"2%07d')
        self.pages = self._rows.count
        self._packed = self._rows.packed(self._page)
        self._numbers = {_cursor(number): number for number in range(1, self.pages)}

    def number(self, cursor: str) -> int | None:
        """The page to which a cursor leads; None for a cursor of somebody else's."""
        return self._numbers.get(cursor)

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        return self._page(number), self._packed[number] if self._packed else None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [row["id"] for row in orjson.loads(self._page(number))["data"]]

    def _page(self, number: int) -> bytes:
        following = orjson.dumps(quote(_cursor(number + 1), safe="") if number + 1 < self.pages else None)
        tail = b'],"pagination":{"nextCursor":' + following + b',"totalItems":0}}'
        return b'{"data":[' + self._rows.body(number) + tail

    def _render(self, number: int, places: range) -> bytes:
        rows = []
        for place in places:
            row_id = f"2{number:07d}{place - places.start:011d}"
            rows.append(orjson.dumps(self._objects.make(self.stream, row_id, self._start + place * _SPACING_MICROS)))
        return b",".join(rows)


def _cursor(number: int) -> str:
    return base64.b64encode(b'{"id_column":"id","page":%08d}' % number).decode()
