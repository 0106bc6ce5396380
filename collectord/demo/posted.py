"""One POST of a batch, read and checked without regard to what came before it (INTERFACE.md section 4)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

import orjson
from isal import igzip

from collectord.demo.envelope import BadLine, Line, json_complaint, read_line
from collectord.demo.exchange import Call

Layout = Literal["envelope", "flat", "raw"]
Feed = tuple[str, str]
"""Source and stream."""


@dataclass(slots=True)
class Posted:
    """A batch on its way in."""

    key: str
    digest: bytes
    """Of the body as it came: the same key must always bring the same."""
    text: bytes = b""
    """The body, decompressed; empty when it cannot be read."""
    lines: list[Line] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def feed(self) -> Feed:
        return (self.lines[0].source, self.lines[0].stream) if self.lines else ("", "")


def read_post(call: Call, layout: Layout) -> Posted:
    """Read a batch and note everything that is wrong with it."""
    digest = blake2b(call.headers.get("Content-Encoding", "").encode() + call.body, digest_size=16).digest()
    posted = Posted(call.headers.get("Idempotency-Key", ""), digest)
    posted.complaints += _header_complaints(call)
    try:
        posted.text = _decompressed(call)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        posted.complaints.append(f"the body cannot be read: {error}")
        return posted
    if not posted.text.endswith(b"\n"):
        posted.complaints.append("the last line is not ended, or there is none")
    for number, line in enumerate(posted.text.split(b"\n")[:-1], 1):
        try:
            read, complaints = read_line(line) if layout == "envelope" else (_plain(line), [])
        except BadLine as error:
            posted.complaints.append(f"line {number}: {error}")
            continue
        posted.lines.append(read)
        posted.complaints += [f"line {number}: {complaint}" for complaint in complaints]
    feeds = {(line.source, line.stream) for line in posted.lines}
    if len(feeds) > 1:
        posted.complaints.append(f"records of {len(feeds)} streams in one batch")
    return posted


def _header_complaints(call: Call) -> Iterator[str]:
    if call.method != "POST":
        yield "batches come by POST"
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind != "application/x-ndjson":
        yield f"Content-Type is {kind!r}, not application/x-ndjson"
    if not call.headers.get("Idempotency-Key"):
        yield "no Idempotency-Key"
    encoding = call.headers.get("Content-Encoding", "identity")
    if encoding not in {"gzip", "identity"}:
        yield f"Content-Encoding is {encoding!r}"


def _decompressed(call: Call) -> bytes:
    if call.headers.get("Content-Encoding") == "gzip":
        return bytes(igzip.decompress(call.body))
    return call.body


def _plain(line: bytes) -> Line:
    complaint = json_complaint(line)
    if complaint:
        raise BadLine(complaint)
    try:
        members = orjson.loads(line)
    except orjson.JSONDecodeError:
        members = {}
    source, stream, record_id = (str(members.get(name, "")) for name in ("_source", "_stream", "_id"))
    return Line(source, stream, record_id, line)
