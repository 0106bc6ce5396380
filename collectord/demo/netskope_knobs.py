"""What may differ between Netskope tenants, and between records (okta-netskope.md 2.2, 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from collectord.demo.knobs import Knobs

EXPORT = "/api/v2/events/dataexport/events"
STREAMS = ("alert", "application", "audit", "infrastructure", "network", "page", "connection", "incident", "endpoint")


@dataclass(kw_only=True)
class NetskopeKnobs(Knobs):
    """What may differ between tenants and days; may be changed at any moment."""

    max_in_flight: int = 9  # one for each endpoint
    page_size: int = 10_000
    hour_batches: bool = True
    """A page never crosses the hour from its start [NSD]; False = as many as there are."""
    epoch_by: Literal["event", "insertion"] = "event"
    """Which time an epoch goes by. By the event's own, a record that arrives late is behind it."""
    wait_full: float | None = 0
    """`wait_time` of a full page, seconds; None = the key is absent."""
    wait_some: float | None = 1
    wait_idle: float | None = 30
    hwm: Literal["static", "moving", "absent"] = "static"
    """`timestamp_hwm` of an index that has nothing new: stands still, goes with the clock, or is never told."""
    shuffle: bool = False
    """Records of a page in any order."""
    extra_keys: bool = True
    """Keys in the envelope that nobody documented."""
    requests_per_second: int | None = 4
    """For each endpoint [NSD22]; None = no limits and no headers."""
    retry_after: str | None = "1"
    """What a 429 says; None = the header is absent."""
    denied: set[str] = field(default_factory=set)
    """Streams for which the token has no scope: 403."""
    absent: set[str] = field(default_factory=set)
    """Streams that this tenant does not have: 404."""
    bad_token_status: int = 401
    """401, 403 or 429: all three were seen [NSPY]."""
    conflict_by: Literal["index", "path"] = "index"
    """What two requests at a time must share to be answered 409."""
    fresh_index: Literal["empty", "refused"] = "empty"
    """What `resend` answers on an index that was never used: an empty page or 400."""
    head_and_tail: bool = False
    """The operations that the newest documentation does not have."""
    answer_seconds: float = 0.0
    """How long an answer takes."""


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """What the records of one `issue` are like."""

    stream: str = ""
    """Empty = all streams in turn."""
    late_seconds: float = 300.0
    """How long after its own time a record becomes visible [demisto's samples]."""
    visible_after_seconds: float = 0.0
    """How long from now it takes until the record is there for anyone."""
    age_seconds: float = 0.0
    """History: visible since so long ago. Not possible behind a reader's back."""
    text: str = ""
    """`audit_log_event` of an audit record."""
    description: str = ""
    """`description` of an audit record; absent when empty, as in v2."""
    object_id: str = ""
    """`_id`, for another version of an incident."""
    odd: Sequence[str] = ()
    """Kinds of `netskope_odd`, taken in turn; empty = ordinary records."""
    pretty: bool = False
    """Printed over many lines."""
