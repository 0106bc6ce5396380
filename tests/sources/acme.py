"""A fifth vendor: what the guide `Add a vendor` in collectord/README.md says, followed word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from multidict import MultiMapping
from pydantic import SecretStr

from collectord.auth import FixedHeader, fingerprint
from collectord.client import Client, failure, retry_after
from collectord.errors import SourceUnavailable
from collectord.limits import Limits
from collectord.records import Cursor, Page, Record, digest, parse_time
from collectord.settings import MINUTE, SourceConfig, SourceSettings
from collectord.source import Connect, SourceType, Stream, StreamType
from collectord.splitting import Malformed, heads, slices


class AcmeConfig(SourceConfig):
    host: str
    token: SecretStr


class _Head(msgspec.Struct):  # the few fields that the envelope needs, typed as anything
    id: Any = None
    at: Any = None


class Events:
    def __init__(self, client: Client, page_size: int) -> None:
        self._client = client
        self._page_size = page_size

    async def fetch(self, cursor: Cursor | None) -> Page:
        after = cursor["after"] if cursor else ""
        target = f"/events?limit={self._page_size}&after={quote(after, safe='')}"
        response = await self._client.get(target, bucket="/events")
        if response.status != 200:
            raise failure(response)
        following = response.headers.get("Acme-Next")
        if following is None:
            raise SourceUnavailable("Acme answered without Acme-Next; is host right?")
        try:
            elements = slices(response.body)
            described = heads(response.body, elements, _Head)
        except Malformed as error:
            raise SourceUnavailable(f"Acme answered no JSON list: {error}") from None
        records = [
            Record(raw, head.id if isinstance(head.id, str) else digest(raw), parse_time(head.at))
            for raw, head in zip(elements, described, strict=True)
        ]
        return Page(records, {"after": following}, more=len(records) == self._page_size)

    async def probe(self) -> str:
        await self.fetch(None)
        return "the token may read events"


def rest_seconds(status: int, headers: MultiMapping[str], _server_time: float) -> float:
    return (retry_after(headers) or 30.0) if status == 429 else 0.0


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    config = settings.config
    assert isinstance(config, AcmeConfig)
    client = connect(
        settings.options.base_url or f"https://{config.host}",
        authorization=FixedHeader("Authorization", config.token, "Bearer"),
        limits=Limits(fingerprint(config.token.get_secret_value()), rest_seconds, per_second=4),
    )
    return {"events": Events(client, settings.options.page_size or 100)}


SOURCE_TYPE = SourceType(
    name="Acme",
    config=AcmeConfig,
    streams={"events": StreamType(5 * MINUTE)},
    selected=lambda _: ["events"],
    open=open_streams,
    siem={"_siemVendor": "Acme", "_siemProduct": "Acme", "_siemFormat": "JSON"},
    after_window=60 * MINUTE,
)
