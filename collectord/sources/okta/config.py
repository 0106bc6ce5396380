"""Okta's parameters, in Sumo's own spelling."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from collectord.settings import MINUTE, Duration, SourceConfig, parse_origin

_ADMIN_CONSOLE = re.compile(r"-admin(?=\.(?:okta|okta-emea|oktapreview|okta-gov)\.com$)")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_.\-]+")


class OktaConfig(SourceConfig):
    """Okta's parameters, in Sumo's spelling."""

    domain: str
    """The host alone, e.g. `acme.okta.com`; a pasted URL or the admin console's host is brought into this form."""
    apiKey: SecretStr = Field(min_length=1)
    users: bool = False
    collectAll: bool = True
    eventTypes: str | None = None
    """Comma-separated; wanted when `collectAll` is false."""
    pollingInterval: Annotated[Duration, Field(ge=1)] = 5 * MINUTE
    """Seconds between polls of the System Log."""

    @field_validator("domain")
    @classmethod
    def _host_of(cls, value: str) -> str:
        origin = parse_origin(value)
        host = origin.removeprefix("https://")
        if host == origin or "." not in host:
            raise ValueError("must be the host of your Okta organisation, such as acme.okta.com")
        return _ADMIN_CONSOLE.sub("", host)

    @field_validator("eventTypes")
    @classmethod
    def _clean_event_types(cls, value: str | None) -> str | None:
        names = dict.fromkeys(name.strip() for name in (value or "").split(","))
        names.pop("", None)
        for number, name in enumerate(names, 1):
            if not _EVENT_TYPE.fullmatch(name):
                raise ValueError(f"item {number} is no event type: letters, digits, '_', '.' and '-' only")
        return ",".join(names) or None

    @model_validator(mode="after")
    def _some_events(self) -> OktaConfig:
        if not self.collectAll and self.eventTypes is None:
            raise ValueError("collectAll is false, so eventTypes must name at least one event type")
        return self

    @property
    def event_types(self) -> list[str]:
        """The event types to collect; empty means all."""
        return [] if self.collectAll else (self.eventTypes or "").split(",")

    def interval_seconds(self, stream: str) -> float | None:
        """`pollingInterval` is the System Log's."""
        return self.pollingInterval if stream == "events" else None
