"""Netskope: alerts, and the eight kinds of events of its data export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectord.auth import FixedHeader, fingerprint
from collectord.limits import Limits
from collectord.settings import MINUTE, SourceConfig, SourceSettings
from collectord.source import Connect, SourceType, Stream, StreamType
from collectord.sources.netskope.api import Tenant, rest_seconds
from collectord.sources.netskope.config import STREAMS, NetskopeConfig
from collectord.sources.netskope.iterator import RETENTION_SECONDS, Iterator

__all__ = ["SOURCE_TYPE", "NetskopeConfig", "open_streams", "origin", "selected"]

_REQUESTS_PER_SECOND = 3.5
"""The vendor takes four on each endpoint [NSD22]; half a request is left to clocks that differ."""


def selected(config: SourceConfig) -> Sequence[str]:
    """Alerts always, events by `eventTypes`."""
    assert isinstance(config, NetskopeConfig)
    wanted = {"alert", *config.eventTypes} if config.eventTypes else set(STREAMS)
    return [stream for stream in STREAMS if stream in wanted]


def origin(config: NetskopeConfig) -> str:
    """Where this tenant's API answers."""
    return f"https://{config.tenantID}.goskope.com"


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams; each has its own iterator at the vendor, and its own rate limit."""
    config = settings.config
    assert isinstance(config, NetskopeConfig)
    base = settings.options.base_url or origin(config)
    client = connect(
        base,
        authorization=FixedHeader("Netskope-Api-Token", config.apiToken),
        # By tenant, not by token: two requests at a time on one endpoint are answered 409, whoever makes them.
        limits=Limits(
            counted_by=fingerprint(base), rest_seconds=rest_seconds, per_second=_REQUESTS_PER_SECOND, in_flight=1
        ),
    )
    streams = selected(config)
    tenant = Tenant(client, frozenset(streams), named=bool(config.eventTypes))
    return {stream: Iterator(stream, settings.options, tenant) for stream in streams}


SOURCE_TYPE = SourceType(
    name="Netskope",
    config=NetskopeConfig,
    streams={stream: StreamType(5 * MINUTE, retention_seconds=RETENTION_SECONDS) for stream in STREAMS},
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "Netskope", "_siemProduct": "Security Cloud", "_siemFormat": "JSON"},
    after_window="quit",
)
