"""SentinelOne Management API: activities, threats, and the inventory of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from collectord.settings import DAY, MINUTE, SourceConfig, SourceSettings, parse_origin
from collectord.source import Connect, SourceType, Stream, StreamType
from collectord.sources.sentinelone.agents import Agents
from collectord.sources.sentinelone.console import Console
from collectord.sources.sentinelone.rows import ACTIVITIES, AGENTS, THREATS
from collectord.sources.sentinelone.windows import Changes

_STREAMS = ("activities", "threats", "agents")


class SentinelOneConfig(SourceConfig):
    """SentinelOne's parameters, in Sumo's spelling."""

    base_url: str
    """The console's address, e.g. `https://acme.sentinelone.net`; a pasted path is cut off."""
    api_secret: SecretStr = Field(min_length=1)
    supported_apis: tuple[Literal["activities", "agents", "threats"], ...] = Field(min_length=1)

    @field_validator("base_url")
    @classmethod
    def _origin_of(cls, value: str) -> str:
        return parse_origin(value)


def selected(config: SourceConfig) -> Sequence[str]:
    """The streams by `supported_apis`."""
    assert isinstance(config, SentinelOneConfig)
    return [stream for stream in _STREAMS if stream in config.supported_apis]


def origin(config: SentinelOneConfig) -> str:
    """Where this console's API answers."""
    return config.base_url


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams; they share the console: its connection, its clock and what is known of the token."""
    config = settings.config
    assert isinstance(config, SentinelOneConfig)
    options = settings.options
    console = Console(options.base_url or origin(config), config.api_secret, connect)
    streams: dict[str, Stream] = {
        "activities": Changes(ACTIVITIES, console, options),
        "threats": Changes(THREATS, console, options),
        "agents": Agents(AGENTS, console, options),
    }
    return {name: streams[name] for name in selected(config)}


SOURCE_TYPE = SourceType(
    name="SentinelOne Mgmt API",
    config=SentinelOneConfig,
    streams={
        "activities": StreamType(5 * MINUTE, retention_seconds=365 * DAY),
        "threats": StreamType(5 * MINUTE),
        "agents": StreamType(5 * MINUTE, inventory=True),
    },
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "SentinelOne", "_siemProduct": "MGMT API", "_siemFormat": "JSON"},
    after_window=60 * MINUTE,
)
