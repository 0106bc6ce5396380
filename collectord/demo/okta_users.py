"""Okta's users and their groups (okta-netskope.md 1.3, 1.4 [OAS][OKU-25])."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from collectord.demo.okta_errors import OktaError
from collectord.demo.okta_events import iso
from collectord.demo.okta_filter import Comparison, Expression, comparisons, has_not, parse

GONE = "DEPROVISIONED"
STATUSES = ("ACTIVE", "STAGED", "PROVISIONED", "RECOVERY", "LOCKED_OUT", "PASSWORD_EXPIRED", "SUSPENDED", GONE)
KNOWN = frozenset({"search", "filter", "q", "limit", "after", "sortBy", "sortOrder", "fields", "expand"})
_OMITTING = ("omitCredentials", "omitCredentialsLinks", "omitTransitioningToStatus")
_FILTERED = frozenset(
    {"status", "lastUpdated", "id", "profile.login", "profile.email", "profile.firstName", "profile.lastName"}
)
_SEARCHED = frozenset({"id", "status", "created", "activated", "statusChanged", "lastUpdated", "type.id"})
_GROUP_NAMES = ("Everyone", "Finance", "Engineering", "Contractors", "Administrators", "Zürich")


@dataclass(slots=True)
class User:
    """One user as the directory holds it."""

    document: dict[str, Any]
    groups: list[dict[str, Any]] = field(default_factory=list)
    vanished: bool = False
    """Listed, but gone when its groups are asked for."""

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def version(self) -> str:
        """Key of the oracle: the object and when it last changed."""
        return f"{self.id}@{self.document['lastUpdated']}"

    def render(self, *, omit_credentials: bool) -> bytes:
        if not omit_credentials:
            return orjson.dumps(self.document)
        left_out = {"credentials", "transitioningToStatus"}
        return orjson.dumps({name: value for name, value in self.document.items() if name not in left_out})


class Directory:
    """The tenant's users in order of their ids."""

    def __init__(self, seed: int = 0) -> None:
        self.users: dict[str, User] = {}
        self._random = Random(seed)
        self._number = 0
        self._groups = [self._group(number, name) for number, name in enumerate(_GROUP_NAMES)]

    def add(self, count: int, now_ms: int, status: str = "") -> list[str]:
        """New users; of mixed statuses unless one is named."""
        return [self._add_one(now_ms, status or self._random.choice(STATUSES)) for _ in range(count)]

    def change(self, user_id: str, now_ms: int, **members: Any) -> None:
        """Change members of a user, e.g. `status="DEPROVISIONED"`."""
        document = self.users[user_id].document
        self.users[user_id].document = {**document, **members, "lastUpdated": iso(now_ms)}

    def delete(self, user_id: str) -> None:
        del self.users[user_id]

    def page(self, parameters: Mapping[str, str], after: str, limit: int) -> tuple[list[User], bool]:
        """The next users and whether more follow."""
        expression = _expression(parameters)
        ids = sorted(self.users)
        found: list[User] = []
        for user_id in ids[bisect_right(ids, after) :]:
            user = self.users[user_id]
            if not _is_wanted(user, expression, parameters.get("q")):
                continue
            if len(found) == limit:
                return found, True
            found.append(user)
        return found, False

    def _add_one(self, now_ms: int, status: str) -> str:
        self._number += 1
        number = self._number
        user_id = f"00u{number:08d}{self._random.getrandbits(36):09x}"
        created = iso(now_ms - self._random.randrange(10**9))
        login = f"user{number}@acme.test"
        document = {
            "id": user_id,
            "status": status,
            "created": created,
            "activated": created if status != "STAGED" else None,
            "statusChanged": created,
            "lastLogin": None,
            "lastUpdated": iso(now_ms),
            "passwordChanged": None,
            "transitioningToStatus": None,
            "type": {"id": "oty1"},
            "profile": {
                "firstName": f"First{number}",
                "lastName": "Łast",
                "login": login,
                "email": login,
                "employeeNumber": 2**53 + number if number % 7 == 0 else str(number),
            },
            "credentials": {"recovery_question": {"question": "?"}, "provider": {"type": "OKTA", "name": "OKTA"}},
        }
        groups = [self._groups[0], *self._random.sample(self._groups[1:], self._random.randrange(3))]
        self.users[user_id] = User(document, groups)
        return user_id

    def _group(self, number: int, name: str) -> dict[str, Any]:
        return {
            "id": f"00g{number:017d}",
            "created": "2024-01-02T03:04:05.000Z",
            "lastUpdated": "2024-01-02T03:04:05.000Z",
            "lastMembershipUpdated": "2026-01-02T03:04:05.000Z",
            "objectClass": ["okta:user_group"],
            "type": "BUILT_IN" if number == 0 else "OKTA_GROUP",
            "profile": {"name": name, "description": None},
        }


def omits_credentials(content_type: str) -> bool:
    """All three words are needed (okta-netskope.md 1.3)."""
    return all(word in content_type for word in _OMITTING)


def check_parameters(parameters: Mapping[str, str]) -> None:
    """OktaError for combinations that Okta refuses."""
    if "sortBy" in parameters and "search" not in parameters:
        raise OktaError(400, "E0000001", "Api validation failed: sortBy needs search")
    _expression(parameters)


def _is_wanted(user: User, expression: Expression | None, start: str | None) -> bool:
    document = user.document
    if expression is not None:
        return expression.matches(document)
    if document["status"] == GONE:
        return False
    if start is None:
        return True
    names = (document["profile"][name] for name in ("firstName", "lastName", "email"))
    return any(name.lower().startswith(start.lower()) for name in names)


def _expression(parameters: Mapping[str, str]) -> Expression | None:
    if "search" in parameters:
        expression = parse(parameters["search"])
        for comparison in comparisons(expression):
            _check_searched(comparison)
        return expression
    if "filter" in parameters:
        expression = parse(parameters["filter"])
        if has_not(expression):
            raise OktaError(400, "E0000053", "Invalid filter: not is not supported")
        for comparison in comparisons(expression):
            _check_filtered(comparison)
        return expression
    return None


def _check_searched(comparison: Comparison) -> None:
    attribute = comparison.attribute
    if comparison.operator == "ne" or (attribute == "id" and comparison.operator == "pr"):
        # `id pr` is not documented, so it is not for us to rely on.
        raise OktaError(400, "E0000031", f"Invalid search criteria: {attribute} {comparison.operator}")
    if attribute not in _SEARCHED and not attribute.startswith("profile."):
        raise OktaError(400, "E0000031", f"Invalid search criteria: {attribute}")


def _check_filtered(comparison: Comparison) -> None:
    allowed = {"eq", "gt", "ge", "lt", "le"} if comparison.attribute == "lastUpdated" else {"eq"}
    if comparison.attribute not in _FILTERED or comparison.operator not in allowed:
        raise OktaError(400, "E0000053", f"Invalid filter: {comparison.attribute} {comparison.operator}")
