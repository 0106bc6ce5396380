"""The contract a vendor fulfils: `fetch(cursor) -> Page` per stream, and nothing else.

No loop, no sleep, no retry, no file and no sink belongs in a vendor's module. A source type is one row of the table in
`collectord.sources`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from collectord.client import Client
    from collectord.records import Cursor, Page
    from collectord.settings import SourceConfig, SourceSettings


class Stream(Protocol):
    """One feed of one source."""

    async def fetch(self, cursor: Cursor | None) -> Page:
        """Get the page after `cursor`; None means that nothing was ever collected.

        One page, or an error: SourceUnavailable, RateLimited or SourceRefused. May be cancelled anywhere; is called
        again only after its page is in the outbox, or with the same cursor.
        """


@dataclass(frozen=True, slots=True)
class StreamType:
    """What is the same for one stream of every source of a type."""

    interval_seconds: float
    siem_inventory: bool = False
    """The records describe objects, not events: `_siemDataType` is `Inventory`."""


@dataclass(frozen=True, slots=True)
class SourceType:
    """One vendor API that sources can speak."""

    name: str
    """As in `schemaRef.type`."""
    config: type[SourceConfig]
    streams: Mapping[str, StreamType]
    selected: Callable[[SourceConfig], Sequence[str]]
    """The streams that this configuration asks for, in order."""
    origin: Callable[[SourceConfig], str]
    """The vendor's base URL by this configuration; `base_url` in the options overrides it."""
    open: Callable[[SourceSettings, Client], Mapping[str, Stream]]
    """Build the selected streams; no request is made."""
    client_options: Callable[[SourceSettings], Mapping[str, object]]
    siem: Mapping[str, str] = field(default_factory=dict)
    """`_siemVendor`, `_siemProduct`, `_siemFormat`."""
    after_window: Literal["quit"] | float = "quit"
    """What follows the 90-minute window: seconds between attempts, or stop."""
