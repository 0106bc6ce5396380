"""The models behind `collectord.yaml` and the source files: names, units, defaults and limits of every option.

Models are frozen and compare by value, secrets included, so that a reload can tell what changed.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, SerializeAsAny, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from collectord.settings import notation
from collectord.settings.fields import SIEM_FORWARD, Fields, FieldsSchema, as_texts
from collectord.settings.model import Duration, Model, Name, RetryPolicy, Size, Then, check_growth
from collectord.settings.notation import (
    DAY,
    HOUR,
    MINUTE,
    is_loopback,
    parse_duration,
    parse_origin,
    parse_size,
    parse_url,
)
from collectord.settings.sinks import (
    AnySinkSettings,
    ElasticsearchSinkSettings,
    HttpSinkSettings,
    SinkSettings,
    SplunkHecSinkSettings,
    SumoLogicSinkSettings,
)

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "AnySinkSettings",
    "Duration",
    "ElasticsearchSinkSettings",
    "FieldsSchema",
    "HttpSinkSettings",
    "Model",
    "Name",
    "RetryPolicy",
    "SinkSettings",
    "Size",
    "SplunkHecSinkSettings",
    "SumoLogicSinkSettings",
    "Then",
    "is_loopback",
    "parse_duration",
    "parse_origin",
    "parse_size",
    "parse_url",
]


def _check_proxy(url: SecretStr) -> SecretStr:
    parts = parse_url(url.get_secret_value())
    if parts.scheme not in {"http", "https"} or parts.path.rstrip("/") or parts.query or parts.fragment:
        raise ValueError("must be a proxy's address, such as http://proxy.example.com:3128")
    return url


Category = Annotated[str, Field(max_length=1024), AfterValidator(lambda text: notation.parse_name(text) or None)]


class SourceRetry(Model):
    """A source's own `retry`: what is left out is as its type has it."""

    initial: Duration | None = Field(None, gt=0)
    max: Duration | None = None
    window: Duration | None = None
    then: Then | None = None

    @model_validator(mode="after")
    def _grows(self) -> SourceRetry:
        default = RetryPolicy()
        initial = default.initial if self.initial is None else self.initial
        check_growth(initial, default.max if self.max is None else self.max, self.then)
        return self

    def policy(self, after_window: float | Literal["quit"]) -> RetryPolicy:
        """The whole policy of a source whose type has `after_window`."""
        return RetryPolicy.model_validate({"then": after_window, **self.model_dump(exclude_none=True)})


class CollectorSettings(Model):
    """Who collects: delivered beside each record."""

    name: Name = "collectord"
    category: Category | None = None
    fields: Fields = Field({})
    fields_schema: FieldsSchema = FieldsSchema()
    """For the fields of the sources as well."""

    @property
    def custom_fields(self) -> dict[str, str]:
        """What is delivered of `fields`, as text."""
        return as_texts(self.fields)


class StateSettings(Model):
    """Where the state store lies; None: `$STATE_DIRECTORY`."""

    directory: str | None = Field(None, min_length=1)


class ManagementSettings(Model):
    """The API, its Unix socket and the Collection page."""

    listen: Annotated[str, AfterValidator(notation.parse_listen)] | None = None
    access_id: str = Field("admin", min_length=1, pattern=r"^[^:\s]+$")
    access_key: SecretStr | None = Field(None, min_length=1)
    socket: str | None = Field(None, min_length=1)
    """None: in `$RUNTIME_DIRECTORY`, else in the state directory."""
    hosts: tuple[Annotated[str, AfterValidator(notation.parse_host)], ...] = ()
    """Names beside those of `listen` that browsers reach it by: a proxy's, with the port where it is not the usual."""

    @model_validator(mode="after")
    def _guarded(self) -> ManagementSettings:
        if self.listen and not self.access_key:
            raise ValueError("listen is set, so access_key is needed")
        return self


class HealthEventSettings(Model):
    """Sinks that health events are delivered to as well."""

    sinks: tuple[str, ...] = ()


class LogSettings(Model):
    """What is written to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class DaemonSettings(Model):
    """`collectord.yaml`; once loaded, its paths are absolute and `state.directory` and `management.socket` are set."""

    collector: CollectorSettings = CollectorSettings()
    sources: str = Field("sources.d", min_length=1)
    """Folder of source files, relative to this file."""
    state: StateSettings = StateSettings()
    sinks: dict[Name, AnySinkSettings] = Field({})
    """By name; at least one, which is checked where the file is read."""
    management: ManagementSettings = ManagementSettings()
    health_events: HealthEventSettings = HealthEventSettings()
    stop_grace: Duration = 10.0
    log: LogSettings = LogSettings()


class FilterSettings(Model):
    """One processing rule, in Sumo's spelling."""

    name: str = Field(min_length=1, max_length=32)
    filterType: Literal["Include", "Exclude", "Hash", "Mask"]  # noqa: N815  Sumo's spelling
    regexp: str = Field(min_length=1)
    mask: str | None = None

    @model_validator(mode="after")
    def _mask_with_mask(self) -> FilterSettings:
        if (self.mask is not None) != (self.filterType == "Mask"):
            raise ValueError("mask is needed for filterType Mask, and for no other")
        if ":" in (self.mask or ""):
            raise ValueError("mask must not contain ':'")
        return self


class SourceConfig(Model):
    """What stands under `config` in every source file; each vendor adds its own parameters in Sumo's spelling."""

    max_page_size: ClassVar[int | None] = 1000
    """Largest `page_size` that the vendor takes; None: the vendor decides alone."""

    name: Name
    description: str | None = None
    category: Category | None = None
    fields: Fields = Field({})
    """Custom fields, and the switch `_siemForward`."""
    filters: tuple[FilterSettings, ...] = Field((), max_length=100)
    hashAlgorithm: Annotated[Literal["MD5", "SHA-256"], BeforeValidator(notation.upper)] = "MD5"  # noqa: N815  Sumo's spelling

    @property
    def siem_forward(self) -> bool:
        """Whether the `_siem` keys are delivered."""
        return self.fields.get(SIEM_FORWARD) is True

    @property
    def custom_fields(self) -> dict[str, str]:
        """What is delivered of `fields`, as text."""
        return as_texts(self.fields)

    def interval_seconds(self, _stream: str) -> float | None:
        """What the vendor's own options say of a stream's interval; None: nothing."""
        return None


class SourceOptions(Model):
    """What Sumo does not know: the key `collectord` beside `config`."""

    enabled: bool = True
    sinks: tuple[str, ...] | None = Field(None, min_length=1)
    """None: all sinks."""
    base_url: Annotated[str, AfterValidator(notation.parse_base_url)] | None = None
    proxy: Annotated[SecretStr, AfterValidator(_check_proxy)] | None = None
    """A secret, since it may hold a password."""
    ca_file: str | None = Field(None, min_length=1)
    """Certificates to trust instead of the system's: a path in the file, the PEM text itself once loaded."""
    start: Annotated[float | str, BeforeValidator(notation.parse_start)] | None = None
    """How far back the first poll reaches: seconds, or an RFC 3339 time in UTC; None: the vendor's default."""
    intervals: dict[str, Annotated[Duration, Field(gt=0)]] = Field({})
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
    collectord_source_key: SecretStr | None = None
    """Opens what the API keeps; a credential of this name, or `source_key`, goes before it."""
