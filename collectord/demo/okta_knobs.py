"""What may differ between Okta tenants, and between events (okta-netskope.md 1.5, 1.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from collectord.demo.knobs import Knobs
from collectord.demo.okta_links import LinkStyle

LOGS = "/api/v1/logs"
USERS = "/api/v1/users"
GROUPS = "/api/v1/users/{id}/groups"


@dataclass(kw_only=True)
class OktaKnobs(Knobs):
    """What may differ between tenants and days; may be changed at any moment."""

    max_in_flight: int = 6  # five for groups [OKRL], one for the log
    links: LinkStyle = field(default_factory=LinkStyle)
    cursor_lifetime_seconds: float | None = None
    """A cursor older than this is refused with 400; None = it lives for ever."""
    limit_ceiling: int | None = None
    """A larger `limit` runs into the 30-second limit: 500 E0000009."""
    refuse_large_user_limit: bool = False
    """More than 200 users a page: 400 instead of 200 users."""
    bounded_delay_seconds: float = 0.0
    """How long after its commit an event is still absent from bounded queries."""
    denied: set[str] = field(default_factory=set)
    """Paths for which the token lacks the privilege: 403."""
    org_limits: dict[str, int] | None = field(default_factory=lambda: {LOGS: 120, USERS: 600, GROUPS: 1200})
    """Requests a window for the whole tenant, by path [OKRL-25]; None = no limits and no headers."""
    token_share: float = 0.5
    """One token's part of it [OKRL]."""
    window_seconds: float = 60.0
    concurrency_limit: int | None = None
    """More requests at once than this are answered 429 with limit and remaining 0 [OKRL]."""
    duplicate_rate_headers: bool = False
    """Every rate header twice, the smaller value being the true one [OSDK]."""
    reset_offset_seconds: float = 0.0
    """Added to X-Rate-Limit-Reset; negative enough and it lies in the past."""
    log_rate_violations: bool = False
    """Each refusal by a limit is an event in the very log that is being collected [OKRL]."""


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """What the events of one `issue` are like."""

    stream: Literal["events", "users"] = "events"
    """Users have no other option."""
    late_seconds: float = 0.0
    """How long before its commit an event was published: late events of a polling reader."""
    commit_after_seconds: float = 0.0
    """How long from now it takes until the event is there for anyone."""
    age_seconds: float = 0.0
    """History: committed so long ago. Not possible behind a reader's back."""
    event_type: str = ""
    odd: Sequence[str] = ()
    """Kinds of `okta_odd`, taken in turn; empty = ordinary events."""
    pretty: bool = False
    """Printed over many lines."""
