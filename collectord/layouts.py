"""How a record looks on its line: in an envelope, flat, or raw (INTERFACE section 4).

Envelope and raw join bytes: the vendor's object passes through as it was received. Only `flat` has to look inside.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Literal

import msgspec

from collectord.records import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from collectord.records import Metadata, Record

Layout = Literal["envelope", "flat", "raw"]

Line = tuple[bytes, bytes | msgspec.Raw, bytes]
"""What stands before the vendor's object, the object, what stands after it."""


def batches(
    layout: Layout, records: Sequence[Record], metadata: Metadata, *, max_bytes: int, compress: bool
) -> list[Batch]:
    """Finish records as batches of at most `max_bytes` before compression; a single larger record goes alone."""
    return pack(_LAYOUTS[layout](records, metadata), max_bytes=max_bytes, compress=compress)


def pack(lines: Iterable[Line], *, max_bytes: int, compress: bool) -> list[Batch]:
    """Finish lines, one a record, as batches; see `batches`."""
    finished = []
    parts: list[bytes | msgspec.Raw] = []
    size = 0
    for line in lines:
        length = len(line[0]) + len(line[1]) + len(line[2])
        if size + length > max_bytes and parts:
            finished.append(Batch.finish(b"".join(parts), len(parts) // 3, compress=compress))
            parts, size = [], 0
        parts += line
        size += length
    if parts:
        finished.append(Batch.finish(b"".join(parts), len(parts) // 3, compress=compress))
    return finished


def _heads(records: Sequence[Record], metadata: Metadata, behind: str = "") -> Iterator[bytes]:
    """How each record's object begins, up to custom fields and the event; `behind` stands at its end."""
    before_id = _members(
        _collector=metadata.collector,
        _source=metadata.source,
        _sourceCategory=metadata.category,
        _stream=metadata.stream,
    )
    siem = "".join(f",{quote(key)}:{quote(value)}" for key, value in metadata.siem.items())
    receipt = f',"_receiptTime":{metadata.receipt_ms}'
    sound, mended = f"{receipt}{siem}", f'{receipt},"_repaired":true{siem}'
    data_type = f',"_siemDataType":{quote(metadata.data_type)}' if metadata.data_type else ""
    for record in records:
        beside = mended if record.repaired else sound
        time = "" if record.time_ms is None else f',"_messageTime":{record.time_ms}'
        event_id = f',"_siemEventID":{quote(record.event_id)}' if siem and record.event_id else ""
        yield f'{{{before_id},"_id":{quote(record.id)}{time}{beside}{event_id}{data_type}{behind}'.encode()


def _members(**values: str | None) -> str:
    return ",".join(f"{quote(key)}:{quote(value)}" for key, value in values.items() if value is not None)


def _envelope(records: Sequence[Record], metadata: Metadata) -> Iterator[Line]:
    fields = f',"fields":{{{_members(**metadata.fields)}}}' if metadata.fields else ""
    for head, record in zip(_heads(records, metadata, f'{fields},"event":'), records, strict=True):
        yield head, record.raw, b"}\n"


def _flat(records: Sequence[Record], metadata: Metadata) -> Iterator[Line]:
    for head, record in zip(_heads(records, metadata), records, strict=True):
        yield head, _beside(record.raw, metadata.fields), b"}\n"


def _beside(raw: bytes | msgspec.Raw, fields: Mapping[str, str]) -> bytes:
    """The custom fields and the event's own members, to stand behind ours in one object.

    No key comes twice: an event's key that is one of ours is delivered as `event.<key>`, and a custom field gives way
    to any other key. An event that is no readable object stands whole under `event`.
    """
    try:
        own = {_renamed(key): bytes(value) for key, value in _OBJECT.decode(raw).items()}
    except (msgspec.MsgspecError, RecursionError):
        own = {"event": bytes(raw)}
    custom = {key: quote(value).encode() for key, value in fields.items() if key not in _OURS and key not in own}
    return b"".join(b",%s:%s" % (quote(key).encode(), value) for key, value in [*custom.items(), *own.items()])


def _renamed(key: str) -> str:
    return f"event.{key}" if _TAKEN.fullmatch(key) else key


def _raw(records: Sequence[Record], _metadata: Metadata) -> Iterator[Line]:
    for record in records:
        yield b"", record.raw, b"\n"


_OURS = frozenset(
    {
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
    }
)
_TAKEN = re.compile(rf"(?:event\.)*(?:{'|'.join(_OURS)})")
"""Our keys, and what such a key of an event's own becomes: moved as well, no two can meet."""
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LAYOUTS = {"envelope": _envelope, "flat": _flat, "raw": _raw}
