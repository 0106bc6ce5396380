"""A collector and a source as Sumo's Collector Management API has them; secrets are masked."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from collectord import __version__
from collectord.health import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from collectord.errors import ConfigError
    from collectord.health import SourceStatus
    from collectord.settings import CollectorSettings, SourceSettings

MASK = "********"
COLLECTOR_ID = 1
MAX_DEPTH = 32
_MASKED = re.compile(r"\*{8,10}")


def collector(settings: CollectorSettings, now_ms: int) -> dict[str, Any]:
    """This collector."""
    return {
        "id": COLLECTOR_ID,
        "name": settings.name,
        "collectorType": "Hosted",
        "collectorVersion": __version__,
        "category": settings.category,
        "fields": settings.custom_fields,
        "timeZone": "Etc/UTC",
        "ephemeral": False,
        "sourceSyncMode": "UI",
        "alive": True,
        "lastSeenAlive": now_ms,
        "links": [{"rel": "sources", "href": f"/v1/collectors/{COLLECTOR_ID}/sources"}],
    }


def source(settings: SourceSettings, status: SourceStatus, *, document: dict[str, Any] | None) -> dict[str, Any]:
    """A source; `document` is what is kept of it, None where it stands in a file."""
    return {
        "id": status.id,
        **portable(settings, document),
        "state": status.state_object(),
        "alive": status.state is not State.ERROR,
        **({"file": settings.file} if document is None else {}),
    }


def portable(settings: SourceSettings, kept: dict[str, Any] | None) -> dict[str, Any]:
    """A source without what is of this moment and this machine, ready to be put into a file."""
    shown = _document(settings, lambda _: MASK)
    if kept is not None and "ca_file" in kept.get("collectord", {}):  # the settings hold the certificates themselves
        shown["collectord"]["ca_file"] = kept["collectord"]["ca_file"]
    return shown


def etag(shown: dict[str, Any]) -> str:
    """Of a source that stands in a file: the same as long as it is."""
    return blake2b(orjson.dumps(shown), digest_size=16).hexdigest()


def document(settings: SourceSettings, given: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a source: all that was said of it, its secrets in clear; `given` is as it came."""
    kept = _document(settings, SecretStr.get_secret_value)
    if "ca_file" in kept.get("collectord", {}):
        kept["collectord"]["ca_file"] = given["collectord"]["ca_file"]
    return kept


def _document(settings: SourceSettings, secret: Callable[[SecretStr], str]) -> dict[str, Any]:
    options = settings.options.model_dump(exclude_unset=True)
    return {
        "schemaRef": {"type": settings.type},
        "sourceType": "Universal",
        "config": _plain(settings.config.model_dump(exclude_unset=True), secret),
        **({"collectord": _plain(options, secret)} if options else {}),
    }


def _plain(value: Any, secret: Callable[[SecretStr], str]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(member, secret) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, secret) for item in value]
    if isinstance(value, SecretStr):
        return secret(value)
    # Sumo's own durations, such as pollingInterval, are integers.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_masked(value: Any) -> bool:
    """Whether a secret stands somewhere in it as ********."""
    if isinstance(value, dict):
        return any(map(is_masked, value.values()))
    if isinstance(value, list):
        return any(map(is_masked, value))
    return isinstance(value, str) and _MASKED.fullmatch(value) is not None


def with_secrets(given: dict[str, Any], kept: dict[str, Any], settings: SourceSettings) -> dict[str, Any]:
    """A changed source with each secret that is masked as it was."""
    secrets = {
        "config": settings.config.model_dump(exclude_unset=True),
        "collectord": settings.options.model_dump(exclude_unset=True),
    }
    return {key: _unmasked(value, kept.get(key), secrets.get(key)) for key, value in given.items()}


def _unmasked(given: Any, kept: Any, known: Any) -> Any:
    if isinstance(known, SecretStr):
        return kept if isinstance(given, str) and _MASKED.fullmatch(given) else given
    if isinstance(given, dict) and isinstance(known, dict) and isinstance(kept, dict):
        return {key: _unmasked(value, kept.get(key), known.get(key)) for key, value in given.items()}
    return given


def depth(value: Any) -> int:
    """How deep JSON is nested, at most one more than is taken; found without recursion."""
    level = [value]
    for number in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return number
    return MAX_DEPTH + 1


def faults(error: ConfigError) -> str:
    """All faults in one line, without the name of a file that there is not."""
    return "; ".join(f"{fault.place}: {fault.reason}" for fault in error.faults)
