"""What may differ between SentinelOne consoles, and between rows (sailpoint-sentinelone.md B2, B3, B7, B8, B11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from collectord.demo.knobs import Knobs

PREFIX = "/web/api/v2.1"
ACTIVITIES, THREATS, AGENTS = "activities", "threats", "agents"
DAY_SECONDS = 86_400.0


@dataclass(kw_only=True)
class SentinelOneKnobs(Knobs):
    """What may differ between consoles and days; may be changed at any moment."""

    max_in_flight: int = 4  # one for each list, one for the token's details
    last_page: Literal["null", "extra_empty"] = "null"
    """The last page with rows has no cursor; or it has one, which leads to an empty page."""
    strict_cursors: bool = True
    """A cursor that comes percent-encoded twice is refused; else it is taken."""
    cursor_lifetime_seconds: float | None = None
    """A cursor older than this is refused with 400; None = it lives for ever."""
    refuse_unknown_parameters: bool = True
    """Unknown parameters are answered 400; a violation they are in any case."""
    denied: set[str] = field(default_factory=set)
    """Lists that the token's role may not read."""
    denied_status: Literal[401, 403] = 403
    """How a missing permission is answered: as what it is, or as if the token were wrong."""
    rate_limits: dict[str, int] | None = field(
        default_factory=lambda: {ACTIVITIES: 10, THREATS: 10, AGENTS: 25, "users": 40, "system/status": 2}
    )
    """Requests a second for each token and path; None = no limits."""
    retry_after_seconds: int | None = 1
    """Told with 429; None = nothing is told."""
    agreed_per_second: int | None = 4
    """More requests of one list in a second are a violation, though the console would take them; None = anything."""
    token_lifetime_seconds: float = 180 * DAY_SECONDS
    """From the simulator's start; afterwards everything is 401."""
    touch_after_page: int = 0
    """Threats and agents that change after each page of theirs, oldest and newest alike."""
    insert_after_page: int = 0
    """Agents that appear after each page of agents."""
    zoneless_times: bool = False
    """Rows made from now on have times without a zone."""


@dataclass(frozen=True, kw_only=True)
class Flavour:
    """What the rows of one `issue` are like."""

    stream: str = ACTIVITIES
    late_seconds: float = 0.0
    """How long before it appears a row was created: it comes behind a reader's back."""
    appear_after_seconds: float = 0.0
    """Created now, and shown to nobody for so long."""
    age_seconds: float = 0.0
    """History: created and shown so long ago."""
    same_moment: bool = False
    """All of them created in one microsecond."""
    odd: Sequence[str] = ()
    """Kinds of `sentinelone_odd`, taken in turn; empty = ordinary rows."""
    pretty: bool = False
    """Printed over many lines."""
