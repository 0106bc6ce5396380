"""Okta: the System Log, and the inventory of users with their groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectord.auth import FixedHeader, fingerprint
from collectord.limits import Limits
from collectord.settings import DAY, MINUTE, SourceConfig, SourceSettings
from collectord.source import Connect, SourceType, Stream, StreamType
from collectord.sources.okta.api import rest_seconds
from collectord.sources.okta.config import OktaConfig
from collectord.sources.okta.events import Events
from collectord.sources.okta.users import Users


def selected(config: SourceConfig) -> Sequence[str]:
    """Events always, users on demand."""
    assert isinstance(config, OktaConfig)
    return ("events", "users") if config.users else ("events",)


def origin(config: OktaConfig) -> str:
    """Where this organisation's API answers."""
    return f"https://{config.domain}"


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams; they share one connection and the organisation's rate limits."""
    config = settings.config
    assert isinstance(config, OktaConfig)
    base = settings.options.base_url or origin(config)
    token = config.apiKey.get_secret_value()
    client = connect(
        base,
        authorization=FixedHeader("Authorization", config.apiKey, "SSWS"),
        limits=Limits(counted_by=fingerprint(base, token), rest_seconds=rest_seconds, in_flight=5),
    )
    streams: dict[str, Stream] = {"events": Events(settings, client)}
    if config.users:
        streams["users"] = Users(client, settings.options.page_size)
    return streams


SOURCE_TYPE = SourceType(
    name="Okta",
    config=OktaConfig,
    streams={"events": StreamType(5 * MINUTE, retention_seconds=90 * DAY), "users": StreamType(DAY, inventory=True)},
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "Okta", "_siemProduct": "SSO", "_siemFormat": "JSON"},
    after_window=60 * MINUTE,
)
