"""What one model alone cannot know: other files, the file system, the types, the clock, who may read a file."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr

from collectord.config.references import MIN_SECRET_CHARACTERS
from collectord.config.wording import Part, Place, Report, did_you_mean, members
from collectord.rules import fault_of
from collectord.settings import DaemonSettings, FieldsSchema, SourceConfig, SourceOptions, is_loopback, parse_url
from collectord.source import SourceType

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MASKED = re.compile(r"\*{3,}")
_KEEPS_A_SECRET = re.compile(r"auth|token|key|secret|cookie|pass|credential|signature", re.IGNORECASE)
_LOOKS_RANDOM = re.compile(r"/[^/]{20,}")


def source(row: SourceType, config: SourceConfig | None, options: SourceOptions, place: Place, report: Report) -> None:
    """Report what the options of a source ask for that its type does not have; `place` is theirs."""
    selected = row.selected(config) if config else row.streams
    most = row.config.max_page_size
    for stream in options.intervals:
        if stream not in row.streams:
            said = f"{row.name} has no such stream{did_you_mean(stream, row.streams)}; it has {', '.join(row.streams)}"
            report.fault((*place, "intervals", stream), said)
        elif stream not in selected:
            report.fault((*place, "intervals", stream), "this stream is not selected under config")
    if options.page_size is not None and most is None:
        report.fault((*place, "page_size"), f"{row.name} decides alone how large a page is")
    elif most is not None and (options.page_size or 0) > most:
        report.fault((*place, "page_size"), f"must be at most {most}, the most that {row.name} gives")
    if isinstance(options.start, str) and datetime.fromisoformat(options.start) > datetime.now(UTC):
        report.fault((*place, "start"), "must not lie in the future")


def rules(config: SourceConfig, part: Part, report: Report) -> None:
    """Report every processing rule that cannot work."""
    for number, rule in enumerate(config.filters):
        said = fault_of(rule)
        if said is not None:
            report.fault(part.at(("filters", number, "regexp")), said)


def unknown_fields(schema: FieldsSchema, names: Collection[str], whose: str) -> Iterator[tuple[str, str]]:
    """Every custom field that the schema does not know, and what becomes of it."""
    for name in schema.unknown(names):
        if schema.auto_add:
            yield name, f"is not in collector.fields_schema.known; {whose} delivers it, since auto_add is set"
        else:
            hint = did_you_mean(name, schema.known or ())
            said = f"is not in collector.fields_schema.known{hint}, so {whose} delivers records without it"
            yield name, f"{said}: add it there, or set auto_add"


def fields(schema: FieldsSchema, config: SourceConfig, part: Part, report: Report) -> None:
    """Warn of every custom field of a source that the schema does not know."""
    for name, said in unknown_fields(schema, config.fields, config.name):
        report.warn(part.at(("fields", name)), said)


def sinks_exist(names: Collection[str], known: Collection[str] | None, place: Place, report: Report) -> None:
    """Report every sink that is asked for and not there; None where the daemon's file does not tell."""
    for number, name in enumerate(names):
        if known is not None and name not in known:
            said = f"there is no such sink{did_you_mean(name, known)}; there are: {', '.join(sorted(known))}"
            report.fault((*place, number), said)


def daemon(settings: DaemonSettings, report: Report) -> None:
    """Report what is wrong with the daemon's settings, and what is not wise."""
    if "_siemForward" in settings.collector.fields:
        report.fault(("collector", "fields", "_siemForward"), "belongs into the fields of a source")
    collector = settings.collector
    for field, said in unknown_fields(collector.fields_schema, collector.fields, "every source"):
        report.warn(("collector", "fields", field), said)
    for name, sink in settings.sinks.items():
        url = parse_url(sink.url.get_secret_value())
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            report.warn(("sinks", name, "url"), "http:// sends events and credentials unencrypted: use https://")
    listen = settings.management.listen
    if listen and not is_loopback(listen.rpartition(":")[0].strip("[]")):
        said = "the access key crosses the network unencrypted: listen on 127.0.0.1 behind a proxy that speaks TLS"
        report.warn(("management", "listen"), said)


class Certificates:
    """Reads `ca_file`; each file once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, str | ValueError] = {}

    def load(self, ca_file: str, place: Place, report: Report) -> str | None:
        """Get the PEM certificates and nothing else that stands in the file, or report a fault."""
        path = self._folder / ca_file
        if path not in self._read:
            try:
                self._read[path] = _certificates(path)
            except ValueError as error:
                self._read[path] = error
        found = self._read[path]
        if isinstance(found, ValueError):
            report.fault(place, str(found))
            return None
        return found


def _certificates(path: Path) -> str:
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        text = path.read_bytes().decode("ascii", "replace")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    pem = "\n".join(_CERTIFICATE.findall(text))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise ValueError("holds no PEM certificates that can be read") from None
    return pem


def secrets(model: type[BaseModel], part: Part, report: Report) -> Iterator[str]:
    """Every secret of what is to become a model; reports what cannot be one, and what the file gives away."""
    for steps, value in _secret_strings(model, part.raw, ()):
        place = part.at(steps)
        if _MASKED.fullmatch(value):
            report.fault(place, "is a masked value: an export holds no secret, so put the real one here")
        elif _CONTROL.search(value):
            report.fault(place, "holds a line break or another control character")
        if not _is_secret(steps, value):
            continue
        if report.shared and place not in report.referenced:
            said = (
                "the secret stands in a file that other users may read: chmod 600 the file, or use ${credential:NAME}"
            )
            report.warn(place, said)
        # "Bearer abc": the token alone may turn up as well.
        yield from (text for text in (value, value.partition(" ")[2]) if len(text) >= MIN_SECRET_CHARACTERS)


def _secret_strings(annotation: Any, raw: Any, steps: Place) -> Iterator[tuple[Place, str]]:
    if annotation is SecretStr:
        if isinstance(raw, str):
            yield steps, raw
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items() if isinstance(raw, Mapping) else ():
            yield from _secret_strings(field.annotation, raw.get(name), (*steps, name))
    elif get_origin(annotation) is dict:
        for name, value in raw.items() if isinstance(raw, Mapping) else ():
            yield from _secret_strings(get_args(annotation)[1], value, (*steps, name))
    else:
        for member in members(annotation, raw):
            yield from _secret_strings(member, raw, steps)


def _is_secret(steps: Place, value: str) -> bool:
    if steps[-1] in {"url", "proxy"}:
        try:
            url = parse_url(value)
        except ValueError:
            return True
        return bool(url.password or url.username or url.query or _LOOKS_RANDOM.search(url.path))
    return "headers" not in steps or bool(_KEEPS_A_SECRET.search(str(steps[-1])))
