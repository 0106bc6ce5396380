"""What may differ between SailPoint tenants, and between rows (sailpoint-sentinelone.md A2-A11, A14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from collectord.demo.knobs import Knobs

SEARCH, COUNT, USERS = "search", "search/count", "public-identities"
LEGACY_VERSIONS = ("v3", "v2024", "v2025", "v2026")
SERVICE_VERSION = "service-v1"


@dataclass(kw_only=True)
class SailPointKnobs(Knobs):
    """What may differ between tenants and days; may be changed at any moment."""

    max_in_flight: int = 3  # of one client id, tokens included
    expires_in: float | str | None = 43_199
    """Told with a token; None = nothing is told."""
    token_seconds: float | None = None
    """How long a token lives in truth; None = as told."""
    bad_client_status: int = 401
    """A wrong id or secret: 400 and 401 have both been seen."""
    strict_scope: bool = True
    """A token request that names a scope is refused."""
    denied: set[str] = field(default_factory=set)
    """Services that the token's scope or its owner's level does not allow: `search`, `search/count`,
    `public-identities`."""
    deprecated: set[str] = field(default_factory=set)
    """API versions that answer with X-Deprecated."""
    retired: set[str] = field(default_factory=set)
    """API versions that are there no more: 404."""
    sorts_by_id: bool = True
    """A sort of events by id, alone or behind another, is taken; else 400."""
    limit_ceiling: int = 10_000
    """A larger limit of a search is refused with 400."""
    index_lag_seconds: tuple[float, float] = (0.0, 0.0)
    """From its creation until an event can be found: between these two, by chance."""
    rate_limit: int | None = 100
    """Requests in a window for each client id and API version; None = no limits."""
    window_seconds: float = 10.0
    retry_after: str | None = "told"
    """Of a 429: `told` = the seconds left; another text = that text; None = no such header."""
    agreed_per_window: int | None = 100
    """More requests in any ten seconds are a violation, though nothing is refused; None = anything."""
    unstable_names: bool = False
    """Users of the same name come in another order with each request."""
    remove_after_page: int = 0
    """Users from the beginning of the list that vanish after each page of users."""
    insert_after_page: int = 0
    """Users that appear at the beginning of the list after each page of users."""


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """What the events of one `issue` are like."""

    stream: Literal["events", "users"] = "events"
    """Users have no other option."""
    late_seconds: float = 0.0
    """How long before it can be found an event was created: it comes behind a reader's back."""
    appear_after_seconds: float = 0.0
    """Created now, and found by nobody for so long."""
    age_seconds: float = 0.0
    """History: created and indexed so long ago."""
    same_moment: bool = False
    """All of them created in one millisecond."""
    technical_name: str = ""
    odd: Sequence[str] = ()
    """Kinds of `sailpoint_odd`, taken in turn; empty = ordinary events."""
    pretty: bool = False
    """Printed over many lines."""
