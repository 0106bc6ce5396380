"""YAML and JSON read strictly: a file in, its tree out, or faults that say line and column.

PyYAML alone keeps the last of two equal keys, reads `no` as false, `1:30` as 90 and `010` as 8, and unfolds a few lines
of aliases into gigabytes. Here scalars are those of YAML 1.2's core schema, and a number with a leading zero is text.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from collectord.config.wording import Place, Report, dotted

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:  # PyYAML was built without libyaml; ten times slower
    from yaml import SafeLoader  # type: ignore[assignment]

MAX_FILE_BYTES = 16 * 2**20
MAX_DEPTH = 32
MAX_COPIES = 10_000
"""Nodes that aliases may add to a file."""

_TAG = "tag:yaml.org,2002:"
_SCALARS: dict[str, tuple[str, re.Pattern[str], Callable[[str], Any]]] = {
    # YAML 1.2 core schema; the first characters that a scalar of this type may have, for the resolver
    f"{_TAG}null": ("~nN", re.compile(r"~|null|Null|NULL|"), lambda _: None),
    f"{_TAG}bool": ("tTfF", re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    f"{_TAG}int": (
        "-+0123456789",
        re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}"),
        lambda text: int(text, 0),
    ),
    f"{_TAG}float": (
        "-+.0123456789",
        re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*|(?=[eE])))(?:[eE][-+]?[0-9]+)?"),
        float,
    ),
}
_QUOTE = re.compile("[\"']")
"""In PyYAML's messages: what follows was taken from the file."""
_SAID = {
    "found undefined alias": "a value that begins with * must stand in quotes",
    "did not find expected alphabetic or numeric": "a value that begins with * or & must stand in quotes",
    "found character": "a value must not begin with this character: put it in quotes;"
    " indent with spaces, never with tabs",
    "mapping values are not allowed": "a ': ' where none may be: wrong indentation, or a value that wants quotes",
    "did not find expected ',' or": "no end of [ ] or { }: inside them, put ${...} and other values in quotes",
    "but found another document": "a second document begins here; a file holds one",
    "found unexpected end of stream": "the file ends within quotes",
    "found undefined tag handle": "a value that begins with ! must stand in quotes",
    "second occurrence": "this anchor stands twice",
}


class _Loader(SafeLoader):
    """PyYAML's safe loader with the scalars of the core schema."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {"": []}
    for tag, (firsts, pattern, _) in _SCALARS.items():
        for first in [*firsts, *([""] if pattern.fullmatch("") else [])]:
            table.setdefault(first, []).append((tag, re.compile(rf"(?:{pattern.pattern})\Z")))
    return table


_Loader.yaml_implicit_resolvers = _resolvers()


class _Refused(Exception):
    """The document cannot be used; the place is said with it."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def read(path: Path, report: Report) -> Any:
    """Read the tree of a YAML or JSON file; None, with a fault reported, when there is none."""
    try:
        text = _text(path, report)
        tree = _json(text, report) if path.suffix == ".json" else _yaml(text, report)
        if tree is None:
            report.fault("file", "is empty")
        return tree
    except OSError as error:
        report.fault("file", f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        report.fault(f"byte {error.start}", "is not UTF-8")
    except RecursionError:
        report.fault("file", f"is nested more than {MAX_DEPTH} levels deep")
    except _Refused as refused:
        report.fault(refused.place, str(refused))
    return None


def _text(path: Path, report: Report) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _Refused("file", "is no regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise _Refused("file", f"is larger than {MAX_FILE_BYTES // 2**20} MiB")
    report.shared = bool(status.st_mode & 0o077)
    return path.read_bytes().decode("utf-8").removeprefix("\ufeff")


def _yaml(text: str, report: Report) -> Any:
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _Refused(_line(error.problem_mark), _said(error.problem or "")) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        raise _Refused(f"character {position}", "is a control character") from None
    return None if node is None else _Builder(report).build(node, ())


def _line(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"


def _said(problem: str) -> str:
    for beginning, said in _SAID.items():
        if problem.startswith(beginning):
            return said
    return f"is not valid YAML: {_QUOTE.split(problem)[0].strip()}"


class _Builder:
    """Makes plain values of YAML nodes."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: set[int] = set()
        self._copies = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        if len(place) > MAX_DEPTH:
            raise _Refused(_line(node.start_mark), f"is nested more than {MAX_DEPTH} levels deep")
        self._copies += id(node) in self._seen
        self._seen.add(id(node))
        if self._copies > MAX_COPIES:
            raise _Refused(_line(node.start_mark), "aliases make this file too large")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(item, (*place, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        raise _Refused(_line(node.start_mark), "tags are not supported")

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        built: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(_line(key.start_mark), "a name must be plain text")
            if key.value == "<<":
                raise _Refused(_line(key.start_mark), "merge keys (<<) are not supported: write the options out")
            line = key.start_mark.line + 1
            if key.value in built:
                said = f"stands twice: in line {lines[key.value]} and in line {line}"
                self._report.fault((*place, key.value), said)
                continue
            lines[key.value] = line
            built[key.value] = self.build(value, (*place, key.value))
        return built


def _scalar(node: yaml.ScalarNode) -> Any:
    if node.tag == f"{_TAG}str":
        return node.value
    _, pattern, convert = _SCALARS.get(node.tag, ("", None, str))
    if pattern is None or not pattern.fullmatch(node.value):
        raise _Refused(
            _line(node.start_mark), "tags are not supported: a value that begins with ! must stand in quotes"
        )
    return convert(node.value)


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, equal names included."""


def _json(text: str, report: Report) -> Any:
    try:
        tree = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _Refused(place, f"is not valid JSON: {error.msg.partition(': ')[0].lower()}") from None
    except ValueError:
        raise _Refused("file", "is not valid JSON: holds a number with thousands of digits") from None
    return _unpaired(tree, (), report)


def _no_constant(_: str) -> None:
    raise _Refused("file", "is not valid JSON: NaN and Infinity are no numbers there")


def _unpaired(value: Any, place: Place, report: Report) -> Any:
    if len(place) > MAX_DEPTH:
        raise _Refused(dotted(place[:3]), f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, _Pairs):
        built: dict[str, Any] = {}
        for key, member in value:
            if key in built:
                report.fault((*place, key), "stands twice")
            else:
                built[key] = _unpaired(member, (*place, key), report)
        return built
    if isinstance(value, list):
        return [_unpaired(item, (*place, number), report) for number, item in enumerate(value)]
    return value
