"""SailPoint Identity Security Cloud: audit events, and the inventory of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from collectord.settings import HOUR, MINUTE, SourceConfig, SourceSettings
from collectord.source import Connect, SourceType, Stream, StreamType
from collectord.sources.sailpoint.config import DOMAIN, SailPointConfig
from collectord.sources.sailpoint.events import Events
from collectord.sources.sailpoint.place import RETENTION_SECONDS
from collectord.sources.sailpoint.tenant import Tenant
from collectord.sources.sailpoint.users import Users


def selected(config: SourceConfig) -> Sequence[str]:
    """The streams by `supported_apis`."""
    assert isinstance(config, SailPointConfig)
    return [stream for stream in ("events", "users") if stream.title() in config.supported_apis]


def origin(config: SailPointConfig) -> str:
    """Where this tenant's API answers; the tenant's own web address does not serve it."""
    tenant, _, domain = config.org_name.partition(".")
    return f"https://{tenant}.api.{domain or DOMAIN}"


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams; they share the tenant: its connection, its token, its clock and its rate limit."""
    config = settings.config
    assert isinstance(config, SailPointConfig)
    options = settings.options
    tenant = Tenant(config, options.base_url or origin(config), connect)
    streams: dict[str, Stream] = {"events": Events(tenant, options), "users": Users(tenant, options)}
    return {name: streams[name] for name in selected(config)}


SOURCE_TYPE = SourceType(
    name="SailPoint",
    config=SailPointConfig,
    streams={
        "events": StreamType(5 * MINUTE, retention_seconds=RETENTION_SECONDS),
        "users": StreamType(12 * HOUR, inventory=True),
    },
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "SailPoint", "_siemProduct": "SailPoint", "_siemFormat": "JSON"},
    after_window="quit",
)
