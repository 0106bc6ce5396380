"""Odd records: what real tenants send and parsers trip over (okta-netskope.md 1.2 traps, reliability.md 35-36)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Event = dict[str, Any]


def _without(key: str) -> Callable[[Event], bytes]:
    return lambda event: orjson.dumps({name: value for name, value in event.items() if name != key})


def _with(**changes: Any) -> Callable[[Event], bytes]:
    return lambda event: orjson.dumps({**event, **changes})


def _spliced(text: bytes) -> Callable[[Event], bytes]:
    """Put members that no JSON library would write before the end of the object."""
    return lambda event: orjson.dumps(event)[:-1] + b"," + text + b"}"


def _drifted_types(event: Event) -> bytes:
    place = {**event["client"]["geographicalContext"], "postalCode": 3011}
    client = {**event["client"], "zone": "null", "ipAddress": "null", "geographicalContext": place}
    return orjson.dumps({**event, "version": 0, "client": client, "target": None})


ODD: dict[str, Callable[[Event], bytes]] = {
    "type_drift": _drifted_types,
    "missing_id": _without("uuid"),
    "missing_published": _without("published"),
    "null_published": _with(published=None),
    "huge_integer": _spliced(b'"sequence":123456789012345678901234567890,"ratio":0.1000000000000000055'),
    "duplicate_keys": _spliced(b'"severity":"DEBUG","severity":"ERROR"'),
    "unicode": _with(displayMessage="\u0000 \u2028 \u202e Ünïcødé 日本 🔐 \\ \" ' </script>"),
    "escapes": _spliced(b'"note":"\\u00e9\\/\\ud83d\\udd10\\u0000"'),
    "spaces": lambda event: orjson.dumps(event).replace(b',"', b', "').replace(b'":', b'" : '),
    "bare": _with(actor=None, client=None, debugContext=None, request=None, target=[], legacyEventType=None),
}
"""Kinds that a client must deliver byte for byte."""

UNREADABLE: dict[str, Callable[[Event], bytes]] = {
    "lone_surrogate": _spliced(b'"note":"\\ud800"'),
    "not_utf8": _spliced(b'"note":"caf\xe9"'),
    "deep": _spliced(b'"note":' + b"[" * 2_000 + b"]" * 2_000),
}
"""Kinds that strict parsers refuse; only on demand."""
