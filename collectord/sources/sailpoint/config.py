"""SailPoint's parameters, in Sumo's own spelling."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from collectord.settings import SourceConfig

DOMAIN = "identitynow.com"
_TENANT = re.compile(
    r"(?:https://)?(?P<tenant>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)"
    r"(?:(?:\.api|\.login)?\.(?P<domain>identitynow(?:-demo)?\.com))?/?",
    re.IGNORECASE,
)


class SailPointConfig(SourceConfig):
    """SailPoint's parameters, in Sumo's spelling."""

    max_page_size: ClassVar[int | None] = 10_000

    org_name: str
    """The tenant, e.g. `acme`, and with the domain where that is another: `acme.identitynow-demo.com`."""
    client_id: SecretStr = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    supported_apis: tuple[Literal["Events", "Users"], ...] = Field(min_length=1)
    api_version: Literal["v3", "v2024", "v2025", "v2026", "service-v1"] = "v3"
    """Not known to Sumo. SailPoint ends all but `service-v1`, the paths such as `/search/v1`, in 2029."""

    @field_validator("org_name")
    @classmethod
    def _tenant_of(cls, value: str) -> str:
        match = _TENANT.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                "must be your tenant's name, such as acme or acme.identitynow.com; any other host goes into"
                " collectord.base_url"
            )
        tenant, domain = match["tenant"].lower(), (match["domain"] or DOMAIN).lower()
        return tenant if domain == DOMAIN else f"{tenant}.{domain}"

    def path(self, service: str) -> str:
        """Where a service of the API answers, e.g. `/v3/search`."""
        return f"/{service}/v1" if self.api_version == "service-v1" else f"/{self.api_version}/{service}"
