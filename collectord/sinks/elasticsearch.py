"""Data streams of Elasticsearch or OpenSearch by `_bulk`; each document is judged by itself, and none is ever twice."""

from __future__ import annotations

import base64
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from anyio import to_thread

from collectord import ecs, layouts
from collectord.client import retry_after
from collectord.errors import BatchRejected, SinkRefused, SinkUnavailable
from collectord.posting import BatchSize, Endpoint, made_for_another, refusal
from collectord.records import iso_time
from collectord.sink import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aiohttp import ClientSession

    from collectord.layouts import Line
    from collectord.posting import Answer
    from collectord.records import Batch, Metadata, Record
    from collectord.settings import ElasticsearchSinkSettings

_CREDENTIAL = "api_key, or username and password"
_RESULT_BYTES = 64 * 2**20
_ACTION = b'{"create":{"_index":"'
_FILTER = "items.*.status,items.*.error"
_NO_NAME = re.compile(r"[^a-z0-9_]+")
_DONE = {200, 201, 409}  # the last one: it was there already
_FORBIDDEN = {401, 403}
_NO_PIPELINE = "pipeline with id"  # "... [x] does not exist"
_WITHOUT_PIPELINE = "_none"
_RAW_DATASETS = {"netskope.alerts": "netskope.alerts_v2", "netskope.events": "netskope.events_v2"}
"""Elastic has two generations of these; the raw objects of the REST API are for the second."""


class _Judged(msgspec.Struct):
    status: int
    error: Any = None

    @property
    def type(self) -> str:
        return str(self.error.get("type", "")) if isinstance(self.error, dict) else ""

    @property
    def reason(self) -> str:
        return str(self.error.get("reason", "")) if isinstance(self.error, dict) else str(self.error or "")


class _Item(msgspec.Struct):
    create: _Judged


class _Result(msgspec.Struct):
    items: list[_Item]


class ElasticsearchSink:
    """Creates documents, whose `_id` follows from source, stream and record: what is there already stays as it is."""

    def __init__(self, settings: ElasticsearchSinkSettings, session: ClientSession) -> None:
        self._settings = settings
        self._endpoint = Endpoint(settings, session, _authorization(settings))
        pipeline = {"pipeline": settings.pipeline} if settings.pipeline else {}
        self._bulk = (self._endpoint.url / "_bulk").with_query({"filter_path": _FILTER, **pipeline})
        self._size = BatchSize(settings.max_batch_bytes)

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Two lines a record: what to do, and the document."""
        lines = self._lines(records, metadata)
        return layouts.pack(lines, max_bytes=self._size.most, compress=self._settings.compression == "gzip")

    def _lines(self, records: Sequence[Record], metadata: Metadata) -> Iterator[Line]:
        dataset, document = self._mapping(metadata)
        index = f"logs-{dataset}-{self._settings.namespace}"
        action = _ACTION + f'{index}","_id":"'.encode()
        known = blake2b(f"{metadata.source}\0{metadata.stream}\0".encode(), digest_size=16)
        for record in records:
            identity = known.copy()
            identity.update(record.id.encode())
            yield b'%s%s"}}\n' % (action, identity.hexdigest().encode()), document(record), b"\n"

    def _mapping(self, metadata: Metadata) -> tuple[str, Callable[[Record], bytes]]:
        """The dataset, and what makes a document of a record."""
        namespace = self._settings.namespace
        try:
            dataset = ecs.dataset(metadata.source_type, metadata.stream)
        except ecs.UnknownStream:  # a health event, or a vendor that has no table yet
            dataset = f"{_plain(metadata.source_type or 'collectord')}.{_plain(metadata.stream)}"
            return dataset, _Original(dataset, metadata, namespace)
        if self._settings.format == "original":
            dataset = _RAW_DATASETS.get(dataset, dataset)
            return dataset, _Original(dataset, metadata, namespace)
        original = self._settings.preserve_original_event
        mapper = ecs.mapper(metadata.source_type, metadata.stream, metadata, namespace=namespace, original=original)
        return dataset, lambda record: mapper(record.raw)

    async def send(self, batch: Batch) -> Outcome | None:
        """Post once, and judge each document; see `Sink.send`."""
        if not batch.begins_with(_ACTION):
            raise made_for_another(self._endpoint.host)
        answer = await self._endpoint.post(
            batch, {"Content-Type": "application/x-ndjson"}, url=self._bulk, most=_RESULT_BYTES
        )
        if answer.status == 413:
            self._size.too_large(batch)
        if not answer.is_success:
            raise refusal(answer, _CREDENTIAL)
        judged = _items(answer, batch)
        if all(each.status in _DONE for each in judged):
            return None
        return await to_thread.run_sync(self._outcome, batch, judged, answer)

    def _outcome(self, batch: Batch, judged: list[_Judged], answer: Answer) -> Outcome:
        for each in judged:
            if each.status in _FORBIDDEN or each.reason.startswith(_NO_PIPELINE):
                raise self._refusal(each)
        refused = [at for at, each in enumerate(judged) if 400 <= each.status < 500 and each.status not in {409, 429}]
        left = _DONE.union(judged[at].status for at in refused)
        again = [at for at, each in enumerate(judged) if each.status not in left]
        rest, *alone = batch.picks(again, *([at] for at in refused))
        parts = [(part, self._rejection(judged[at])) for part, at in zip(alone, refused, strict=True)]
        if not again:
            return Outcome(parts)
        first = judged[again[0]]
        because = SinkUnavailable(
            f"{self._endpoint.host} put off {len(again)} of {batch.count} documents: {first.status} {first.type}",
            code=first.status,
            info=first.reason,
            retry_after=retry_after(answer.headers),
        )
        return Outcome(parts, rest, because)

    def _rejection(self, judged: _Judged) -> BatchRejected:
        message = f"{self._endpoint.host} cannot take the document: {judged.status} {judged.type}"
        return BatchRejected(message, code=judged.status, info=judged.reason)

    def _refusal(self, judged: _Judged) -> SinkRefused:
        # Not the document's fault: buried, all the others would follow it.
        hint = "grant create_doc and auto_configure on logs-*, or take away what blocks the index"
        if judged.status not in _FORBIDDEN:
            hint = "check pipeline"
        message = f"{self._endpoint.host} lets us write nothing: {judged.status} {judged.type}; {hint}, then reload"
        return SinkRefused(message, code=judged.status, info=judged.reason)

    async def check(self) -> str:
        """Ask for what is there; a credential that may only write need not be allowed to see it."""
        name = self._settings.pipeline
        if name not in {None, _WITHOUT_PIPELINE}:
            url = self._endpoint.url / "_ingest" / "pipeline" / str(name)
            if (await self._endpoint.request("GET", b"", {}, url=url)).status == 404:
                raise SinkRefused(f"{self._endpoint.host} has no ingest pipeline {name}; check pipeline", code=404)
        answer = await self._endpoint.request("GET", b"", {}, most=65536)
        if answer.status == 403:
            return f"{answer.host} answers, and knows the credential"
        if not answer.is_success:
            raise refusal(answer, _CREDENTIAL)
        try:
            version = orjson.loads(answer.body)["version"]
            name = "OpenSearch" if version.get("distribution") == "opensearch" else "Elasticsearch"
            return f"{answer.host} is {name} {version['number']}"
        except (ValueError, LookupError, TypeError, AttributeError):
            raise SinkUnavailable(f"{answer.host} is no Elasticsearch, nor OpenSearch; is its url right?") from None


def _items(answer: Answer, batch: Batch) -> list[_Judged]:
    try:
        judged = [item.create for item in msgspec.json.decode(answer.body, type=_Result).items]
    except (msgspec.MsgspecError, RecursionError):
        judged = []
    if len(judged) != batch.count:
        raise SinkUnavailable(f"{answer.host} did not answer as _bulk does; is its url right?", code=answer.status)
    return judged


def _authorization(settings: ElasticsearchSinkSettings) -> dict[str, str]:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    if settings.api_key is not None:
        key = settings.api_key.get_secret_value()
        return {"Authorization": f"ApiKey {encoded(key) if ':' in key else key}"}
    if settings.password is not None:
        return {"Authorization": f"Basic {encoded(f'{settings.username}:{settings.password.get_secret_value()}')}"}
    return {}


def _plain(name: str) -> str:
    return _NO_NAME.sub("_", name.lower())


class _Original:
    """Documents that hold the vendor's object as text, as Elastic's own agent hands it to its ingest pipelines."""

    def __init__(self, dataset: str, metadata: Metadata, namespace: str) -> None:
        self._receipt_ms = metadata.receipt_ms
        labels = {"source": metadata.source, "source_category": metadata.category, **metadata.fields}
        frame = {
            "data_stream": {"type": "logs", "dataset": dataset, "namespace": namespace},
            "event": {"module": dataset.partition(".")[0], "dataset": dataset, "created": iso_time(self._receipt_ms)},
            "agent": {"name": metadata.collector, "type": "collectord"},
            "tags": ["forwarded", dataset.replace(".", "-")],
            "labels": {name.replace(".", "_"): value for name, value in labels.items() if value},
        }
        self._frame = orjson.dumps(frame)[:-1]

    def __call__(self, record: Record) -> bytes:
        try:
            time = iso_time(self._receipt_ms if record.time_ms is None else record.time_ms)
        except OverflowError:  # beyond the year 9999
            time = iso_time(self._receipt_ms)
        message = orjson.dumps(bytes(record.raw).decode("utf-8", "replace"))
        return b'%s,"@timestamp":"%s","message":%s}' % (self._frame, time.encode(), message)
