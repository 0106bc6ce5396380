"""An HTTP endpoint that takes NDJSON; a 2xx answer is the acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectord import layouts
from collectord.posting import BatchSize, Endpoint, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientSession

    from collectord.records import Batch, Metadata, Record
    from collectord.settings import HttpSinkSettings


class HttpSink:
    """Posts batches to one URL."""

    def __init__(self, settings: HttpSinkSettings, session: ClientSession) -> None:
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._endpoint = Endpoint(settings, session, headers)
        self._layout = settings.layout
        self._compress = settings.compression == "gzip"
        self._size = BatchSize(settings.max_batch_bytes)

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Finish records in the configured layout."""
        return layouts.batches(self._layout, records, metadata, max_bytes=self._size.most, compress=self._compress)

    async def send(self, batch: Batch) -> None:
        """Post once; see `Sink.send`."""
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": batch.id}
        answer = await self._endpoint.post(batch, headers)
        if answer.status == 413:
            self._size.too_large(batch)
        if not answer.is_success:
            raise refusal(answer)

    async def check(self) -> str:
        """Ask for the address without posting anything; an endpoint that knows POST alone answers too."""
        answer = await self._endpoint.request("HEAD", b"", {})
        if not answer.is_success and answer.status not in {400, 405, 411, 415, 501}:
            raise refusal(answer)
        return f"{answer.host} answers"
