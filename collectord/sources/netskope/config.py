"""Netskope's parameters, in Sumo's spelling."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from collectord.settings import SourceConfig

STREAMS = (
    "alert",
    "application",
    "audit",
    "infrastructure",
    "network",
    "page",
    "connection",
    "incident",
    "endpoint",
)
_TENANT = re.compile(r"(?:https://)?(?P<tenant>[a-z0-9-]+(?:\.[a-z0-9-]+)?)(?:\.goskope\.com)?(?:/.*)?", re.IGNORECASE)
_TOP_LEVEL = (".com", ".net", ".org")


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


EventType = Annotated[
    Literal[
        "all",
        "alert",
        "application",
        "audit",
        "infrastructure",
        "network",
        "page",
        "connection",
        "incident",
        "endpoint",
    ],
    BeforeValidator(_lower),
]
"""In Sumo's form they begin with a capital."""


class NetskopeConfig(SourceConfig):
    """Netskope's parameters, in Sumo's spelling."""

    max_page_size: ClassVar[int | None] = None

    tenantID: str
    """What stands before `.goskope.com`, region included: `acme`, `acme.eu`."""
    apiToken: SecretStr = Field(min_length=1)
    eventTypes: tuple[EventType, ...] = ()
    """Beside alerts, which are always collected. Empty means all there are; only then may the token lack one."""

    @field_validator("tenantID")
    @classmethod
    def _tenant_of(cls, value: str) -> str:
        match = _TENANT.fullmatch(value.strip())
        tenant = match["tenant"].lower() if match else ""
        if not tenant or tenant.endswith(_TOP_LEVEL):
            raise ValueError(
                "must be what stands before .goskope.com, such as acme or acme.eu; any other host goes into"
                " collectord.base_url"
            )
        return tenant

    @field_validator("eventTypes")
    @classmethod
    def _all_is_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return () if "all" in value else value
