"""Pages rendered beforehand, so that serving one costs the benchmark a look-up and a write.

`distinct_pages` bounds the memory: page bodies then repeat, but every id on them is unique all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import igzip

if TYPE_CHECKING:
    from collections.abc import Callable

_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Rendering:
    """What to render."""

    total: int
    page_size: int
    distinct_pages: int | None = None
    """None: every page has a body of its own."""
    gzip: bool = False
    """Compress beforehand too; only with a body of its own for every page."""


class Pages:
    """Bodies by number."""

    def __init__(self, rendering: Rendering, render: Callable[[int, range], bytes], mark: bytes) -> None:
        """`render(number, places)` makes a page; `mark % number` begins each id on it."""
        self.count = -(-rendering.total // rendering.page_size)
        self._rendering = rendering
        self._render = render
        self._mark = mark
        distinct = min(rendering.distinct_pages or self.count, self.count)
        self._bodies = [self._made(number) for number in range(distinct)]
        self._last = self._made(self.count - 1) if distinct < self.count else b""

    def body(self, number: int) -> bytes:
        """One page; raises IndexError behind the last."""
        if number >= self.count:
            raise IndexError(number)
        if self._last and number == self.count - 1:
            return self._last
        place = number % len(self._bodies)
        body = self._bodies[place]
        return body if number == place else body.replace(self._mark % place, self._mark % number)

    def packed(self, whole: Callable[[int], bytes] | None = None) -> list[bytes]:
        """The pages compressed, or what `whole` makes of each; none if that was not asked for."""
        make = whole or self.body
        return (
            [igzip.compress(make(number), _GZIP_LEVEL) for number in range(self.count)] if self._rendering.gzip else []
        )

    def _made(self, number: int) -> bytes:
        first = number * self._rendering.page_size
        return self._render(number, range(first, min(first + self._rendering.page_size, self._rendering.total)))
