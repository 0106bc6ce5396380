"""Sumo Logic's HTTP source: the vendors' objects as they came, metadata in headers that hold for a whole request.

So each batch holds records of the same metadata. In the outbox every record has a line before it that says which, and
what is sent is made of both at each attempt: the same batch is the same request, whenever and by whichever process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
from anyio import to_thread

from collectord import layouts
from collectord.errors import EXCERPT_CHARACTERS
from collectord.posting import BatchSize, Endpoint, made_for_another, refusal
from collectord.records import Notice
from collectord.sink import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aiohttp import ClientSession

    from collectord.layouts import Line
    from collectord.posting import Answer
    from collectord.records import Batch, Metadata, Record
    from collectord.settings import SumoLogicSinkSettings

_NAME = b'{"X-Sumo-Name":'
_ANSWER_BYTES = 4096
_LONGEST_VALUE = 200  # characters; Sumo's own limit for the value of a field
_NOT_IN_HEADERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_IN_FIELDS = str.maketrans({",": "_", "=": ":"})  # as Sumo's own exporter does it


class SumoLogicSink:
    """Posts to the one URL of a source, which is its credential."""

    def __init__(self, settings: SumoLogicSinkSettings, session: ClientSession) -> None:
        self._settings = settings
        headers = {"Content-Type": "application/x-ndjson", "X-Sumo-Client": "collectord"}
        self._endpoint = Endpoint(settings, session, headers)
        self._size = BatchSize(settings.max_batch_bytes)

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Two lines a record: its metadata, and the vendor's object; those of the same metadata together."""
        alike: dict[str | None, list[Record]] = {}
        by_event = bool(metadata.siem) and self._settings.siem_event_id
        for record in records:
            alike.setdefault(record.event_id if by_event else None, []).append(record)
        compress = self._settings.compression == "gzip"
        return [
            batch
            for event_id, group in alike.items()
            for batch in layouts.pack(_lines(group, metadata, event_id), max_bytes=self._size.most, compress=compress)
        ]

    async def send(self, batch: Batch) -> Outcome | None:
        """Post once; see `Sink.send`."""
        if not batch.begins_with(_NAME):
            raise made_for_another(self._endpoint.host)
        headers, events = await to_thread.run_sync(_taken_apart, batch)
        answer = await self._endpoint.post(events, headers, most=_ANSWER_BYTES)
        if answer.status in {408, 413}:  # 408: it could not read so much in its time
            self._size.too_large(batch)
        if not answer.is_success:
            raise refusal(answer, "its url")
        return Outcome(notices=(_notice(answer),)) if answer.body.strip() else None

    async def check(self) -> str:
        """Post nothing."""
        answer = await self._endpoint.request("POST", b"", {}, most=_ANSWER_BYTES)
        if not answer.is_success:
            raise refusal(answer, "its url")
        return f"{answer.host} takes what is posted there"


def _lines(records: Sequence[Record], metadata: Metadata, event_id: str | None) -> Iterator[Line]:
    before = orjson.dumps(_headers(metadata, event_id)) + b"\n"
    for record in records:
        yield before, record.raw, b"\n"


def _headers(metadata: Metadata, event_id: str | None) -> dict[str, str]:
    fields = dict(metadata.fields)
    if metadata.siem:
        fields |= {"_siemForward": "true", **metadata.siem}
        fields |= {"_siemEventID": event_id or "", "_siemDataType": metadata.data_type or ""}
    said = {
        "X-Sumo-Name": _header(metadata.source),
        "X-Sumo-Host": _header(metadata.collector),
        "X-Sumo-Category": _header(metadata.category or ""),
        "X-Sumo-Fields": _fields(fields),
    }
    return {name: value for name, value in said.items() if value}


def _fields(fields: Mapping[str, str]) -> str:
    pairs = ((_field(name), _field(value)) for name, value in sorted(fields.items()))
    return ", ".join(f"{name}={value}" for name, value in pairs if value)


def _field(text: str) -> str:
    return _header(text)[:_LONGEST_VALUE].translate(_NOT_IN_FIELDS)


def _header(text: str) -> str:
    return _NOT_IN_HEADERS.sub("_", text).strip()


def _taken_apart(batch: Batch) -> tuple[dict[str, str], Batch]:
    lines = batch.lines().split(b"\n")
    headers: dict[str, str] = orjson.loads(lines[0])
    return headers, batch.rewritten(b"\n".join(lines[1::2]) + b"\n")


def _notice(answer: Answer) -> Notice:
    said = answer.said.strip()[:EXCERPT_CHARACTERS]
    return Notice("SinkWarned", f"{answer.host} took a batch, and has something to say about it: {said}")
