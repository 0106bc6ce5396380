"""Splunk's HTTP Event Collector; a 200 acknowledges, or the indexers do where the token asks for that."""

from __future__ import annotations

import re
import uuid
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from anyio import to_thread

from collectord import layouts
from collectord.errors import BatchRejected, SinkRefused, SinkUnavailable
from collectord.posting import BatchSize, Endpoint, made_for_another, refusal
from collectord.sink import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiohttp import ClientSession

    from collectord.errors import SinkError
    from collectord.layouts import Line
    from collectord.posting import Answer
    from collectord.records import Batch, Metadata, Record
    from collectord.settings import SplunkHecSinkSettings

_EVENT = b'{"time":'
_PATH = "/services/collector"
_ANSWER_BYTES = 65536
_TAKEN = {0, 24, 25}  # the last two: taken, and a queue is filling up
_NO_DATA = 5
_POISON = {_NO_DATA, 6, 12, 13, 15}
_SETTINGS = {
    7: "lets the token write to no such index; check index",
    10: "wants indexer acknowledgement with this token; set acknowledgement: true",
    11: "does not take our channel",
    14: "knows no indexer acknowledgement with this token; set acknowledgement: false, or enable it for the token",
    21: "does not know the token; check token",
    22: "has disabled the token; check token",
}
"""By code: what is wrong with the settings, and so with every batch."""
_LONGEST_PAUSE_SECONDS = 10.0
_SOURCETYPES = {"SentinelOne Mgmt API": "sentinelone", "": "collectord"}
_NO_NAME = re.compile(r"[^a-z0-9_]+")


class SplunkHecSink:
    """Posts events in JSON, the vendor's object in each as it came."""

    def __init__(self, settings: SplunkHecSinkSettings, session: ClientSession) -> None:
        self._settings = settings
        headers = {"Authorization": f"Splunk {settings.token.get_secret_value()}", "Content-Type": "application/json"}
        if settings.acknowledgement:
            headers["X-Splunk-Request-Channel"] = str(uuid.uuid4())
        self._endpoint = Endpoint(settings, session, headers)
        root = self._endpoint.url.path.partition(_PATH)[0].rstrip("/")
        self._events = self._endpoint.url.with_path(f"{root}{_PATH}/event")
        self._acknowledgements = self._endpoint.url.with_path(f"{root}{_PATH}/ack")
        self._size = BatchSize(settings.max_batch_bytes)

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """One event a line."""
        lines = self._lines(records, metadata)
        return layouts.pack(lines, max_bytes=self._size.most, compress=self._settings.compression == "gzip")

    def _lines(self, records: Sequence[Record], metadata: Metadata) -> Iterator[Line]:
        settings = self._settings
        about = {
            "host": settings.host or metadata.collector,
            "source": settings.source or metadata.source,
            "sourcetype": settings.sourcetype or _sourcetype(metadata),
            "index": settings.index,
        }
        fields = {"category": metadata.category, "stream": metadata.stream, **metadata.fields}
        before = f"{_members(about)},".encode()
        behind = f',"fields":{{{_members(fields)},"record_id":'.encode()
        for record in records:
            time_ms = metadata.receipt_ms if record.time_ms is None else record.time_ms
            time = _EVENT + f"{time_ms / 1000:.3f},".encode()
            yield b'%s%s"event":' % (time, before), record.raw, b"%s%s}}\n" % (behind, quote(record.id).encode())

    async def send(self, batch: Batch) -> Outcome | None:
        """Post once, and wait for the indexers where that was asked for; see `Sink.send`."""
        if not batch.begins_with(_EVENT):
            raise made_for_another(self._endpoint.host)
        answer = await self._endpoint.post(batch, {}, url=self._events, most=_ANSWER_BYTES)
        if answer.status == 413:
            self._size.too_large(batch)
        if not answer.is_success:
            return await to_thread.run_sync(self._partly, batch, answer)
        said = _said(answer)
        if said.get("code") not in _TAKEN:
            raise SinkUnavailable(f"{answer.host} did not answer as an event collector does; is its url right?")
        if self._settings.acknowledgement:
            if not isinstance(said.get("ackId"), int):
                raise _error(14, answer)
            await self._indexed(said["ackId"])
        return None

    def _partly(self, batch: Batch, answer: Answer) -> Outcome:
        """Without the one event that is named as the bad one, the others may follow."""
        error = _error(_said(answer).get("code"), answer)
        bad = _said(answer).get("invalid-event-number")
        if not isinstance(error, BatchRejected) or not isinstance(bad, int) or not 0 <= bad < batch.count > 1:
            raise error
        # Whether those before it were taken is not said: at least once, and here perhaps twice.
        others = [at for at in range(batch.count) if at != bad]
        alone, rest = batch.picks([bad], others)
        return Outcome([(alone, error)], rest)

    async def _indexed(self, number: int) -> None:
        body = orjson.dumps({"acks": [number]})
        pause = 0.05
        with anyio.move_on_after(self._settings.acknowledgement_timeout):
            while not await self._is_indexed(body, number):
                await anyio.sleep(pause)  # Splunk tells nobody: it wants to be asked
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            return
        seconds = self._settings.acknowledgement_timeout
        raise SinkUnavailable(f"the indexers of {self._endpoint.host} acknowledged nothing within {seconds:g} s")

    async def _is_indexed(self, body: bytes, number: int) -> bool:
        try:
            answer = await self._endpoint.request("POST", body, {}, url=self._acknowledgements, most=_ANSWER_BYTES)
        except SinkUnavailable:  # the batch was taken: asking once more is better than sending it twice
            return False
        if not answer.is_success:
            error = _error(_said(answer).get("code"), answer)
            if isinstance(error, SinkUnavailable):
                return False
            raise error
        acks = _said(answer).get("acks")
        return isinstance(acks, dict) and acks.get(str(number)) is True

    async def check(self) -> str:
        """Post nothing: a token that is good is told that there is no data."""
        answer = await self._endpoint.request("POST", b"", {}, url=self._events, most=_ANSWER_BYTES)
        code = _said(answer).get("code")
        if code != _NO_DATA:
            if answer.is_success or (code is None and answer.status == 400):
                raise SinkUnavailable(f"{answer.host} did not answer as an event collector does; is its url right?")
            raise _error(code, answer)
        if self._settings.acknowledgement:
            asked = await self._endpoint.request("POST", b'{"acks":[]}', {}, url=self._acknowledgements)
            if not asked.is_success and _said(asked).get("code") in _SETTINGS:
                raise _error(_said(asked).get("code"), asked)
        return f"{answer.host} knows the token"


def _said(answer: Answer) -> dict[str, Any]:
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _error(code: object, answer: Answer) -> SinkError:
    if code in _POISON:
        message = f"{answer.host} cannot read the event: {_said(answer).get('text')}"
        return BatchRejected(message, code=answer.status, info=answer.said)
    if code in _SETTINGS:
        message = f"{answer.host} {_SETTINGS[code]}, then reload"
        return SinkRefused(message, code=answer.status, info=answer.said)
    return refusal(answer, "its token")


def _sourcetype(metadata: Metadata) -> str:
    """Such as `okta:events`, as the vendors' add-ons name them."""
    kind = metadata.source_type
    return f"{_SOURCETYPES.get(kind) or _NO_NAME.sub('_', kind.lower())}:{_NO_NAME.sub('_', metadata.stream.lower())}"


def _members(values: dict[str, str | None]) -> str:
    return ",".join(f"{quote(name)}:{quote(value)}" for name, value in values.items() if value)
