"""The oracle: holds what simulators issued against what a sink holds, byte for byte, and says what is wrong.

    verdict = judge([expect("okta-prod", okta)], sink.records)
    assert verdict.ok, verdict

A payload is known by its bytes, so the oracle needs no agreement about how a record's `_id` is made; that `_id` is then
checked against the identity of what was issued.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import orjson

from collectord.demo.posted import Feed
from collectord.demo.simulator import Simulator
from collectord.demo.sink import Delivered

_BREAKS = re.compile(rb"[ \t]*[\r\n][ \t\r\n]*")
_PAYLOADS = ("issued", "optional", "joins")
_SHOWN = 5
"""Examples of each kind of wrong in the readable verdict."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must arrive of one stream."""

    source: str
    stream: str
    issued: Mapping[str, bytes]
    """Payloads by id, by `id@version`, or by `digest:…` for a record without an id."""
    optional: Mapping[str, bytes] = field(default_factory=dict)
    """What may arrive but need not."""
    order: Sequence[str] | None = None
    """Ids in the vendor's order; None = no order is promised."""
    is_inventory: bool = False
    """Listed anew at each poll: the same record under another batch key is no duplicate."""
    join: str = ""
    """Member that collectord adds to each record."""
    joins: Mapping[str, bytes] = field(default_factory=dict)
    """That member by the object's id; an object that is not here has none."""


@dataclass(kw_only=True)
class StreamVerdict:
    """What was found for one stream; every list holds ids."""

    source: str
    stream: str
    issued: int = 0
    delivered: int = 0
    missing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    """With the place of the first difference."""
    unexpected: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    """Stored more than once, under different Idempotency-Keys or twice in one batch."""
    out_of_order: list[str] = field(default_factory=list)
    misnamed: list[str] = field(default_factory=list)
    """`_id` is not the record's identity, or differs between two deliveries of the same."""

    @property
    def ok(self) -> bool:
        return not any(self.wrongs.values())

    @property
    def wrongs(self) -> dict[str, list[str]]:
        names = ("missing", "altered", "unexpected", "duplicates", "out_of_order", "misnamed")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        head = f"{self.source}/{self.stream}: {self.issued} issued, {self.delivered} delivered"
        found = [f"  {len(ids)} {name}: {', '.join(ids[:_SHOWN])}" for name, ids in self.wrongs.items() if ids]
        return "\n".join([head + ("" if found else ", all as issued"), *found])


@dataclass(frozen=True)
class Verdict:
    """Of all streams."""

    streams: list[StreamVerdict]

    @property
    def ok(self) -> bool:
        return all(stream.ok for stream in self.streams)

    def but_for_the_missing(self) -> Verdict:
        """The same about what has arrived so far."""
        return Verdict([replace(stream, missing=[]) for stream in self.streams])

    def __str__(self) -> str:
        return "\n".join(str(stream) for stream in self.streams) or "nothing was expected and nothing came"

    def of(self, source: str, stream: str) -> StreamVerdict:
        return next(verdict for verdict in self.streams if (verdict.source, verdict.stream) == (source, stream))


def expect(
    source: str,
    simulator: Simulator,
    wanted: Callable[[str, str], bool] = lambda *_: True,
    *,
    every_version: bool = True,
) -> list[Expectation]:
    """What the source `source`, collecting from this simulator, must deliver.

    `wanted(stream, id)` leaves out what the source was not asked for: before its start, filtered, another stream.
    Without `every_version` only the newest served version of an object must arrive: a page that was cut, or that died
    with the client, may have held a version which nobody can fetch any more.
    """
    expectations = []
    for stream in sorted(simulator.issued):
        issued = {key: payload for key, payload in simulator.issued[stream].items() if wanted(stream, key)}
        newest = issued if every_version else _newest(issued)
        order = simulator.in_order(stream)
        expectations.append(
            Expectation(
                source=source,
                stream=stream,
                issued=newest,
                optional={key: payload for key, payload in issued.items() if key not in newest},
                order=None if order is None else [key for key in order if key in issued],
                is_inventory=stream in simulator.inventory,
                join=simulator.joined.get(stream, ""),
                joins=simulator.issued_joins.get(stream, {}),
            )
        )
    return expectations


def judge(expectations: Sequence[Expectation], records: Mapping[Feed, Sequence[Delivered]]) -> Verdict:
    """Compare; a stream that nobody expected is wrong as a whole."""
    verdicts = [
        _Comparison(expected).run(records.get((expected.source, expected.stream), [])) for expected in expectations
    ]
    known = {(expected.source, expected.stream) for expected in expectations}
    for feed, delivered in records.items():
        if feed not in known and delivered:
            ids = [record.id for record in delivered]
            verdicts.append(StreamVerdict(source=feed[0], stream=feed[1], delivered=len(ids), unexpected=ids))
    return Verdict(verdicts)


def on_one_line(payload: bytes) -> bytes:
    """What must be delivered of a payload: without the white space that holds a line break (INTERFACE section 4)."""
    # A line break is not allowed inside a JSON string, so this is always between two tokens.
    return _BREAKS.sub(b"", payload)


def expectations_to_json(expectations: Sequence[Expectation]) -> bytes:
    """For another process."""
    rows = [{field.name: getattr(expected, field.name) for field in fields(expected)} for expected in expectations]
    return orjson.dumps([{**row, **{name: _encoded(row[name]) for name in _PAYLOADS}} for row in rows])


def expectations_from_json(data: bytes) -> list[Expectation]:
    return [Expectation(**{**row, **{name: _decoded(row[name]) for name in _PAYLOADS}}) for row in orjson.loads(data)]


def records_to_json(records: Mapping[Feed, Sequence[Delivered]]) -> bytes:
    """What a sink holds, for another process."""
    return orjson.dumps(
        [
            [*feed, [[record.id, base64.b64encode(record.event).decode(), record.batch] for record in delivered]]
            for feed, delivered in records.items()
        ]
    )


def records_from_json(data: bytes) -> dict[Feed, list[Delivered]]:
    return {
        (source, stream): [Delivered(name, base64.b64decode(event), batch) for name, event, batch in rows]
        for source, stream, rows in orjson.loads(data)
    }


class _Comparison:
    """One stream's deliveries, taken in order of arrival."""

    def __init__(self, expected: Expectation) -> None:
        self.expected = expected
        self.verdict = StreamVerdict(source=expected.source, stream=expected.stream, issued=len(expected.issued))
        self._payloads = {**expected.optional, **expected.issued}
        self._keys = {self._comparable(payload): key for key, payload in self._payloads.items()}
        self._names: dict[str, str] = {}
        """The `_id` under which each issued record came first; in order of arrival."""

    def run(self, records: Sequence[Delivered]) -> StreamVerdict:
        self.verdict.delivered = len(records)
        for record in records:
            self._take(record)
        self.verdict.missing = [key for key in self.expected.issued if key not in self._names]
        self._check_order()
        return self.verdict

    def _take(self, record: Delivered) -> None:
        bare, joined = self._unjoined(record.event)
        key = self._keys.get(bare)
        if key is None:
            key = self._named_like(record.id)
            if key is None:
                self.verdict.unexpected.append(record.id)
                return
            self.verdict.altered.append(f"{key} ({_difference(self._comparable(self._payloads[key]), bare)})")
        elif self.expected.join and not self._has_its_join(key, joined):
            self.verdict.altered.append(f"{key} ({self.expected.join} is not what the vendor said)")
        if key in self._names and not self.expected.is_inventory:
            self.verdict.duplicates.append(key)
        first_name = self._names.setdefault(key, record.id)
        if first_name != record.id or not _is_name_of(record.id, key):
            self.verdict.misnamed.append(f"{record.id} for {key}")

    def _check_order(self) -> None:
        if self.expected.order is None:
            return
        places = {key: place for place, key in enumerate(self.expected.order)}
        latest = -1
        for key in self._names:
            place = places.get(key, latest)
            if place < latest:
                self.verdict.out_of_order.append(key)
            latest = max(latest, place)

    def _comparable(self, payload: bytes) -> bytes:
        if not self.expected.join:
            return on_one_line(payload)
        return orjson.dumps(orjson.loads(payload))

    def _unjoined(self, event: bytes) -> tuple[bytes, Any]:
        """The event without its joined member, and that member."""
        if not self.expected.join:
            return event, None
        try:
            members = orjson.loads(event)
        except orjson.JSONDecodeError:
            return event, None
        joined = members.pop(self.expected.join, None)
        return orjson.dumps(members), joined

    def _has_its_join(self, key: str, joined: Any) -> bool:
        said = self.expected.joins.get(_identity(key))
        return joined == orjson.loads(said) if said is not None else not joined

    def _named_like(self, name: str) -> str | None:
        if name in self._payloads:
            return name
        alike = (key for key in self._payloads if "@" in key and _is_name_of(name, key) and key not in self._names)
        return next(alike, None)


def _identity(key: str) -> str:
    return key.partition("@")[0]


def _is_name_of(name: str, key: str) -> bool:
    """Whether `_id` may be this record's: equal for an event, made of the object's id for a versioned object."""
    if key.startswith("digest:"):
        return bool(name)
    return _identity(key) in name if "@" in key else name == key


def _difference(issued: bytes, delivered: bytes) -> str:
    place = next((i for i, (a, b) in enumerate(zip(issued, delivered, strict=False)) if a != b), None)
    if place is None:
        return f"{len(issued)} bytes issued, {len(delivered)} delivered"
    return f"at byte {place}: {issued[place : place + 20]!r} became {delivered[place : place + 20]!r}"


def _newest(issued: Mapping[str, bytes]) -> dict[str, bytes]:
    latest = {_identity(key): key for key in issued}
    return {key: issued[key] for key in latest.values()}


def _encoded(payloads: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(payload).decode() for key, payload in payloads.items()}


def _decoded(payloads: Mapping[str, str]) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in payloads.items()}
