"""Pages into slices: splits what a vendor sent into records without parsing them.

Only the few fields that are needed are read beside it. What makes a strict parser refuse a whole page, one lone
surrogate or one raw line break, is taken here without harm to the page's other records.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import cache
from typing import Any, TypeVar

import msgspec

from collectord.records import Repaired

H = TypeVar("H", bound=msgspec.Struct)
W = TypeVar("W", bound=msgspec.Struct)
Slice = bytes | msgspec.Raw

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
# Strings and runs of white space are matched whole: one pass, however long they are.
_STRING_OR_SPACE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[ \t\r\n]+', re.DOTALL)
_STRING_OR_NAME = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|NaN|-?Infinity', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_LENIENT = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_CLOSING = {"[": "]", "{": "}"}
_PIECE_BYTES = 4096
_SPACE = re.compile(r"[ \t\r\n]*")
_OBJECT = ord("{")


class Malformed(ValueError):
    """The body is not what a page of records must be; says where, never what."""


def slices(body: bytes) -> list[Slice]:
    """Split a JSON array into its elements without parsing them; each is safe to stand on a line of NDJSON.

    Raises Malformed when the body is not one whole JSON array: truncated, HTML, an object.
    """
    elements: list[Slice]
    try:
        elements = [*_ARRAY.decode(body)]
    except (msgspec.MsgspecError, RecursionError) as error:
        return _sound(_slices_leniently(_text(body), str(error)))
    return _on_lines(body, elements)


def unwrap(body: bytes, wrapper: type[W], key: str) -> tuple[W, list[Slice]]:
    """Split the array that an object holds under `key`, and read the rest of the object.

    `wrapper` is a struct with a field `key` of type `list[msgspec.Raw] | None` beside what else is wanted. Raises
    Malformed when the body is not one whole JSON object that fits it; an absent or null array is an empty list.
    """
    try:
        read = msgspec.json.decode(body, type=wrapper)
    except (msgspec.MsgspecError, RecursionError) as error:
        return _unwrap_leniently(body, wrapper, key, str(error))
    return read, _on_lines(body, [*(getattr(read, key) or ())])


def _on_lines(body: bytes, elements: list[Slice]) -> list[Slice]:
    if not _is_utf8(body):
        return _sound(elements)
    if b"\n" in body or b"\r" in body:
        return [on_one_line(bytes(element)) for element in elements]
    return elements


def _sound(elements: list[Slice]) -> list[Slice]:
    """What a strict parser refuses, or does not see, as JSON that every parser takes; marked where that changed it."""
    return [_repair(on_one_line(bytes(element))) for element in elements]


def _repair(raw: bytes) -> bytes:
    # Bytes that are no UTF-8 become U+FFFD, raw control characters their escapes, NaN and Infinity null.
    sound = _STRING_OR_NAME.sub(_without_oddity, raw.decode("utf-8", "replace").encode())
    return raw if sound == raw else Repaired(sound)


def _without_oddity(match: re.Match[bytes]) -> bytes:
    text = match[0]
    return _CONTROL.sub(_escape, text) if text.startswith(b'"') else b"null"


def _escape(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0])


def _text(body: bytes) -> str:
    return body.decode("utf-8", "surrogateescape").removeprefix("\ufeff").strip(" \t\r\n")


def _slices_leniently(text: str, reason: str) -> list[Slice]:
    # One lone surrogate or raw control character makes a strict parser refuse the whole page; the other 999 records
    # are not to wait for it. The standard library's parser takes both, and surrogateescape keeps every byte.
    if not text.startswith("["):
        raise Malformed(reason)
    elements: list[Slice] = []
    position = _skip_space(text, 1)
    try:
        while not text.startswith("]", position):
            end = _end_of_value(text, position)
            elements.append(text[position:end].encode("utf-8", "surrogateescape"))
            position = _skip_space(text, end)
            if text.startswith(",", position):
                position = _skip_space(text, position + 1)
            elif not text.startswith("]", position):
                raise Malformed(reason)
    except (ValueError, RecursionError) as error:
        raise Malformed(reason) from error
    if position != len(text) - 1:
        raise Malformed(reason)
    return elements


def _unwrap_leniently(body: bytes, wrapper: type[W], key: str, reason: str) -> tuple[W, list[Slice]]:
    text = _text(body)
    members: dict[str, Any] = {}
    elements: list[Slice] = []
    try:
        if not text.startswith("{") or _end_of_value(text, 0) != len(text):
            raise Malformed(reason)
        position = _skip_space(text, 1)
        while not text.startswith("}", position):
            name, end = _LENIENT.raw_decode(text, position)
            start = _skip_space(text, _skip_space(text, end) + 1)
            if name == key and text.startswith("[", start):
                end = _end_of_value(text, start)
                elements = _slices_leniently(text[start:end], reason)
                members[name] = []
            else:
                members[name], end = _LENIENT.raw_decode(text, start)
            position = _skip_space(text, end)
            position = _skip_space(text, position + 1) if text.startswith(",", position) else position
        return msgspec.convert(members, wrapper, strict=False), _sound(elements)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Malformed(reason) from error


def _end_of_value(text: str, position: int) -> int:
    """Where the JSON value that begins here ends; raises ValueError when it is none."""
    try:
        return _LENIENT.raw_decode(text, position)[1]
    except RecursionError:
        pass
    # Nested deeper than parsers like: nothing more can be asked of it than that its brackets match.
    wanted: list[str] = []
    for match in _STRING_OR_BRACKET.finditer(text, position):
        found = match[0]
        if found in _CLOSING:
            wanted.append(_CLOSING[found])
        elif found in {"]", "}"} and (not wanted or wanted.pop() != found):
            break
        if not wanted:
            return match.end()
    raise ValueError("brackets do not match")


def _skip_space(text: str, position: int) -> int:
    skipped = _SPACE.match(text, position)
    assert skipped is not None  # no space is a match as well
    return skipped.end()


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    # Piece by piece: the text of a whole page would be four times its size, and takes as much longer to make.
    view = memoryview(body)
    start = 0
    try:
        while start < len(body):  # a character that the end of a piece cuts is left for the next one
            piece = view[start : start + _PIECE_BYTES]
            start += codecs.utf_8_decode(piece, "strict", start + _PIECE_BYTES >= len(body))[1]
    except UnicodeDecodeError:
        return False
    return True


def on_one_line(raw: bytes) -> bytes:
    """Take out of a pretty-printed record the white space that holds a line break, and nothing else."""
    if b"\n" not in raw and b"\r" not in raw:
        return raw
    return _STRING_OR_SPACE.sub(_without_break, raw)


def _without_break(match: re.Match[bytes]) -> bytes:
    text = match[0]
    return b"" if not text.startswith(b'"') and (b"\n" in text or b"\r" in text) else text


def heads(body: bytes, elements: list[Slice], kind: type[H], key: str | None = None) -> list[H]:
    """Read the few fields named by the struct `kind` from every element; what cannot be read has its default.

    Raises Malformed when an element is no object.

    `key` as for `unwrap`; None where the body is the array itself. All at once where the page allows it; one odd record
    costs a pass of its own, never the page.
    """
    try:
        if key is None:
            found: list[H] = msgspec.json.decode(body, type=_list_of(kind))
            return found
        found = getattr(msgspec.json.decode(body, type=_within(kind, key)), key)
    except (msgspec.MsgspecError, RecursionError):
        return [_head(element, kind) for element in elements]
    return found


@cache
def _list_of(kind: type[H]) -> type[list[H]]:
    return list[kind]  # type: ignore[valid-type]  # a type made at run time


@cache
def _within(kind: type[msgspec.Struct], key: str) -> type[msgspec.Struct]:
    return msgspec.defstruct("Within", [(key, list[kind])], gc=False)  # type: ignore[valid-type]  # made at run time


def _head(element: Slice, kind: type[H]) -> H:
    if memoryview(element)[0] != _OBJECT:
        raise Malformed("an element is no object")
    for decode in (msgspec.json.decode, _decode_leniently):
        try:
            return decode(element, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return kind()


def _decode_leniently(element: Slice, *, type: type[H]) -> H:  # noqa: A002  the name that msgspec gives it
    return msgspec.convert(json.loads(bytes(element)), type)
