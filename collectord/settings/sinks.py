"""The settings of every type of sink; what they have in common stands first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from collectord.settings import notation
from collectord.settings.model import Duration, Model, RetryPolicy, Size
from collectord.settings.notation import MINUTE, parse_url

MEGABYTE = 1_000_000
_OURS = {"content-encoding", "content-length", "content-type", "host", "idempotency-key", "transfer-encoding"}


def _check_headers(headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
    for name in headers:
        if name.lower() in _OURS:
            raise ValueError(f"{name} is set by collectord itself")
    return headers


def _check_http_url(url: SecretStr) -> SecretStr:
    parts = parse_url(url.get_secret_value())
    if parts.scheme not in {"http", "https"} or parts.fragment:
        raise ValueError("must be a URL that begins with https:// or http://, without a # part")
    return url


HttpUrl = Annotated[SecretStr, AfterValidator(_check_http_url)]
"""A secret, since an ingest URL often holds its key."""
HeaderName = Annotated[str, AfterValidator(notation.parse_header)]
NoSpace = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^\S+$")]


class SinkSettings(Model):
    """What every sink has."""

    type: str
    url: HttpUrl
    compression: Literal["gzip", "none"] = "gzip"
    max_batch_bytes: Size = Field(2**20, ge=1024)
    """Before compression."""
    buffer_bytes: Size = Field(2**30, ge=2**16)
    """How much may wait on disk; then polling waits."""
    timeout: Duration = Field(MINUTE, gt=0)
    """For one attempt, from connecting to the last byte of the answer."""
    ca_file: str | None = Field(None, min_length=1)
    """Certificates to trust instead of the system's: a path in the file, the PEM text itself once loaded."""
    retry: RetryPolicy = RetryPolicy()

    @model_validator(mode="after")
    def _room_for_a_batch(self) -> SinkSettings:
        if self.buffer_bytes < self.max_batch_bytes:
            raise ValueError("buffer_bytes must not be smaller than max_batch_bytes")
        return self


class HttpSinkSettings(SinkSettings):
    """An HTTP endpoint that takes NDJSON."""

    type: Literal["http"]
    headers: Annotated[dict[HeaderName, SecretStr], AfterValidator(_check_headers)] = Field({})
    layout: Literal["envelope", "flat", "raw"] = "envelope"


class ElasticsearchSinkSettings(SinkSettings):
    """Data streams of Elasticsearch or OpenSearch."""

    type: Literal["elasticsearch"]
    api_key: SecretStr | None = Field(None, min_length=1)
    """As Kibana shows it: encoded, or `id:key`."""
    username: str | None = Field(None, min_length=1, pattern=r"^[^:\s]+$")
    password: SecretStr | None = Field(None, min_length=1)
    format: Literal["ecs", "original"] = "ecs"
    preserve_original_event: bool = False
    namespace: str = Field("default", min_length=1, max_length=100, pattern=r"^[^\sA-Z\\/*?\"<>|,#:-]+$")
    pipeline: NoSpace | None = None
    """An ingest pipeline instead of the one that the data stream has."""
    max_batch_bytes: Size = Field(4 * 2**20, ge=1024)

    @model_validator(mode="after")
    def _one_credential(self) -> ElasticsearchSinkSettings:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.api_key is not None and self.username is not None:
            raise ValueError("api_key, or username and password, but not both")
        return self


class SplunkHecSinkSettings(SinkSettings):
    """The HTTP Event Collector of Splunk."""

    type: Literal["splunk_hec"]
    token: SecretStr = Field(min_length=1)
    index: NoSpace | None = None
    """None: the token's own."""
    source: str | None = Field(None, min_length=1)
    """None: the name of each record's source."""
    sourcetype: str | None = Field(None, min_length=1)
    """None: by vendor and stream, such as `okta:events`."""
    host: str | None = Field(None, min_length=1)
    """None: the collector's name."""
    acknowledgement: bool = False
    """Wait until the indexers have it."""
    acknowledgement_timeout: Duration = Field(5 * MINUTE, gt=0)
    max_batch_bytes: Size = Field(MEGABYTE, ge=1024)


class SumoLogicSinkSettings(SinkSettings):
    """An HTTP Logs and Metrics source of Sumo Logic."""

    type: Literal["sumologic"]
    siem_event_id: bool = True
    """Say `_siemEventID` where a source forwards to Cloud SIEM: it takes a request for each one of a page."""
    max_batch_bytes: Size = Field(MEGABYTE, ge=100_000, le=2**20)


AnySinkSettings = Annotated[
    HttpSinkSettings | ElasticsearchSinkSettings | SplunkHecSinkSettings | SumoLogicSinkSettings,
    Field(discriminator="type"),
]
