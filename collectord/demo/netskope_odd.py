"""Odd records: what real tenants send and parsers trip over (okta-netskope.md 2.3 traps, reliability.md 35-36)."""

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


ODD: dict[str, Callable[[Event], bytes]] = {
    "missing_id": _without("_id"),
    "empty_id": _with(_id=""),
    "missing_timestamp": _without("timestamp"),
    "null_timestamp": _with(timestamp=None),
    "float_timestamp": lambda event: orjson.dumps({**event, "timestamp": event["timestamp"] + 0.25}),
    "text_timestamp": lambda event: orjson.dumps({**event, "timestamp": str(event["timestamp"])}),
    "word_timestamp": _with(timestamp="yesterday"),
    "large_ids": _spliced(b'"dlp_incident_id":9223372036854775807,"incident_id":18446744073709551615'),
    "huge_integer": _spliced(b'"signature_id":123456789012345678901234567890,"ratio":0.1000000000000000055'),
    "infinite_number": _spliced(b'"score":1e400'),
    "duplicate_keys": _spliced(b'"severity":"low","severity":"high"'),
    "unicode": _with(object="\u0000 \u2028 \u202e Ünïcødé 日本 🔐 \\ \" ' </script>"),
    "escapes": _spliced(b'"note":"\\u00e9\\/\\ud83d\\udd10\\u0000"'),
    "spaces": lambda event: orjson.dumps(event).replace(b',"', b', "').replace(b'":', b'" : '),
    "nested": _spliced(b'"supporting_data":[{"data_type":null,"data_values":[""]}]'),
}
"""Kinds that a client must deliver byte for byte."""

UNREADABLE: dict[str, Callable[[Event], bytes]] = {
    "lone_surrogate": _spliced(b'"note":"\\ud800"'),
    "infinite_timestamp": lambda event: _without("timestamp")(event)[:-1] + b',"timestamp":1e400}',
    "not_utf8": _spliced(b'"note":"caf\xe9"'),
    "deep": _spliced(b'"note":' + b"[" * 2_000 + b"]" * 2_000),
}
"""Kinds that strict parsers refuse; only on demand."""

WITHOUT_ID = frozenset({"missing_id", "empty_id"})
