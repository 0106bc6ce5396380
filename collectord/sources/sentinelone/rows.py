"""What SentinelOne lists: the three APIs, and how their rows become records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from collectord.records import Record, digest, parse_time
from collectord.splitting import Slice, heads

PREFIX = "/web/api/v2.1"


class Activity(msgspec.Struct, gc=False):
    """Append-only: its id is its identity."""

    # Typed as anything, here and below: types drift between consoles, and a wrong one must not cost the page.
    id: Any = None
    createdAt: Any = None

    def record(self, raw: Slice) -> Record:
        """The row as it is delivered."""
        identity = _text(self.id)
        event_id = f"activities - {identity}" if identity else "activities"
        return Record(raw, identity or digest(raw), parse_time(self.createdAt), event_id)


class ThreatInfo(msgspec.Struct, gc=False):
    """Where a threat of API 2.1 has its times; at the root there are none."""

    updatedAt: Any = None


class Threat(msgspec.Struct, gc=False):
    """Changes after its creation; each version is a record of its own."""

    id: Any = None
    threatInfo: ThreatInfo | str | int | float | bool | list[Any] | None = None

    def record(self, raw: Slice) -> Record:
        """The row as it is delivered."""
        identity = _text(self.id)
        updated_at = self.threatInfo.updatedAt if isinstance(self.threatInfo, ThreatInfo) else None
        event_id = f"threats - {identity}" if identity else "threats"
        return Record(raw, _version(identity, updated_at, raw), parse_time(updated_at), event_id)


class Agent(msgspec.Struct, gc=False):
    """Changes all the time; `uuid` may change or repeat after a new installation, `id` does not."""

    id: Any = None
    updatedAt: Any = None

    def record(self, raw: Slice) -> Record:
        """The row as it is delivered."""
        return Record(raw, _version(_text(self.id), self.updatedAt, raw), parse_time(self.updatedAt), "agents")


Row = Activity | Threat | Agent


@dataclass(frozen=True, slots=True)
class Api:
    """One list of the console."""

    name: str
    row: type[Row]
    moment: str
    """The time that is sorted and filtered by; activities have no filter for `updatedAt`."""
    permission: str
    """What the role of the token's user must hold."""

    @property
    def path(self) -> str:
        """Where it answers; SentinelOne counts requests by it."""
        return f"{PREFIX}/{self.name}"

    def records(self, body: bytes, rows: Sequence[Slice]) -> list[Record]:
        """The rows of a page as records; raises Malformed when one is no object."""
        described: list[Row] = heads(body, [*rows], self.row, "data")
        return [row.record(raw) for raw, row in zip(rows, described, strict=True)]


ACTIVITIES = Api("activities", Activity, "createdAt", "Activity: View")
THREATS = Api("threats", Threat, "updatedAt", "Threats: View")
AGENTS = Api("agents", Agent, "updatedAt", "Endpoints: View")


def _version(identity: str, updated_at: object, raw: Slice) -> str:
    if not identity:
        return digest(raw)
    return f"{identity}@{_text(updated_at) or digest(raw)}"


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ""
