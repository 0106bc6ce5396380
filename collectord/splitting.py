"""Pages into slices: splits what a vendor sent into records without parsing them.

Only the few fields that are needed are read beside it. What makes a strict parser refuse a whole page, one lone
surrogate or one raw line break, is taken here without harm to the page's other records.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, TypeVar

import msgspec

H = TypeVar("H", bound=msgspec.Struct)
W = TypeVar("W", bound=msgspec.Struct)
Slice = bytes | msgspec.Raw

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STRING_OR_BREAK = re.compile(rb'"(?:[^"\\]|\\.)*"|[ \t\r\n]*[\r\n][ \t\r\n]*', re.DOTALL)
_LENIENT = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)
_SPACE = frozenset(" \t\r\n")


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
        elements = _slices_leniently(_text(body), str(error))
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
    if b"\n" in body or b"\r" in body:
        elements = [on_one_line(bytes(element)) for element in elements]
    if not _is_utf8(body):
        elements = [bytes(element).decode("utf-8", "replace").encode() for element in elements]
    return elements


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
            end = _LENIENT.raw_decode(text, position)[1]
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
        if _LENIENT.raw_decode(text)[1] != len(text) or not text.startswith("{"):
            raise Malformed(reason)
        position = _skip_space(text, 1)
        while not text.startswith("}", position):
            name, end = _LENIENT.raw_decode(text, position)
            start = _skip_space(text, _skip_space(text, end) + 1)
            members[name], end = _LENIENT.raw_decode(text, start)
            if name == key and members[name] is not None:
                elements = _slices_leniently(text[start:end], reason)
                members[name] = []
            position = _skip_space(text, end)
            position = _skip_space(text, position + 1) if text.startswith(",", position) else position
        return msgspec.convert(members, wrapper, strict=False), _on_lines(body, elements)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Malformed(reason) from error


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in _SPACE:
        position += 1
    return position


def _is_utf8(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def on_one_line(raw: bytes) -> bytes:
    """Take out of a pretty-printed record the white space that holds a line break, and nothing else.

    A line break inside a string is not JSON; it becomes the escape that it should have been.
    """
    if b"\n" not in raw and b"\r" not in raw:
        return raw
    return _STRING_OR_BREAK.sub(_without_break, raw)


def _without_break(match: re.Match[bytes]) -> bytes:
    text = match[0]
    return text.replace(b"\n", b"\\n").replace(b"\r", b"\\r") if text.startswith(b'"') else b""


def heads(body: bytes, elements: list[Slice], kind: type[H], key: str | None = None) -> list[H]:
    """Read the few fields named by the struct `kind` from every element; what cannot be read has its default.

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
    try:
        return msgspec.json.decode(element, type=kind)
    except msgspec.MsgspecError:
        pass
    try:
        return msgspec.convert(_LENIENT.decode(bytes(element).decode("utf-8", "replace")), kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return kind()
