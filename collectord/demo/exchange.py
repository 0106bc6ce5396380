"""What a simulator receives and what it answers, free of the HTTP library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import orjson

if TYPE_CHECKING:
    from aiohttp import web

    from collectord.demo.limits import Allowance

Headers = tuple[tuple[str, str], ...]
"""Header lines in order; a name may stand twice."""


@dataclass(slots=True, eq=False)
class Call:
    """One request of the client, read whole."""

    method: str
    target: str
    """Path and query exactly as they came, percent-encoding included."""
    path: str
    pairs: list[tuple[str, str]]
    """The query's parameters in order; `+` is a space here, as at every server."""
    headers: Mapping[str, str]
    header_names: list[str]
    body: bytes
    at: float
    """The event loop's time of arrival."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What stood in the route's places, e.g. `{"id": "00u1"}`."""
    route: str = ""
    """The route's pattern, e.g. `GET /api/v1/users/{id}/groups`; empty when there is none."""
    allowance: Allowance | None = None
    """What the rate limit leaves; None where nothing is counted."""

    @property
    def query(self) -> dict[str, str]:
        """The parameters; of one given twice the last."""
        return dict(self.pairs)

    @property
    def raw_query(self) -> str:
        return self.target.partition("?")[2]

    @classmethod
    async def read(cls, request: web.BaseRequest, at: float, body: bytes | None = None) -> Call:
        """Read a request whole, unless its body was read already."""
        target = request.raw_path
        path, _, query = target.partition("?")
        if body is None:
            body = await request.content.read() if request.can_read_body else b""
        return cls(
            method=request.method,
            target=target,
            path=unquote(path),
            pairs=parse_qsl(query, keep_blank_values=True),
            headers=request.headers,
            header_names=list(request.headers.keys()),
            body=body,
            at=at,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Headers = ()
    content_type: str = "application/json"
    gzipped: bytes | None = None
    """The body compressed beforehand, for a client that asks for gzip."""

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Answer:
        return cls(status, orjson.dumps(value))

    def adding(self, *headers: tuple[str, str]) -> Answer:
        """The same with more header lines behind."""
        return replace(self, headers=(*self.headers, *headers))

    def values(self, name: str) -> list[str]:
        """Every value of a header, whatever its case."""
        return [value for header, value in self.headers if header.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One line of the log of requests."""

    method: str
    target: str
    status: int
    """What the client was sent; 0 when the connection was cut before a status."""
    at: float
    fault: str = ""
    """Name of the fault that was played, if one was."""
