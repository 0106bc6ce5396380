"""What SailPoint lists, and how its rows become records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from collectord.records import Record, digest, parse_time
from collectord.splitting import Slice, heads


class Event(msgspec.Struct, gc=False):
    """An audit event: its id is its identity, `synced` may change later."""

    # Typed as anything, here and below: a wrong type must not cost the page.
    id: Any = None
    created: Any = None
    technicalName: Any = None

    def record(self, raw: Slice) -> Record:
        """The row as it is delivered."""
        name = self.technicalName
        return Record(
            raw,
            self.id if isinstance(self.id, str) and self.id else digest(raw),
            parse_time(self.created),
            name if isinstance(name, str) and name else None,
        )


class User(msgspec.Struct, gc=False):
    """A public identity: it tells no time, so only its content tells one version from another."""

    id: Any = None

    def record(self, raw: Slice) -> Record:
        """The row as it is delivered."""
        content = digest(raw)
        return Record(raw, f"{self.id}@{content}" if isinstance(self.id, str) and self.id else content)


@dataclass(frozen=True, slots=True)
class Api:
    """One list of the tenant."""

    name: str
    """What it lists."""
    service: str
    """What is asked, as in a path."""
    row: type[Event | User]
    scope: str
    """The scope that the token must have."""
    owner: str
    """Whose token it must be."""

    def read(self, body: bytes, rows: list[Slice]) -> list[Any]:
        """The fields that are needed of each row of a page; raises Malformed when a row is no object."""
        described: list[Any] = heads(body, rows, self.row)
        return described


EVENTS = Api(
    "audit events",
    "search",
    Event,
    "sp:search:read",
    "its owner needs the user level REPORT_ADMIN, or another that may search",
)
USERS = Api(
    "users",
    "public-identities",
    User,
    "sp:scopes:default",
    "it must be a personal access token, whose owner is a user; an API client without one may not list users",
)
