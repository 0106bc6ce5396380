"""Odd events: what real tenants send and parsers trip over (sailpoint-sentinelone.md A6, reliability.md 35-36)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Event = dict[str, Any]


def _without(*names: str) -> Callable[[Event], bytes]:
    return lambda event: orjson.dumps({name: value for name, value in event.items() if name not in names})


def _with(**changes: Any) -> Callable[[Event], bytes]:
    return lambda event: orjson.dumps({**event, **changes})


def _spliced(text: bytes) -> Callable[[Event], bytes]:
    """Put members that no JSON library would write before the end of the object."""
    return lambda event: orjson.dumps(event)[:-1] + b"," + text + b"}"


ODD: dict[str, Callable[[Event], bytes]] = {
    "missing_id": _without("id"),
    "missing_created": _without("created"),
    "null_created": _with(created=None),
    "no_fraction": lambda event: orjson.dumps({**event, "created": event["created"][:19] + "Z"}),
    "missing_technical_name": _without("technicalName"),
    "odd_technical_name": _with(technicalName="Machine IDENTITY_Create passed"),
    "missing_actor": _without("actor", "target"),
    "actor_is_an_id": _with(actor={"name": "2c9180857182305e0171993735622948", "id": "2c91"}),
    "empty_texts": _with(ipAddress="", details=""),
    "attributes_of_any_type": _with(
        attributes={"scope": ["a", "b"], "json": '{"a": 1}', "n": None, "deep": {"x": [1]}}
    ),
    "type_drift": _with(objects="AUTHENTICATION", actor="ann", technicalName=7, attributes=None),
    "huge_integer": _spliced(b'"sequence":123456789012345678901234567890,"ratio":0.1000000000000000055'),
    "huge_exponent": _spliced(b'"score":1e400'),
    "duplicate_keys": _spliced(b'"status":"A","status":"B"'),
    "unicode": _with(details="\u0000 \u2028 \u202e Ünïcødé 日本 🔐 \\ \" ' </script>"),
    "escapes": _spliced(b'"note":"\\u00e9\\/\\ud83d\\udd10\\u0000"'),
    "lone_surrogate": _spliced(b'"note":"\\ud800"'),
    "spaces": lambda event: orjson.dumps(event).replace(b',"', b', "').replace(b'":', b'" : '),
}
"""Kinds that a client must deliver byte for byte."""

UNREADABLE: dict[str, Callable[[Event], bytes]] = {
    "not_utf8": _spliced(b'"note":"caf\xe9"'),
    "raw_line_break": _spliced(b'"note":"two\nlines"'),
}
"""Kinds that are no JSON; a client repairs them and goes on. Only on demand."""

NAMELESS = frozenset({"missing_id"})
WHOLE_SECONDS = frozenset({"no_fraction"})
TIMELESS = frozenset({"missing_created", "null_created"})
"""Found and sorted all the same by the time that the index has of them."""
