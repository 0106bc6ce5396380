"""A list rendered beforehand, so that serving a page costs the benchmark a look-up and a write.

`distinct_pages` bounds the memory: page bodies then repeat, but every id on them is unique all the same.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

import orjson
from isal import igzip

from collectord.demo.sentinelone_objects import SentinelOneObjects

_GZIP_LEVEL = 1
_SPACING_MICROS = 3_000


@dataclass(frozen=True, slots=True)
class Rendering:
    """What to render."""

    stream: str
    total: int
    page_size: int = 1000
    distinct_pages: int | None = None
    """None: every page has a body of its own."""
    gzip: bool = False
    """Compress beforehand too; only with a body of its own for every page."""


class PrerenderedList:
    """Pages by cursor; the last one has none."""

    def __init__(self, rendering: Rendering, objects: SentinelOneObjects, start_micros: int) -> None:
        self.rendering = rendering
        self.pages = -(-rendering.total // rendering.page_size)
        self.end_micros = start_micros + rendering.total * _SPACING_MICROS
        self._start = start_micros
        distinct = min(rendering.distinct_pages or self.pages, self.pages)
        self._rows = [self._render(objects, number) for number in range(distinct)]
        self._last = self._render(objects, self.pages - 1) if distinct < self.pages else b""
        self._packed = (
            [igzip.compress(self._page(number), _GZIP_LEVEL) for number in range(distinct)] if rendering.gzip else []
        )
        self._numbers = {_cursor(number): number for number in range(1, self.pages)}

    def number(self, cursor: str) -> int | None:
        """The page to which a cursor leads; None for a cursor of somebody else's."""
        return self._numbers.get(cursor)

    def body(self, number: int) -> tuple[bytes, bytes | None]:
        """The page plain and, if it was made, compressed."""
        return self._page(number), self._packed[number] if number < len(self._packed) else None

    def ids(self, number: int) -> list[str]:
        """The ids of a page in order, for a check by another process."""
        return [row["id"] for row in orjson.loads(self._page(number))["data"]]

    def _page(self, number: int) -> bytes:
        following = orjson.dumps(quote(_cursor(number + 1), safe="") if number + 1 < self.pages else None)
        tail = b'],"pagination":{"nextCursor":' + following + b',"totalItems":0}}'
        return b'{"data":[' + self._of(number) + tail

    def _of(self, number: int) -> bytes:
        if self._last and number == self.pages - 1:
            return self._last
        place = number % len(self._rows)
        if place == number:
            return self._rows[place]
        return self._rows[place].replace(b'"id":"2%07d' % place, b'"id":"2%07d' % number)

    def _render(self, objects: SentinelOneObjects, number: int) -> bytes:
        first = number * self.rendering.page_size
        count = min(self.rendering.page_size, self.rendering.total - first)
        rows = []
        for place in range(first, first + count):
            row_id = f"2{number:07d}{place - first:011d}"
            rows.append(
                orjson.dumps(objects.make(self.rendering.stream, row_id, self._start + place * _SPACING_MICROS))
            )
        return b",".join(rows)


def _cursor(number: int) -> str:
    return base64.b64encode(b'{"id_column":"id","page":%08d}' % number).decode()
