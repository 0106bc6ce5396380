"""Netskope's pages: an envelope around records, which are passed on as they came."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
from isal.isal_zlib import crc32

from collectord.errors import SourceUnavailable
from collectord.records import Record, digest, parse_time
from collectord.settings import HOUR
from collectord.sources.netskope.api import Records, path_of, request_id, said_by
from collectord.splitting import Malformed, Slice, heads, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collectord.client import Response

WAIT_SECONDS = 30.0
"""Between requests where the vendor says nothing, as its own clients have it [NSSDK]."""
_MILLISECONDS_FROM = 1e11
"""No time in seconds is as large: it is in milliseconds."""
_LOGOFF = re.compile("logoff|logout", re.IGNORECASE)
_LOGON = re.compile("logon|login", re.IGNORECASE)


class _Envelope(msgspec.Struct, gc=False):
    # Typed as anything, as far as a wrong type need not cost the page.
    ok: Any = None
    result: list[msgspec.Raw] | None = None
    wait_time: Any = None
    timestamp_hwm: Any = None


class _Head(msgspec.Struct, gc=False):
    id: Any = msgspec.field(name="_id", default=None)
    timestamp: Any = None


class _AuditHead(msgspec.Struct, gc=False):
    id: Any = msgspec.field(name="_id", default=None)
    timestamp: Any = None
    description: Any = None
    audit_log_event: Any = None


@dataclass(frozen=True, slots=True)
class Export:
    """One page, read."""

    records: Records
    digest: str = ""
    """Tells whether a page is the one that came before; empty for a page without records."""
    wait_seconds: float = WAIT_SECONDS
    hwm: int | None = None
    """Epoch seconds up to which the vendor has delivered; None where it does not say."""


def read(stream: str, response: Response) -> Export:
    """Read a page; raises SourceUnavailable when it is not one."""
    where = f"Netskope's answer on {path_of(stream)}"
    try:
        envelope, elements = unwrap(response.body, _Envelope, "result")
        records = Records(_records(stream, response.body, elements))
    except Malformed as error:
        reason = f"no JSON page: {error}" if response.body else "empty"
        raise SourceUnavailable(
            f"{where} is {reason}{request_id(response)}; is tenantID right, and the REST API of the tenant on?"
        ) from None
    if envelope.ok is not True and number(envelope.ok) != 1:
        raise SourceUnavailable(
            f"{where} is not ok{request_id(response)}", info=response.discreet(said_by(response.body))
        )
    wait = number(envelope.wait_time)
    return Export(
        records,
        _digest_of(records),
        WAIT_SECONDS if wait is None else min(HOUR, max(0.0, wait)),
        _hwm(envelope.timestamp_hwm, response.server_time),
    )


def _hwm(value: object, server_time: float) -> int | None:
    seconds = number(value)
    if seconds is None or not 0 < seconds < _MILLISECONDS_FROM:
        return None
    # Never past the vendor's own clock: collecting may have to begin again from here.
    return min(int(seconds), int(server_time))


def _records(stream: str, body: bytes, elements: list[Slice]) -> Iterator[Record]:
    if stream == "audit":
        described = heads(body, elements, _AuditHead, "result")
        return (
            Record(raw, _id(head.id, raw), _time_ms(head.timestamp), _audit_event_id(head))
            for raw, head in zip(elements, described, strict=True)
        )
    # An incident is an object that changes under one id.
    identify = _version if stream == "incident" else _id
    return (
        Record(raw, identify(head.id, raw), _time_ms(head.timestamp), stream)
        for raw, head in zip(elements, heads(body, elements, _Head, "result"), strict=True)
    )


def _id(value: object, raw: Slice) -> str:
    if isinstance(value, str) and value:
        return value
    return str(value) if type(value) is int else digest(raw)


def _version(value: object, raw: Slice) -> str:
    content = digest(raw)
    name = _id(value, raw)
    return content if name == content else f"{name}@{content}"


def _time_ms(value: object) -> int | None:
    if type(value) is int and 0 <= value < _MILLISECONDS_FROM:
        return value * 1000
    seconds = number(value)
    if seconds is None:
        return parse_time(value)
    # Beyond what any clock shows it is no time.
    scale = 1000.0 if abs(seconds) < _MILLISECONDS_FROM else 1.0
    return round(seconds * scale) if abs(seconds * scale) < 1000 * _MILLISECONDS_FROM else None


def _audit_event_id(head: _AuditHead) -> str:
    # The v2 API has no `description`; its text is in `audit_log_event` [NSS].
    for text in (head.description, head.audit_log_event):
        if isinstance(text, str) and text:
            return audit_event_id(text)
    return "audit"


@lru_cache(maxsize=512)
def audit_event_id(text: str) -> str:
    """What an audit event is to a SIEM.

    Logoff is looked for first: a text with both words, such as `Logout after login`, tells of the end of a session, and
    Sumo's own mappings have `audit-logon-logon-logoff` among the logoffs (sumo-c2c.md 1.4).
    """
    if _LOGOFF.search(text):
        return "audit-logoff"
    return "audit-logon" if _LOGON.search(text) else "audit"


def number(value: object) -> float | None:
    """A vendor's number, read leniently: 5, 5.0, "5"; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def _digest_of(records: list[Record]) -> str:
    # Of the records alone, since a page sent again may have another wait_time; by a checksum, since it may be 30 MB.
    if not records:
        return ""
    checksum = 0
    for record in records:
        checksum = crc32(record.raw, checksum)
    names = "\n".join(record.id for record in records).encode("utf-8", "replace")
    return blake2b(names, digest_size=12, key=checksum.to_bytes(4, "big")).hexdigest()
