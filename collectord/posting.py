"""One request to a sink: bounded, redirected nowhere; an answer or an error, and our credential in neither."""

from __future__ import annotations

import ssl
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import ClientTimeout, encode_basic_auth
from multidict import CIMultiDict
from pydantic import SecretStr
from yarl import URL

from collectord.client import retry_after, tls_context
from collectord.errors import BatchRejected, BatchTooLarge, SinkError, SinkRefused, SinkUnavailable
from collectord.log import MASK, MIN_SECRET_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aiohttp import ClientResponse, ClientSession
    from multidict import MultiMapping

    from collectord.records import Batch
    from collectord.settings import SinkSettings

_SMALLEST_BATCH_BYTES = 16384
_WHOLE_BYTES = 2**20  # larger bodies go out in pieces, so that others have their turn
_LOOKS_RANDOM_CHARACTERS = 20  # of a part of a path
_REFUSAL_BYTES = 4096
"""Of a refusal we look at its beginning only."""


class Answer(NamedTuple):
    """What a sink answered."""

    host: str
    status: int
    headers: MultiMapping[str]
    body: bytes
    """As much of it as was asked for; our credentials are masked."""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def said(self) -> str:
        """Its own words, for a message."""
        return self.body.decode("utf-8", "replace")


class Endpoint:
    """Where a sink is reached, with one credential."""

    def __init__(self, settings: SinkSettings, session: ClientSession, headers: Mapping[str, str]) -> None:
        url = URL(settings.url.get_secret_value())
        self.url = url.with_user(None)
        self._headers = CIMultiDict({"Accept-Encoding": "identity"} | _basic(url))
        self._headers.update(headers)
        self._session = session
        self._tls: ssl.SSLContext | bool = tls_context(settings.ca_file) if settings.ca_file else True
        self._timeout = ClientTimeout(total=settings.timeout, sock_connect=min(10.0, settings.timeout))
        self._seconds = settings.timeout
        self._secrets = sorted(_secrets(settings, url, self._headers.values()), key=len, reverse=True)

    @property
    def host(self) -> str:
        return self.url.host or ""

    async def post(self, batch: Batch, headers: Mapping[str, str], *, url: URL | None = None, most: int = 0) -> Answer:
        """Post a batch; of a success at most `most` bytes are read. Raises SinkUnavailable when there is no answer."""
        encoding = {} if batch.encoding == "identity" else {"Content-Encoding": batch.encoding}
        return await self.request("POST", batch.body, {**headers, **encoding}, url=url, most=most)

    async def request(
        self, method: str, body: bytes, headers: Mapping[str, str], *, url: URL | None = None, most: int = 0
    ) -> Answer:
        """Make any request; see `post`."""
        try:
            async with self._session.request(
                method,
                url or self.url,
                data=BytesIO(body) if len(body) > _WHOLE_BYTES else body or None,
                headers={**headers, **self._headers},
                allow_redirects=False,
                timeout=self._timeout,
                ssl=self._tls,
            ) as answer:
                wanted = most if 200 <= answer.status < 300 else _REFUSAL_BYTES
                said = self._discreet(await _read(answer, wanted))
                return Answer(self.host, answer.status, answer.headers, said)
        except aiohttp.ClientConnectorCertificateError as error:
            raise SinkUnavailable(
                f"the TLS certificate of {self.host} is not trusted; set ca_file", info=str(error.certificate_error)
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise SinkUnavailable(f"{self.host} cannot be reached", info=str(error.os_error)) from None
        except TimeoutError:
            raise SinkUnavailable(f"{self.host} did not answer within {self._seconds:g} s") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise SinkUnavailable(f"{self.host} broke the connection off", info=type(error).__name__) from None

    def _discreet(self, said: bytes) -> bytes:
        for secret in self._secrets:
            said = said.replace(secret, MASK.encode())
        return said


async def _read(answer: ClientResponse, most: int) -> bytes:
    parts = []
    size = 0
    while size < most and (part := await answer.content.read(most - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _basic(url: URL) -> dict[str, str]:
    """The credential in a URL as a header, where another one may take its place."""
    if url.user is None:
        return {}
    return {"Authorization": encode_basic_auth(url.user, url.password or "")}


def _secrets(settings: SinkSettings, url: URL, headers: Iterable[str]) -> Iterator[bytes]:
    """What could be one, in the forms in which an answer might repeat it."""
    keys = [part for part in url.raw_parts if len(part) >= _LOOKS_RANDOM_CHARACTERS]
    of_url = (*keys, url.raw_query_string, url.password or "", *url.query.values())
    options = (value.get_secret_value() for name, value in settings if isinstance(value, SecretStr) and name != "url")
    for value in (*of_url, *headers, *options):
        for text in (value, value.rpartition(" ")[2], value.rpartition(":")[2]):
            if len(text) >= MIN_SECRET_CHARACTERS:
                yield text.encode()


class BatchSize:
    """How many bytes a batch may have before compression: as configured, until the sink says that it is too many."""

    def __init__(self, most: int) -> None:
        self.most = most

    def too_large(self, batch: Batch) -> None:
        """From now on finish smaller ones; those that wait are split."""
        self.most = min(self.most, max(_SMALLEST_BATCH_BYTES, len(batch.lines()) // 2))


def made_for_another(host: str) -> BatchRejected:
    """The error of a batch that waited while its sink became one of another type."""
    return BatchRejected(f"the batch was made for a sink of another type than {host}; give each type a name of its own")


def refusal(answer: Answer, hint: str = "its headers") -> SinkError:
    """The error that a status means where a sink's own table says nothing else; `hint`: where its credential stands."""
    host, status, said = answer.host, answer.status, answer.said
    if status == 413:
        return BatchTooLarge(f"{host} takes smaller batches only", code=status, info=said)
    if status in {400, 422}:
        return BatchRejected(f"{host} cannot read the batch ({status})", code=status, info=said)
    if status in {408, 409, 425, 429} or status >= 500:
        wait = retry_after(answer.headers)
        return SinkUnavailable(f"{host} answered {status}", code=status, info=said, retry_after=wait)
    place = hint if status in {401, 403, 407} else "its url"
    return SinkRefused(f"{host} refuses everything with {status}; check {place}, then reload", code=status, info=said)
