"""The models behind `collectord.yaml` and the source files: names, units, defaults and limits of every option.

Models are frozen and compare by value, secrets included, so that a reload can tell what changed.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, SerializeAsAny
from pydantic_settings import BaseSettings, SettingsConfigDict

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)?")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_BYTES = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


def parse_duration(value: object) -> object:
    """Seconds of `250ms`, `30s`, `5m`, `12h`, `7d` or a bare number of seconds; raises ValueError."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("must be a duration such as 250ms, 30s, 5m, 12h or 7d")
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, bool):
        raise ValueError("must be a duration such as 250ms, 30s, 5m, 12h or 7d")  # noqa: TRY004  pydantic reports ValueError
    return value


def parse_size(value: object) -> object:
    """Bytes of `512KiB`, `1MiB` or a bare number of bytes; raises ValueError."""
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise ValueError("must be a size such as 512KiB, 1MiB or 1GiB")
        return int(match[1]) * _BYTES[match[2]]
    if isinstance(value, bool):
        raise ValueError("must be a size such as 512KiB, 1MiB or 1GiB")  # noqa: TRY004  pydantic reports ValueError
    return value


def parse_url(text: str) -> SplitResult:
    """Take a URL apart; raises ValueError that never holds the text, as `urlsplit`'s own may."""
    try:
        parts = urlsplit(text)
        if _HOST.fullmatch(parts.hostname or "") and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ValueError("must be a URL with a host, such as https://acme.example.com")


def is_loopback(host: str) -> bool:
    """Whether what is sent to this host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_origin(text: str) -> str:
    """`https://host[:port]` of a vendor's host or URL, as people paste it: path and query are cut off.

    `http://` only for loopback addresses; raises ValueError.
    """
    text = text.strip()
    parts = parse_url(text if "://" in text else f"https://{text}")
    if parts.scheme not in {"https", "http"} or parts.username is not None or parts.password is not None:
        raise ValueError("must be a host or an https:// URL without user name and password")
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must begin with https://; http:// is for loopback addresses only, since credentials are sent")
    host = f"[{host}]" if ":" in host else host
    port = parts.port if parts.port != (443 if parts.scheme == "https" else 80) else None
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes."""


class Model(BaseModel):
    """Strict about names, silent about values: pydantic's own error text would print a mistyped secret."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True, val_json_bytes="utf8"
    )


class RetryPolicy(Model):
    """How long to wait after a failure: growing from `initial` to `max`, for `window`, then at the pace of `then`."""

    initial: Duration = 1.0
    max: Duration = 5 * MINUTE
    window: Duration = 90 * MINUTE
    then: Duration | Literal["quit"] = HOUR
    """Seconds between attempts after the window, or `quit`: stop until restarted."""


class SourceRetry(Model):
    """A source's own `retry`: what is left out is as its type has it."""

    initial: Duration | None = None
    max: Duration | None = None
    window: Duration | None = None
    then: Duration | Literal["quit"] | None = None


class CollectorSettings(Model):
    """Who collects: delivered beside each record."""

    name: str = Field("collectord", min_length=1, max_length=128)
    category: str | None = Field(None, max_length=1024)
    fields: dict[str, str] = Field(default_factory=dict, max_length=10)


class StateSettings(Model):
    """Where the state store lies; None: `$STATE_DIRECTORY`."""

    directory: str | None = None


class HttpSinkSettings(Model):
    """An HTTP endpoint that takes NDJSON."""

    type: Literal["http"]
    url: SecretStr
    """A secret, since an ingest URL often holds its key."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    compression: Literal["gzip", "none"] = "gzip"
    layout: Literal["envelope", "flat", "raw"] = "envelope"
    max_batch_bytes: Size = Field(2**20, ge=1024)
    """Before compression."""
    buffer_bytes: Size = Field(2**30, ge=2**16)
    """How much may wait on disk; then polling waits."""
    timeout: Duration = Field(MINUTE, gt=0)
    """For one attempt, from connecting to the last byte of the answer."""
    ca_file: str | None = None
    retry: RetryPolicy = RetryPolicy()


SinkSettings = HttpSinkSettings


class ManagementSettings(Model):
    """The API, its Unix socket and the Collection page."""

    listen: str | None = None
    access_id: str = "admin"
    access_key: SecretStr | None = None
    socket: str | None = None
    """None: in `$RUNTIME_DIRECTORY`, else in the state directory."""


class HealthEventSettings(Model):
    """Sinks that health events are delivered to as well."""

    sinks: tuple[str, ...] = ()


class LogSettings(Model):
    """What is written to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class DaemonSettings(Model):
    """`collectord.yaml`."""

    collector: CollectorSettings = CollectorSettings()
    sources: str = "sources.d"
    """Folder of source files, relative to this file."""
    state: StateSettings = StateSettings()
    sinks: dict[str, SinkSettings] = Field(min_length=1)
    management: ManagementSettings = ManagementSettings()
    health_events: HealthEventSettings = HealthEventSettings()
    stop_grace: Duration = 10.0
    log: LogSettings = LogSettings()


class FilterSettings(Model):
    """One processing rule, in Sumo's spelling."""

    name: str = Field(min_length=1, max_length=32)
    filterType: Literal["Include", "Exclude", "Hash", "Mask"]  # noqa: N815  Sumo's spelling
    regexp: str
    mask: str | None = None


class SourceConfig(Model):
    """What stands under `config` in every source file; each vendor adds its own parameters in Sumo's spelling."""

    max_page_size: ClassVar[int | None] = 1000
    """Largest `page_size` that the vendor takes; None: the vendor decides alone."""

    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    category: str | None = Field(None, max_length=1024)
    fields: dict[str, str | bool | int | float] = Field(default_factory=dict)
    """Custom fields, and the switch `_siemForward`."""
    filters: tuple[FilterSettings, ...] = Field((), max_length=100)
    hashAlgorithm: Literal["MD5", "SHA-256"] = "MD5"  # noqa: N815  Sumo's spelling

    def interval_seconds(self, _stream: str) -> float | None:
        """What the vendor's own options say of a stream's interval; None: nothing."""
        return None


class SourceOptions(Model):
    """What Sumo does not know: the key `collectord` beside `config`."""

    enabled: bool = True
    sinks: tuple[str, ...] | None = None
    """None: all sinks."""
    base_url: str | None = None
    proxy: SecretStr | None = None
    """A secret, since it may hold a password."""
    ca_file: str | None = None
    start: Duration | str | None = None
    """How far back the first poll reaches: seconds, or an RFC 3339 time; None: the vendor's default."""
    intervals: dict[str, Annotated[Duration, Field(gt=0)]] = Field(default_factory=dict)
    overlap: Duration | None = None
    retry: SourceRetry = SourceRetry()
    page_size: int | None = Field(None, ge=1)


class SourceSettings(Model):
    """One source, validated: its type, what Sumo knows of it (`config`), and what only collectord knows (`options`)."""

    type: str
    config: SerializeAsAny[SourceConfig]
    options: SourceOptions = SourceOptions()
    file: str = Field("", exclude=True)
    """Where it came from, for messages; no part of what makes two settings equal."""

    @property
    def name(self) -> str:
        """The source's identity: its checkpoint belongs to it."""
        return self.config.name

    def interval_seconds(self, stream: str) -> float | None:
        """The interval that was asked for; None: as the source type has it."""
        return self.options.intervals.get(stream, self.config.interval_seconds(stream))

    def __eq__(self, other: object) -> bool:
        """Equal when a running source need not be touched."""
        if not isinstance(other, SourceSettings):
            return NotImplemented
        return (self.type, self.config, self.options) == (other.type, other.config, other.options)

    __hash__ = None  # type: ignore[assignment]  # holds mappings


class Environment(BaseSettings):
    """What systemd and the shell tell the process."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    collectord_config: str = "/etc/collectord/collectord.yaml"
    state_directory: str | None = None
    runtime_directory: str | None = None
    credentials_directory: str | None = None
    notify_socket: str | None = None
    watchdog_usec: int | None = None
