"""Everything that can go wrong with an answer, each a small frozen value that a test or a control request can name.

A fault first changes the true answer (`alter`), then sends it (`send`). `vendor_acts` says whether the vendor handled
the request before things went wrong: if so its cursors moved, its sink stored, and only the client does not know.
Scenarios: reliability.md 5.1-5.3.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import anyio
from aiohttp import web
from isal import isal_zlib

from collectord.demo.exchange import Answer, Headers
from collectord.demo.wire import Wire

_GZIP_WINDOW = 31
_MEBIBYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Nothing goes wrong; what every fault starts from."""

    vendor_acts: bool = False

    def alter(self, answer: Answer) -> Answer:
        return answer

    async def send(self, wire: Wire, answer: Answer) -> web.StreamResponse:
        return wire.whole(answer)


@dataclass(frozen=True)
class Status(Fault):
    """Any status, body and header lines instead of the answer."""

    status: int
    body: bytes = b""
    headers: Headers = ()
    content_type: str = "application/json"

    def alter(self, answer: Answer) -> Answer:
        del answer
        return Answer(self.status, self.body, self.headers, self.content_type)


@dataclass(frozen=True)
class VendorError(Fault):
    """A status with the body this vendor gives it; the simulator fills it in."""

    status: int
    code: str = ""
    headers: Headers = ()


@dataclass(frozen=True)
class Replay(Fault):
    """The answer that the same route gave last, again: a cache in between, or a cursor that goes round in circles."""


@dataclass(frozen=True)
class HtmlPage(Fault):
    """A proxy's or a login page with status 200."""

    body: bytes = b"<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"

    def alter(self, answer: Answer) -> Answer:
        return Answer(200, self.body, answer.headers, "text/html; charset=utf-8")


@dataclass(frozen=True)
class JsonObject(Fault):
    """200 and an object where the client expects something else."""

    body: bytes = b"{}"

    def alter(self, answer: Answer) -> Answer:
        return Answer(200, self.body, answer.headers)


@dataclass(frozen=True)
class EmptyBody(Fault):
    """200 and nothing."""

    def alter(self, answer: Answer) -> Answer:
        return Answer(200, b"", answer.headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """A redirect, most often to a canary: whoever follows it carries the credential away."""

    location: str
    status: int = 302

    def alter(self, answer: Answer) -> Answer:
        del answer
        return Answer(self.status, b"", (("Location", self.location),), "text/html")


@dataclass(frozen=True, kw_only=True)
class Altering(Fault):
    """A fault in an otherwise true answer."""

    vendor_acts: bool = True


@dataclass(frozen=True)
class ForeignNext(Altering):
    """The true page, with a `next` link that leads to another origin (or to whatever stands in `url`)."""

    url: str

    def alter(self, answer: Answer) -> Answer:
        kept = tuple(line for line in answer.headers if line[0].lower() != "link")
        return replace(answer, headers=(*kept, ("Link", f'<{self.url}>; rel="next"')))


@dataclass(frozen=True)
class ExtraHeaders(Altering):
    """The true answer with more header lines: a cookie, 20 kB in one line, a thousand lines."""

    headers: Headers

    def alter(self, answer: Answer) -> Answer:
        return answer.adding(*self.headers)


@dataclass(frozen=True)
class Rewrite(Altering):
    """Whatever else a test wants to do to a true answer."""

    rewrite: Callable[[Answer], Answer]

    def alter(self, answer: Answer) -> Answer:
        return self.rewrite(answer)


@dataclass(frozen=True)
class Slow(Altering):
    """The true answer, late or in drops; every pause is in seconds."""

    before: float = 0.0
    header_pause: float = 0.0
    body_pause: float = 0.0
    drop_bytes: int = 1
    """Bytes between two pauses."""

    async def send(self, wire: Wire, answer: Answer) -> web.StreamResponse:
        await anyio.sleep(self.before)
        if not self.header_pause and not self.body_pause:
            return wire.whole(answer)
        body, head = wire.encoded(answer, framing="length")
        await wire.drip(head, self.header_pause, self.drop_bytes)
        await wire.drip(body, self.body_pause, self.drop_bytes)
        return wire.finished()


@dataclass(frozen=True)
class Cut(Altering):
    """A body that ends early.

    `length`: fewer bytes than Content-Length says. `chunked`: the last chunk is missing. `close`: neither length nor
    chunks, so that the end of the connection looks like the end of the body and nothing but the JSON tells.
    """

    framing: Literal["length", "chunked", "close"] = "length"
    keep: float = 0.5
    """Share of the body that arrives."""

    async def send(self, wire: Wire, answer: Answer) -> web.StreamResponse:
        body, head = wire.encoded(answer, framing=self.framing)
        part = body[: int(len(body) * self.keep)]
        wire.write(head)
        wire.write(b"%x\r\n%s\r\n" % (len(part), part) if self.framing == "chunked" and part else part)
        return wire.finished()


@dataclass(frozen=True)
class Reset(Altering):
    """The connection is reset: before the status, right after it, or in the middle of the body."""

    at: Literal["before_status", "after_status", "in_body"] = "before_status"
    sent_nothing: ClassVar[str] = "before_status"

    async def send(self, wire: Wire, answer: Answer) -> web.StreamResponse:
        body, head = wire.encoded(answer, framing="length")
        if self.at != self.sent_nothing:
            wire.write(head)
            if self.at == "in_body":
                wire.write(body[: len(body) // 2])
            await wire.let_arrive()
        return wire.reset()


@dataclass(frozen=True)
class GzipBomb(Fault):
    """A small gzip body that inflates to `inflated_bytes` of valid JSON: an empty array in a desert of spaces."""

    inflated_bytes: int = 1 << 30

    def alter(self, answer: Answer) -> Answer:
        return Answer(200, _bomb(self.inflated_bytes), (*answer.headers, ("Content-Encoding", "gzip")))


@dataclass(frozen=True)
class GiantPage(Fault):
    """A page of `total_bytes` of valid JSON, streamed."""

    total_bytes: int = 200 * 10**6
    record: bytes = field(default=b'{"filler":"' + b"x" * 9_988 + b'"}', repr=False)

    async def send(self, wire: Wire, answer: Answer) -> web.StreamResponse:
        response = await wire.stream(answer)
        piece = b",".join([self.record] * 100)
        await response.write(b"[" + piece)
        for _ in range(-(-self.total_bytes // len(piece)) - 1):
            await response.write(b"," + piece)
        await response.write(b"]")
        return response


@dataclass(frozen=True)
class BadGzip(Altering):
    """A compressed body that is not as it should be.

    `checksum`, `garbage`, `cut` cannot be read; `unknown` is an encoding that nobody asked for; `double` is compressed
    twice; `members` comes in a thousand members, which is legal.
    """

    kind: Literal["checksum", "garbage", "cut", "unknown", "double", "members"] = "checksum"

    def alter(self, answer: Answer) -> Answer:
        encoding = "zstd" if self.kind == "unknown" else "gzip"
        return replace(answer, body=self._spoil(answer.body), gzipped=None).adding(("Content-Encoding", encoding))

    def _spoil(self, body: bytes) -> bytes:
        packed = gzip.compress(body)
        if self.kind == "checksum":
            return packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:-4]) + packed[-4:]
        if self.kind == "members":
            step = len(body) // 1024 + 1
            return b"".join(gzip.compress(body[start : start + step]) for start in range(0, len(body), step))
        others = {"cut": packed[: len(packed) // 2], "double": gzip.compress(packed)}
        return others.get(self.kind, b"\x00garbage" + packed[8:])


@lru_cache(maxsize=4)
def _bomb(inflated_bytes: int) -> bytes:
    packer = isal_zlib.compressobj(3, isal_zlib.DEFLATED, _GZIP_WINDOW)
    parts = [packer.compress(b"[")]
    desert = b" " * _MEBIBYTE
    parts += [packer.compress(desert) for _ in range(inflated_bytes // _MEBIBYTE)]
    parts.append(packer.compress(b"]"))
    parts.append(packer.flush())
    return b"".join(parts)


def too_many(retry_after: str | None = None, *, headers: Headers = (), body: bytes = b"") -> Status:
    """A 429 with or without Retry-After, which may be any text; vendors' own headers by `headers`."""
    told = (("Retry-After", retry_after),) if retry_after is not None else ()
    return Status(429, body, (*told, *headers))


KINDS: dict[str, type[Fault]] = {
    "status": Status,
    "vendor_error": VendorError,
    "replay": Replay,
    "html": HtmlPage,
    "json_object": JsonObject,
    "empty": EmptyBody,
    "redirect": Redirect,
    "foreign_next": ForeignNext,
    "extra_headers": ExtraHeaders,
    "slow": Slow,
    "cut": Cut,
    "reset": Reset,
    "gzip_bomb": GzipBomb,
    "giant_page": GiantPage,
    "bad_gzip": BadGzip,
}

CHAOS: tuple[Fault, ...] = (
    VendorError(500),
    VendorError(503),
    Status(502, b"<html>bad gateway</html>", content_type="text/html"),
    Status(504),
    HtmlPage(),
    EmptyBody(),
    Cut("length"),
    Cut("chunked"),
    Cut("close"),
    Reset("before_status"),
    Reset("after_status"),
    Reset("in_body"),
    BadGzip("checksum"),
    Slow(before=0.05),
)
"""What `chaos` draws from unless told otherwise: troubles that pass, and that a client must survive without a word."""


def from_json(value: dict[str, Any]) -> Fault:
    """Make a fault of `{"kind": "status", "status": 500, "body": "…"}`; KeyError, TypeError if there is none such."""
    options = dict(value)
    kind = KINDS[options.pop("kind")]
    if isinstance(options.get("body"), str):
        options["body"] = options["body"].encode()
    if "headers" in options:
        options["headers"] = tuple((name, text) for name, text in options["headers"])
    return kind(**options)
