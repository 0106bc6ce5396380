"""An HTTP endpoint that takes NDJSON; a 2xx answer is the acknowledgement."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import ClientTimeout
from yarl import URL

from collectord import layouts
from collectord.client import retry_after, tls_context
from collectord.errors import BatchRejected, BatchTooLarge, SinkError, SinkRefused, SinkUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import ClientResponse, ClientSession

    from collectord.records import Batch, Metadata, Record
    from collectord.settings import HttpSinkSettings

_SMALLEST_BATCH_BYTES = 16384
_ANSWER_BYTES = 1024
"""Of an answer we look at its beginning only."""


class HttpSink:
    """Posts batches to one URL."""

    def __init__(self, settings: HttpSinkSettings, session: ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._url = URL(settings.url.get_secret_value())
        self._headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._tls: ssl.SSLContext | bool = tls_context(settings.ca_file) if settings.ca_file else True
        self._timeout = ClientTimeout(total=settings.timeout, sock_connect=min(10.0, settings.timeout))
        self._max_bytes = settings.max_batch_bytes

    def encode(self, records: Sequence[Record], metadata: Metadata) -> list[Batch]:
        """Finish records in the configured layout."""
        return layouts.batches(
            self._settings.layout,
            records,
            metadata,
            max_bytes=self._max_bytes,
            compress=self._settings.compression == "gzip",
        )

    async def send(self, batch: Batch) -> None:
        """Post once; see `Sink.send`."""
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": batch.id}
        if batch.encoding != "identity":
            headers["Content-Encoding"] = batch.encoding
        refusal = await self._exchange("POST", batch.body, headers)
        if isinstance(refusal, BatchTooLarge):  # from now on finish smaller ones; those that wait are split
            refused_bytes = len(batch.lines())
            self._max_bytes = min(self._max_bytes, max(_SMALLEST_BATCH_BYTES, refused_bytes // 2))
        if refusal is not None:
            raise refusal

    async def check(self) -> str:
        """Ask for the address without posting anything; an endpoint that knows POST alone answers too."""
        answer = await self._exchange("HEAD", b"", {})
        if answer is not None and answer.code in {400, 405, 411, 415, 501}:
            answer = None
        if answer is not None:
            raise answer
        return f"{self._url.host} answers"

    async def _exchange(self, method: str, body: bytes, headers: dict[str, str]) -> SinkError | None:
        """Make one request; returns what the answer refuses, raises SinkUnavailable when there is none."""
        try:
            async with self._session.request(
                method,
                self._url,
                data=body or None,
                headers=headers | self._headers,
                allow_redirects=False,
                timeout=self._timeout,
                ssl=self._tls,
            ) as answer:
                if 200 <= answer.status < 300:
                    return None
                said = (await answer.content.read(_ANSWER_BYTES)).decode("utf-8", "replace")
                return _refusal(answer, said)
        except aiohttp.ClientConnectorCertificateError as error:
            raise SinkUnavailable(
                f"the TLS certificate of {self._url.host} is not trusted; set ca_file",
                info=str(error.certificate_error),
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise SinkUnavailable(f"{self._url.host} cannot be reached", info=str(error.os_error)) from None
        except TimeoutError:
            raise SinkUnavailable(f"{self._url.host} did not answer within {self._settings.timeout:g} s") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise SinkUnavailable(f"{self._url.host} broke the connection off", info=type(error).__name__) from None


def _refusal(answer: ClientResponse, said: str) -> SinkError:
    status = answer.status
    host = answer.url.host
    if status == 413:
        return BatchTooLarge(f"{host} takes smaller batches only", code=status, info=said)
    if status in {400, 422}:
        return BatchRejected(f"{host} cannot read the batch ({status})", code=status, info=said)
    if status in {408, 409, 425, 429} or status >= 500:
        wait = retry_after(answer.headers)
        return SinkUnavailable(f"{host} answered {status}", code=status, info=said, retry_after=wait)
    hint = "its headers" if status in {401, 403, 407} else "its url"
    return SinkRefused(f"{host} refuses everything with {status}; check {hint}, then reload", code=status, info=said)
