"""Events and identities that look like SailPoint's, the same for the same seed (sailpoint-sentinelone.md A6, A9)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from random import Random
from typing import Any

import orjson

_KINDS = (
    ("AUTH", "AUTHENTICATION-103", ("AUTHENTICATION",), "REQUEST", "PASSED"),
    ("AUTH", "AUTHENTICATION-103", ("AUTHENTICATION",), "REQUEST", "FAILED"),
    ("PROVISIONING", "AddEntitlement", ("ENTITLEMENT",), "ADD", "PASSED"),
    ("ACCESS_ITEM", "update", ("ACCESS_PROFILE",), "UPDATE", "PASSED"),
    ("SOURCE_MANAGEMENT", "SOURCE_ACCOUNT_AGGREGATION_STARTED", ("SOURCE", "ACCOUNT"), "AGGREGATE", "STARTED"),
    ("USER_MANAGEMENT", "USER_ACTIVATE_PASSED", ("USER",), "ACTIVATE", "PASSED"),
    ("PASSWORD_ACTIVITY", "PASSWORD_ACTION_CHANGE_PASSED", ("PASSWORD", "ACTION"), "CHANGE", "PASSED"),
    ("SYSTEM_CONFIG", "MACHINE IDENTITY_CREATE_PASSED", ("MACHINE IDENTITY",), "CREATE", "PASSED"),
)
_FIRST = ("Ada", "Bea", "Dorota", "Émile", "Fatma", "Goran", "Hanna", "João", "Kofi", "Lena", "Mei", "Søren", "Tomás")
_LAST = ("Berg", "Çelik", "Diaz", "Eriksen", "Fabre", "Gruber", "Łoś", "Nakamura", "Okafor", "Singh")
_FILLER = "Lorem ipsum account aggregation of source entitlement review certification campaign owner " * 120


def iso(milliseconds: int) -> str:
    """SailPoint's way to write a time."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


class SailPointObjects:
    """Makes events of about `event_bytes` of compact JSON, and identities."""

    def __init__(self, seed: int, event_bytes: int) -> None:
        self._random = Random(seed)
        self._people = [f"{self._random.choice(_FIRST)}.{self._random.choice(_LAST)}{n}".lower() for n in range(200)]
        self._filler_length = 0
        self._filler_length = max(0, event_bytes - self._mean_bare_size())

    def event_id(self) -> str:
        """In one of the three shapes that were seen."""
        bits = self._random.getrandbits(256)
        return (f"{bits:064x}", f"{bits & (2**128 - 1):032x}", str(uuid.UUID(int=bits & (2**128 - 1))))[bits % 3]

    def event(self, event_id: str, created_ms: int, technical_name: str = "") -> dict[str, Any]:
        """One event."""
        random = self._random
        kind, action, objects, operation, status = random.choice(_KINDS)
        actor, target = random.choice(self._people), random.choice(self._people)
        address = f"203.0.113.{random.randrange(1, 255)}"
        tracking = f"{random.getrandbits(128):032x}"
        begin = random.randrange(1000)
        event: dict[str, Any] = {
            "org": "acme",
            "pod": "prd01-useast1",
            "created": iso(created_ms),
            "id": event_id,
            "action": action,
            "type": kind,
            "actor": {"name": actor},
            "target": {"name": target},
            "stack": "oathkeeper",
            "trackingNumber": tracking,
            "ipAddress": address,
            "details": tracking,
            "attributes": {"sourceName": "IdentityNow", "hostName": address, "org": "acme", "pod": "prd01-useast1"},
            "objects": list(objects),
            "operation": operation,
            "status": status,
            "technicalName": technical_name or f"{'_'.join(objects)}_{operation}_{status}",
            "name": f"{operation.title()} {' '.join(objects).title()} {status.title()}",
            "synced": iso(created_ms + random.choice((0, 350, 600, 1_900, 5_000))),
            "_type": "event",
            "_version": random.choice(("v2", "v7")),
        }
        if self._filler_length:
            event["attributes"]["info"] = _FILLER[begin : begin + self._filler_length]
        return event

    def identity(self) -> dict[str, Any]:
        """One public identity; names repeat."""
        random = self._random
        first, last = random.choice(_FIRST), random.choice(_LAST)
        number = random.getrandbits(128)
        alias = f"{first}.{last}{number % 10_000}".lower()
        manager = {"type": "IDENTITY", "id": f"2c91{random.getrandbits(112):028x}", "name": "Bo Diaz"}
        return {
            "id": f"2c90{number >> 16:028x}",
            "name": f"{first} {last}",
            "alias": alias,
            "email": f"{alias}@acme.example" if number % 7 else None,
            "status": "Active",
            "identityState": random.choice(("ACTIVE", "ACTIVE", "INACTIVE_SHORT_TERM", None)),
            "manager": manager if number % 5 else None,
            "attributes": [{"key": "country", "name": "Country", "value": random.choice(("NO", "DE", "US", None))}],
        }

    def _mean_bare_size(self) -> int:
        state = self._random.getstate()
        sizes = [len(orjson.dumps(self.event(self.event_id(), 0))) + 10 for _ in range(50)]
        self._random.setstate(state)
        return sum(sizes) // len(sizes)
