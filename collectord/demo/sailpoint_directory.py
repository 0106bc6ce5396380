"""The tenant's identities as `public-identities` lists them: by offset, over people who come and go (A9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from collectord.demo.sailpoint_errors import ILLEGAL_VALUE, Refused
from collectord.demo.sailpoint_objects import SailPointObjects

KNOWN = {"limit", "offset", "count", "filters", "sorters", "add-core-filters"}
MAX_LIMIT = 250


@dataclass(slots=True)
class Identity:
    """One person in the present version."""

    document: dict[str, Any]
    version: int = 1

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def key(self) -> str:
        """What the oracle knows this version by."""
        return f"{self.id}@{self.version}"

    @property
    def body(self) -> bytes:
        return orjson.dumps(self.document)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a page asks for."""

    limit: int
    offset: int
    count: bool
    sort: str

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Listing:
        """Parameters to a listing; Refused for what SailPoint refuses."""
        numbers = {"limit": MAX_LIMIT, "offset": 0}
        for name, default in numbers.items():
            text = parameters.get(name, str(default))
            if not text.isdecimal():
                raise Refused(400, text=f"{name}: no number")
            numbers[name] = int(text)
        sort = parameters.get("sorters", "")
        if numbers["limit"] > MAX_LIMIT:
            raise Refused(400, text=f"limit: at most {MAX_LIMIT}")
        if sort not in {"", "name", "-name"} or "filters" in parameters:
            raise Refused(400, ILLEGAL_VALUE)
        return cls(numbers["limit"], numbers["offset"], parameters.get("count") == "true", sort)


class Directory:
    """Everybody."""

    def __init__(self, objects: SailPointObjects, seed: int) -> None:
        self.identities: dict[str, Identity] = {}
        self._objects = objects
        self._random = Random(seed)

    def add(self, count: int, **members: Any) -> list[str]:
        """New people; `members` replace what they have, e.g. `name`."""
        added = [Identity({**self._objects.identity(), **members}) for _ in range(count)]
        self.identities.update({identity.id: identity for identity in added})
        return [identity.id for identity in added]

    def remove(self, identity_id: str) -> None:
        """Somebody is gone, and nothing tells of it."""
        del self.identities[identity_id]

    def change(self, identity_id: str, **members: Any) -> None:
        """A new version of somebody."""
        identity = self.identities[identity_id]
        self.identities[identity_id] = Identity({**identity.document, **members}, identity.version + 1)

    def listed(self, sort: str, *, unstable: bool) -> list[Identity]:
        """Everybody in order; without one in any."""
        people = list(self.identities.values())
        if unstable or not sort:
            self._random.shuffle(people)
        if sort:
            people.sort(key=lambda identity: str(identity.document["name"]), reverse=sort.startswith("-"))
        return people
