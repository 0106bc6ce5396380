"""The inventory of users, each with the groups that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import msgspec

from collectord.errors import CollectordError, SourceError
from collectord.records import Cursor, Page, Record, Repaired, digest, parse_time
from collectord.source import AT_REST
from collectord.sources.okta.api import LIMIT, failure_of, read

if TYPE_CHECKING:
    from collectord.client import Client, Response
    from collectord.splitting import Slice

USERS = "/api/v1/users"
GROUPS = "/api/v1/users/{id}/groups"
PAGE_SIZE = 100
"""Okta gives 200; with a request for the groups of each, a smaller page is sooner in the outbox."""

# Without search or filter Okta leaves out deprovisioned users [OAS].
_EVERYBODY = quote('lastUpdated gt "1970-01-01T00:00:00.000Z"', safe="")
_HEADERS = {
    # All three make the list fast, and keep recovery questions out of the answer [OAS].
    "Content-Type": 'application/json; okta-response="omitCredentials,omitCredentialsLinks,omitTransitioningToStatus"'
}
_SMALLEST_PAGE = 10


class _User(msgspec.Struct, gc=False):
    id: Any = None
    lastUpdated: Any = None


class Users:
    """All users of all statuses, page by page; within a sweep the cursor is `next`, the link of the list."""

    def __init__(self, client: Client, page_size: int | None) -> None:
        self._client = client
        self._page_size = self._limit = min(page_size or PAGE_SIZE, PAGE_SIZE)

    async def fetch(self, cursor: Cursor | None) -> Page:
        """One page of users, joined with their groups; see `Stream.fetch`."""
        link = (cursor or {}).get("next")
        target = f"{USERS}?search={_EVERYBODY}&limit={self._limit}"
        if link is not None:
            target = LIMIT.sub(rf"\g<1>{self._limit}", link)
        response = await self._client.get(target, bucket=USERS, headers=_HEADERS)
        if response.status != 200:
            raise self._failure(response)
        elements, described = read(response, _User, "users")
        joined = await self._join_groups(elements, described)
        following = response.links.get("next")
        if following is None:
            self._limit = self._page_size
            return Page(joined, AT_REST)
        return Page(joined, {"next": self._client.target_of(following, USERS)[0]}, more=True)

    async def probe(self) -> str:
        """Ask for one user and its groups."""
        response = await self._client.get(f"{USERS}?search={_EVERYBODY}&limit=1", bucket=USERS, headers=_HEADERS)
        if response.status != 200:
            raise failure_of(response, "users")
        for user in read(response, _User, "users")[1]:
            if isinstance(user.id, str) and user.id:
                await self._groups(user.id)
        return "the token may read users and their groups"

    async def _join_groups(self, elements: list[Slice], described: list[_User]) -> list[Record]:
        joined = list(elements)
        failed: list[CollectordError] = []

        async def join(number: int, user: str, group: anyio.abc.TaskGroup) -> None:
            try:
                groups = await self._groups(user)
            except CollectordError as error:
                failed.append(error)
                group.cancel_scope.cancel()
                return
            if groups is not None:
                joined[number] = _with_groups(joined[number], groups)

        async with anyio.create_task_group() as group:  # the client lets five of them through at a time
            for number, user in enumerate(described):
                if isinstance(user.id, str) and user.id:
                    group.start_soon(join, number, user.id, group)
        if failed:
            raise failed[0]
        return [_record(raw, user) for raw, user in zip(joined, described, strict=True)]

    async def _groups(self, user: str) -> list[Slice] | None:
        """The groups of a user; None: the user was deleted since the list was made."""
        path = GROUPS.format(id=quote(user, safe=""))
        groups: list[Slice] = []
        target: str | None = path
        while target is not None:
            response = await self._client.get(target, bucket=GROUPS, headers=_HEADERS)
            if response.status == 404:
                return None
            if response.status != 200:
                raise failure_of(response, "the groups of users")
            groups += read(response, _User, "the groups of users")[0]
            following = response.links.get("next")
            target = None if following is None else self._client.target_of(following, path)[0]
        return groups

    def _failure(self, response: Response) -> SourceError:
        if response.status == 500:  # the list took too long [OKU-25]
            self._limit = max(min(_SMALLEST_PAGE, self._page_size), self._limit // 2)
        return failure_of(response, "users")


def _with_groups(user: Slice, groups: list[Slice]) -> bytes:
    inside = bytes(user).rstrip()[:-1]
    comma = b"" if inside.strip() == b"{" else b","
    whole = inside + comma + b'"groups":[' + b",".join(groups) + b"]}"
    return Repaired(whole) if any(isinstance(part, Repaired) for part in (user, *groups)) else whole


def _record(raw: Slice, user: _User) -> Record:
    # A change of groups does not move `lastUpdated`, so only the content tells one version from another.
    content = digest(raw)
    named = isinstance(user.id, str) and user.id
    return Record(raw, f"{user.id}@{content}" if named else content, parse_time(user.lastUpdated))
