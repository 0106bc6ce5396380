"""One line of a batch in layout `envelope`, read as strictly as INTERFACE.md section 4 is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

ORDER = (
    "_collector",
    "_source",
    "_sourceCategory",
    "_stream",
    "_id",
    "_messageTime",
    "_receiptTime",
    "_repaired",
    "_siemVendor",
    "_siemProduct",
    "_siemFormat",
    "_siemEventID",
    "_siemDataType",
    "fields",
)
REQUIRED = frozenset({"_collector", "_source", "_stream", "_id", "_receiptTime"})
_INTEGERS = frozenset({"_messageTime", "_receiptTime"})
_EVENT = b',"event":'


@dataclass(frozen=True, slots=True)
class Line:
    """One record as it was delivered."""

    source: str
    stream: str
    id: str
    event: bytes
    """Byte for byte what stands behind `"event":`."""


class BadLine(ValueError):
    """The line is not an envelope."""


def read_line(line: bytes) -> tuple[Line, list[str]]:
    """A line and what is wrong with it; BadLine when it cannot be read at all."""
    head, event = _parts(line)
    complaint = json_complaint(event)
    if complaint:
        raise BadLine(complaint)
    values = dict(head)
    read = Line(str(values.get("_source", "")), str(values.get("_stream", "")), str(values.get("_id", "")), event)
    return read, list(_complaints(head, values))


def json_complaint(data: bytes) -> str:
    """Why these bytes are not one JSON object; empty when they are."""
    if not (data.startswith(b"{") and data.endswith(b"}")):
        return "not a JSON object"
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return _lenient_complaint(data)
    return ""


def _lenient_complaint(data: bytes) -> str:
    # Vendors send lone surrogates and deep nesting, which orjson refuses and JSON allows.
    try:
        json.loads(data)
    except RecursionError:
        return ""
    except ValueError as error:
        return f"not JSON: {error}"
    return ""


def _parts(line: bytes) -> tuple[list[tuple[str, Any]], bytes]:
    """The members before `event`, in order, and the event's bytes."""
    end = line.find(_EVENT)
    while end != -1:
        try:
            head = json.loads(line[:end] + b"}", object_pairs_hook=_Members)
        except ValueError:
            # The word stood inside `fields`.
            end = line.find(_EVENT, end + 1)
            continue
        if isinstance(head, _Members) and line.endswith(b"}"):
            return head, line[end + len(_EVENT) : -1]
        break
    raise BadLine("not an envelope with an event at its end")


class _Members(list[tuple[str, Any]]):
    """An object's members in order, a name given twice included."""


def _complaints(head: list[tuple[str, Any]], values: dict[str, Any]) -> Iterator[str]:
    names = [name for name, _ in head]
    if names != [name for name in ORDER if name in values]:
        yield f"keys are not those of the envelope, each once and in order: {', '.join(names)}"
    missing = REQUIRED - values.keys()
    if missing:
        yield f"no {', '.join(sorted(missing))}"
    for name, value in head:
        if not _has_its_type(name, value):
            yield f"{name} is not of its type, or empty"


def _has_its_type(name: str, value: Any) -> bool:
    if name == "fields":
        return isinstance(value, _Members) and all(isinstance(text, str) for _, text in value)
    if name in _INTEGERS:
        return type(value) is int
    if name == "_repaired":
        return value is True
    return isinstance(value, str) and value != ""
