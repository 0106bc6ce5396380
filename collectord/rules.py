"""Processing rules with Sumo's semantics: include, exclude, hash and mask, on the record's own bytes as one line.

RE2 alone: a user's pattern takes linear time, and Sumo's users write what Python's `re` refuses (`(?s)` at the end).
Where Sumo looks at the first megabyte of a message, all of it is looked at here: nothing escapes a mask by its length.
"""

from __future__ import annotations

import re
from hashlib import md5, sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import re2

from collectord.records import Record, Repaired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from collectord.settings import FilterSettings

MAX_GROWTH = 5
"""A mask is cut to so many times the length of what it hides, as Sumo does."""
_MAX_MEMORY_BYTES = 8 * 2**20
_DOTALL = r"(?:\(\?s\))?"
_CONTAINS = re.compile(_DOTALL + r"\.\*((?:[^\\.\[\](){}|*+?^$]|\\[!-/:-@\[-^`{-~])+)\.\*" + _DOTALL)
"""`.*text.*`, as most rules for whole records are written: nothing in it but a text."""
_ESCAPED = re.compile(r"\\(.)")
_RAW = msgspec.json.Decoder(msgspec.Raw)

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = _MAX_MEMORY_BYTES


class Pattern(Protocol):
    """What is used of a compiled pattern."""

    groups: int

    def fullmatch(self, text: bytes) -> object | None: ...

    def finditer(self, text: bytes) -> Iterator[Match]: ...


class Match(Protocol):
    """What is used of a match."""

    def span(self, group: int) -> tuple[int, int]: ...


def compile_pattern(regexp: str) -> Pattern:
    """Compile a user's pattern; raises ValueError that says what RE2 refuses and where."""
    try:
        pattern: Pattern = re2.compile(regexp.encode(), _OPTIONS)
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args else "not a pattern"
        part = said.partition(": ")[2]
        at = regexp.find(part)
        where = f" at character {at + 1}" if part and at >= 0 else ""
        raise ValueError(f"is no RE2 pattern: {said}{where} (RE2 has no look-around and no back-references)") from None
    return pattern


def fault_of(rule: FilterSettings) -> str | None:
    """What is wrong with a rule, in words for whoever wrote it; None: nothing."""
    try:
        pattern = compile_pattern(rule.regexp)
    except ValueError as error:
        return str(error)
    if rule.filterType in {"Hash", "Mask"} and pattern.groups == 0:
        return f"a {rule.filterType} rule needs a capture group: ( ) around what is to be replaced"
    return None


class Effect(NamedTuple):
    """What the rules did to one record."""

    record: Record | None
    """None: dropped."""
    by: tuple[str, ...] = ()
    """The names of the rules that dropped or changed it."""


class Rules:
    """The rules of one source, compiled; in Sumo's order: includes, excludes, hashes, masks."""

    def __init__(self, filters: Sequence[FilterSettings], hash_algorithm: str) -> None:
        digest = _md5 if hash_algorithm == "MD5" else _sha256
        self._includes = [_whole(rule.regexp) for rule in filters if rule.filterType == "Include"]
        self._excludes = [(rule.name, _whole(rule.regexp)) for rule in filters if rule.filterType == "Exclude"]
        self._changes = [
            *(_change(rule, digest) for rule in filters if rule.filterType == "Hash"),
            *(_change(rule, _mask(rule.mask or "#")) for rule in filters if rule.filterType == "Mask"),
        ]

    def apply(self, records: Iterable[Record]) -> list[Record]:
        """The records that are left, changed where a rule wants it."""
        return [kept for record in records if (kept := self.judge(record).record) is not None]

    def judge(self, record: Record) -> Effect:
        """What becomes of one record, and why."""
        line = bytes(record.raw)
        if self._includes and not any(is_match(line) for is_match in self._includes):
            return Effect(None, ("no include rule matches",))
        for name, is_match in self._excludes:
            if is_match(line):
                return Effect(None, (name,))
        changed = line
        names = []
        for change in self._changes:
            after = change.of(changed)
            if after != changed:
                names.append(change.name)
                changed = after
        if not names:
            return Effect(record)
        text = _as_json(changed)
        raw = Repaired(text) if record.repaired else text
        return Effect(Record(raw, record.id, record.time_ms, record.event_id), tuple(names))


def _whole(regexp: str) -> Callable[[bytes], object]:
    """What tells whether a line matches as a whole; the most common pattern asks for no more than a text in it."""
    pattern = compile_pattern(regexp)
    contains = _CONTAINS.fullmatch(regexp)
    if contains is None:
        return pattern.fullmatch
    text = _ESCAPED.sub(r"\1", contains[1]).encode()
    return lambda line: text in line


class _Change(NamedTuple):
    """What a hash or mask does to a line."""

    name: str
    pattern: Pattern
    groups: range
    replacement: Callable[[bytes], bytes]

    def of(self, line: bytes) -> bytes:
        """Every capture group of every match, replaced; of groups within each other the outer one counts."""
        parts: list[bytes] = []
        done = 0
        for match in self.pattern.finditer(line):
            for start, end in sorted(map(match.span, self.groups)):
                if start >= done and end > start:
                    parts += (line[done:start], self.replacement(line[start:end]))
                    done = end
        return b"".join((*parts, line[done:])) if parts else line


def _change(rule: FilterSettings, replacement: Callable[[bytes], bytes]) -> _Change:
    pattern = compile_pattern(rule.regexp)
    return _Change(rule.name, pattern, range(1, pattern.groups + 1), replacement)


def _md5(text: bytes) -> bytes:
    return md5(text, usedforsecurity=False).hexdigest().encode()


def _sha256(text: bytes) -> bytes:
    return sha256(text).hexdigest().encode()


def _mask(mask: str) -> Callable[[bytes], bytes]:
    text = mask.encode()

    def replacement(captured: bytes) -> bytes:
        if len(text) <= MAX_GROWTH * len(captured):
            return text
        return text[: MAX_GROWTH * len(captured)].decode("utf-8", "ignore").encode()

    return replacement


def _as_json(text: bytes) -> bytes:
    """A rule may cut JSON where it hurts; then the text is delivered as one JSON string, masked as it is."""
    try:
        _RAW.decode(text)
    except msgspec.DecodeError:
        return msgspec.json.encode(text.decode("utf-8", "replace"))
    return text
