"""Errors, sorted by what to do next; the platform's three names are mapped here and nowhere else.

    CollectordError
    ├─ ConfigError             every fault of every file; keep what runs, exit 78 at start
    ├─ SourceError             the third party
    │  ├─ SourceUnavailable    try again, waits growing, for the window                    GENERIC
    │  │  └─ RateLimited       wait as told; not a trouble, the source stays `Collecting`
    │  └─ SourceRefused        no retry until a human changed something                    CONFIG
    │     └─ CheckpointLost    no retry until a human said where to go on                 (first party's)
    ├─ SinkError               the first party
    │  ├─ SinkUnavailable      send the same bytes again
    │  ├─ SinkRefused          stop the sink until a human changed something
    │  ├─ BatchTooLarge        split the batch
    │  └─ BatchRejected        bisect to the poison record, dead-letter it
    └─ StoreError              the first party: what cannot be remembered is not collected
       ├─ StoreFull            no space left: collecting waits, what waits is delivered
       └─ StoreUnusable        nothing can start on this state directory; exit 78

A message says what failed and what to do; it never holds a credential, a request header or a query string, and at most
256 characters of a foreign body.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

EXCERPT_CHARACTERS = 256


class ErrorType(StrEnum):
    """The platform's name of an error, in the spelling of the management API."""

    THIRD_PARTY_CONFIG = "THIRD-PARTY-CONFIG"
    THIRD_PARTY_GENERIC = "THIRD-PARTY-GENERIC"
    FIRST_PARTY_GENERIC = "FIRST-PARTY-GENERIC"

    @property
    def health_event(self) -> str:
        """Name of the health event that this trouble opens, e.g. `ThirdPartyConfigError`."""
        return "".join(word.title() for word in self.value.split("-")) + "Error"


class CollectordError(Exception):
    """Root of everything that collectord raises on purpose."""

    error_type = ErrorType.FIRST_PARTY_GENERIC

    def __init__(
        self, message: str, *, code: int | None = None, info: str = "", retry_after: float | None = None
    ) -> None:
        """`code` is the HTTP status if there was one, `info` the other side's own words, `retry_after` seconds."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.info = info[:EXCERPT_CHARACTERS]
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in a configuration file; `reason` never holds a value that could be a secret."""

    file: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}: {self.reason}"


class ConfigError(CollectordError):
    """The configuration has faults; `faults` lists every one of them."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class SourceError(CollectordError):
    """The vendor's side failed."""

    error_type = ErrorType.THIRD_PARTY_GENERIC


class SourceUnavailable(SourceError):
    """Trying again may help: network, time-out, 5xx, a page that makes no sense."""


class RateLimited(SourceUnavailable):
    """The vendor told us to wait; `retry_after` is set."""


class SourceRefused(SourceError):
    """Trying again does not help until somebody changes the configuration or the vendor's side.

    `whole_source` is true where the credential itself is refused, false where only this stream is.
    """

    error_type = ErrorType.THIRD_PARTY_CONFIG

    def __init__(self, message: str, *, code: int | None = None, info: str = "", whole_source: bool = False) -> None:
        super().__init__(message, code=code, info=info)
        self.whole_source = whole_source


class CheckpointLost(SourceRefused):
    """The saved place of a stream was lost with a damaged state store; to begin anew by itself could leave a gap."""

    error_type = ErrorType.FIRST_PARTY_GENERIC


class SinkError(CollectordError):
    """The sink's side failed."""


class SinkUnavailable(SinkError):
    """The batch may or may not have arrived: send the same bytes with the same key again."""


class SinkRefused(SinkError):
    """The sink refuses everything: wrong credential, wrong address, a redirect."""


class BatchTooLarge(SinkError):
    """The sink takes smaller batches only."""


class BatchRejected(SinkError):
    """The sink cannot read this batch; at least one record in it is poison."""


class StoreError(CollectordError):
    """The state store could not keep what it was given; nothing of it was kept."""


class StoreFull(StoreError):
    """There is no space left on the disk."""


class StoreUnusable(StoreError):
    """The state directory is locked, newer than this program, read-only or not ours."""
