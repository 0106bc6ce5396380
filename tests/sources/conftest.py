"""A vendor's streams over real sockets, without the loops around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import pytest

from collectord.client import Client, open_session
from collectord.limits import Budgets
from collectord.settings import SourceOptions, SourceSettings
from collectord.source import Connect, Stream
from collectord.sources import SOURCE_TYPES

OpenStreams = Callable[..., Mapping[str, Stream]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes real clients that share one session and their rate limits, as in the daemon."""
    async with open_session() as session:
        yield partial(Client, session, Budgets())


@pytest.fixture
def open_streams(connect: Connect) -> OpenStreams:
    """`open_streams("Okta", base_url, {config}, page_size=5)`: the streams of a source, by name."""

    def opened(kind: str, base_url: str, config: Mapping[str, Any], **options: Any) -> Mapping[str, Stream]:
        row = SOURCE_TYPES[kind]
        settings = SourceSettings(
            type=kind,
            config=row.config.model_validate({"name": "a-source", **config}),
            options=SourceOptions.model_validate({"base_url": base_url, **options}),
        )
        return row.open(settings, connect)

    return opened
