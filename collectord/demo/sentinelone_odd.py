"""Odd rows: what real consoles send and parsers trip over (sailpoint-sentinelone.md B4, reliability.md 35-36)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Row = dict[str, Any]
_TIMES = ("createdAt", "updatedAt")


def _changed(**changes: Any) -> Callable[[Row], bytes]:
    return lambda row: orjson.dumps({**row, **changes})


def _spliced(text: bytes) -> Callable[[Row], bytes]:
    """Put members that no JSON library would write before the end of the object."""
    return lambda row: orjson.dumps(row)[:-1] + b"," + text + b"}"


def _without_id(row: Row) -> bytes:
    return orjson.dumps({name: value for name, value in row.items() if name != "id"})


def _without_time(row: Row) -> bytes:
    return orjson.dumps({name: value for name, value in row.items() if name not in {*_TIMES, "threatInfo"}})


def _times(change: Callable[[str], Any]) -> Callable[[Row], bytes]:
    def changed(row: Row) -> bytes:
        info = row.get("threatInfo")
        row = {**row, **{name: change(row[name]) for name in _TIMES if name in row}}
        if info:
            row["threatInfo"] = {**info, **{name: change(info[name]) for name in _TIMES}}
        return orjson.dumps(row)

    return changed


ODD: dict[str, Callable[[Row], bytes]] = {
    "missing_id": _without_id,
    "missing_time": _without_time,
    "null_time": _times(lambda _: None),
    "number_time": _times(lambda _: 1_785_542_400),
    "zoneless_time": _times(lambda time: time.removesuffix("Z")),
    "whole_seconds": _times(lambda time: time[:19] + "Z"),
    "null_lists": _changed(proxyStates=None, locations=None, networkInterfaces=None, data=None),
    "unknown_members": _changed(brandNew={"deep": [1, {"er": None}]}, another=""),
    "huge_integer": _spliced(b'"sequence":123456789012345678901234567890,"ratio":0.1000000000000000055'),
    "huge_exponent": _spliced(b'"score":1e400'),
    "duplicate_keys": _spliced(b'"siteName":"A","siteName":"B"'),
    "unicode": _changed(comments="\u0000 \u2028 \u202e Ünïcødé 日本 🔐 \\ \" ' </script>"),
    "escapes": _spliced(b'"note":"\\u00e9\\/\\ud83d\\udd10\\u0000"'),
    "lone_surrogate": _spliced(b'"note":"\\ud800"'),
    "spaces": lambda row: orjson.dumps(row).replace(b',"', b', "').replace(b'":', b'" : '),
}
"""Kinds that a client must deliver byte for byte."""

UNREADABLE: dict[str, Callable[[Row], bytes]] = {
    "not_utf8": _spliced(b'"note":"caf\xe9"'),
    "raw_line_break": _spliced(b'"note":"two\nlines"'),
}
"""Kinds that are no JSON; a client repairs them and goes on. Only on demand."""

NAMELESS = frozenset({"missing_id"})
TIMELESS = frozenset({"missing_time", "null_time"})
