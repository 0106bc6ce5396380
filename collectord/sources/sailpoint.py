"""SailPoint Identity Security Cloud: audit events, and the inventory of users."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from collectord.settings import HOUR, MINUTE, SourceConfig, SourceSettings
from collectord.source import Connect, SourceType, Stream, StreamType

_TENANT = re.compile(
    r"(?:https://)?(?P<tenant>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(?:(?:\.api|\.login)?\.(?P<domain>identitynow(?:-demo)?\.com))?/?",
    re.IGNORECASE,
)
_DOMAIN = "identitynow.com"


class SailPointConfig(SourceConfig):
    """SailPoint's parameters, in Sumo's spelling."""

    max_page_size: ClassVar[int | None] = 10_000

    org_name: str
    """The tenant, e.g. `acme`, and with the domain where that is another: `acme.identitynow-demo.com`."""
    client_id: SecretStr = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    supported_apis: tuple[Literal["Events", "Users"], ...] = Field(min_length=1)

    @field_validator("org_name")
    @classmethod
    def _tenant_of(cls, value: str) -> str:
        match = _TENANT.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                "must be your tenant's name, such as acme or acme.identitynow.com; any other host goes into"
                " collectord.base_url"
            )
        tenant, domain = match["tenant"].lower(), (match["domain"] or _DOMAIN).lower()
        return tenant if domain == _DOMAIN else f"{tenant}.{domain}"


def selected(config: SourceConfig) -> Sequence[str]:
    """The streams by `supported_apis`."""
    assert isinstance(config, SailPointConfig)
    return [stream for stream in ("events", "users") if stream.title() in config.supported_apis]


def origin(config: SailPointConfig) -> str:
    """Where this tenant's API answers; the tenant's own web address does not serve it."""
    tenant, _, domain = config.org_name.partition(".")
    return f"https://{tenant}.api.{domain or _DOMAIN}"


def open_streams(settings: SourceSettings, connect: Connect) -> Mapping[str, Stream]:
    """Build the selected streams."""
    raise NotImplementedError


SOURCE_TYPE = SourceType(
    name="SailPoint",
    config=SailPointConfig,
    streams={"events": StreamType(5 * MINUTE), "users": StreamType(12 * HOUR, inventory=True)},
    selected=selected,
    open=open_streams,
    siem={"_siemVendor": "SailPoint", "_siemProduct": "SailPoint", "_siemFormat": "JSON"},
    after_window="quit",
)
