"""The contract a vendor fulfils: `fetch(cursor) -> Page` per stream, and nothing else.

No loop, no sleep, no retry, no file and no sink belongs in a vendor's module. A source type is one row of the table in
`collectord.sources`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from anyio import to_thread

from collectord.records import Cursor, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from collectord.auth import Authorization
    from collectord.client import Client
    from collectord.limits import Limits
    from collectord.records import Page
    from collectord.settings import SourceConfig, SourceSettings


T = TypeVar("T")

_READ_ON_LOOP_BYTES = 4 * 2**20  # some milliseconds

AT_REST: Cursor = {"at_rest": True}
"""The cursor of an inventory between two sweeps: a restart does not begin the next sweep before its time."""


class Stream(Protocol):
    """One feed of one source."""

    async def fetch(self, cursor: Cursor | None) -> Page:
        """Get the page after `cursor`; None means that nothing was ever collected.

        One page, or an error: SourceUnavailable, RateLimited or SourceRefused. May be cancelled anywhere; is called
        again only after its page is in the outbox, or with the same cursor.
        """

    async def probe(self) -> str:
        """Make one harmless request; returns what the credential may read in a sentence, or raises as `fetch`."""


@runtime_checkable
class Backfillable(Protocol):
    """A stream of events, which can be asked for its past; an inventory is none."""

    def between(self, since_ms: int, until_ms: int) -> Stream:
        """The same feed from `since_ms` up to, not including, `until_ms`, with the same ids; makes no request.

        It is over with the first page that has no `more`. What it asks the vendor moves nothing of the live stream.
        """


class Connect(Protocol):
    """Makes the HTTP client of one source: its proxy, its CA and the shared connections are already known."""

    def __call__(self, origin: str, *, authorization: Authorization, limits: Limits) -> Client:
        """A client that talks to `origin` and to nobody else."""


@dataclass(frozen=True, slots=True)
class StreamType:
    """What is the same for one stream of every source of a type."""

    interval_seconds: float
    inventory: bool = False
    """The records describe objects, not events: `_siemDataType` is `Inventory`."""
    retention_seconds: float | None = None
    """How long the vendor keeps records; what is older than that when we come is lost. None: objects, or not known."""


@dataclass(frozen=True, slots=True)
class SourceType:
    """One vendor API that sources can speak: a row of the table."""

    name: str
    """As in `schemaRef.type`."""
    config: type[SourceConfig]
    streams: Mapping[str, StreamType]
    """Every stream there is, by name."""
    selected: Callable[[SourceConfig], Sequence[str]]
    """The streams that this configuration asks for, in order."""
    open: Callable[[SourceSettings, Connect], Mapping[str, Stream]]
    """Build the selected streams; makes no request."""
    siem: Mapping[str, str]
    """`_siemVendor`, `_siemProduct`, `_siemFormat`."""
    after_window: Literal["quit"] | float
    """What follows the 90-minute window: seconds between attempts, or stop."""


def first_poll_ms(start: float | str | None, *, default_seconds: float, oldest_seconds: float) -> int:
    """Where the first poll begins: as `start` says, but never further back than the vendor keeps records."""
    now = int(time.time() * 1000)
    if isinstance(start, str):
        wanted = parse_time(start)
        assert wanted is not None  # checked when the file was read
    else:
        wanted = now - int(1000 * (default_seconds if start is None else start))
    return max(wanted, now - int(1000 * oldest_seconds))


async def read_page(body: bytes, read: Callable[..., T], *arguments: Any) -> T:
    """Call `read(*arguments)`, which reads this body: a large one in a thread, for other sources wait for the loop."""
    if len(body) <= _READ_ON_LOOP_BYTES:
        return read(*arguments)
    return await to_thread.run_sync(read, *arguments)
