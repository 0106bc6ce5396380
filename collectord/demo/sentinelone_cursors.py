"""SentinelOne's cursors: base64 of a place in the order, percent-encoded already, and without a filter (B3)."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import orjson

from collectord.demo.sentinelone_knobs import SentinelOneKnobs
from collectord.demo.sentinelone_query import Refused
from collectord.demo.sentinelone_table import Query, Row, Sortable

_REMEMBERED = 10_000
_FREE_TO_CHANGE = {"cursor", "limit", "skipCount"}


@dataclass(frozen=True, slots=True)
class _Minted:
    stream: str
    at: float
    parameters: Mapping[str, str]


class Cursors:
    """Makes them, reads them, and knows what they were made for."""

    def __init__(self, knobs: SentinelOneKnobs) -> None:
        self._knobs = knobs
        self._minted: OrderedDict[str, _Minted] = OrderedDict()
        self._forgotten_before = 0.0

    def forget(self, now: float) -> None:
        """No cursor from before now is taken any more."""
        self._forgotten_before = now

    def mint(self, stream: str, query: Query, last: Row, parameters: Mapping[str, str], now: float) -> str:
        """The cursor behind a row, as it stands in the answer."""
        value = last.value(query.column)
        order = "desc" if query.descending else "asc"
        place = {
            "id_column": f"{stream}.id",
            "id_value": int(last.id),
            "id_sort_order": order,
            "sort_by_column": query.column,
            "sort_by_value": value,
            "sort_order": order,
        }
        text = orjson.dumps(place)
        text += b" " * (1 if len(text) % 3 == 0 else 0)  # so that there is always padding to be encoded
        cursor = base64.b64encode(text).decode()
        kept = {name: value for name, value in parameters.items() if name not in _FREE_TO_CHANGE}
        self._minted[cursor] = _Minted(stream, now, kept)
        if len(self._minted) > _REMEMBERED:
            self._minted.popitem(last=False)
        return quote(cursor, safe="")

    def read(self, stream: str, query: Query, parameters: Mapping[str, str], now: float) -> Sortable:
        """The place that a cursor stands for; Refused when it is broken, too old or of another list or order."""
        cursor = self._text(parameters["cursor"])
        minted = self._minted.get(cursor)
        if minted is None or minted.stream != stream:
            raise Refused(400, "cursor: Invalid cursor.")
        lifetime = self._knobs.cursor_lifetime_seconds
        if minted.at < self._forgotten_before or (lifetime is not None and now - minted.at > lifetime):
            raise Refused(400, "cursor: Cursor has expired.")
        place = orjson.loads(base64.b64decode(cursor))
        order = "desc" if query.descending else "asc"
        if (place["sort_by_column"], place["sort_order"]) != (query.column, order):
            raise Refused(400, "cursor: Does not fit sortBy and sortOrder.")
        return place["sort_by_value"], place["id_value"]

    def complaint(self, parameters: Mapping[str, str]) -> str:
        """What the client does wrong with a cursor; the console itself would take it and give other rows."""
        minted = self._minted.get(unquote(parameters["cursor"]))
        if minted is None:
            return "a cursor that this console never gave"
        sent = {name: value for name, value in parameters.items() if name not in _FREE_TO_CHANGE}
        if sent != minted.parameters:
            return "filters and order were not sent again with the cursor as they were"
        return ""

    def _text(self, cursor: str) -> str:
        if not self._knobs.strict_cursors and "%" in cursor:
            cursor = unquote(cursor)
        try:
            base64.b64decode(cursor, validate=True)
        except binascii.Error as error:
            raise Refused(400, "cursor: Invalid cursor.") from error
        return cursor
