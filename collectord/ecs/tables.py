"""Tables: the mapping of one dataset as data, read from a file beside this module and checked.

`[fields]`, one line a value, three columns parted by tabs: the targets, the operation (`operations.py`), the sources.
A source is a path into the record, `.` the record itself; `a[].b` takes `b` of each object in the list `a`, and
`a[type=User].b` only of those whose `type` is `User`. Several sources: the first that there is; a union takes all. A
target `x[].y` makes a list of objects `x` out of the objects of one list. A constant stands there as JSON.

`[choice]`, a table of decisions: its first line names sources, then `>`, then targets. The first line below whose
patterns (`*` for anything, no matter the case) match decides; `-` sets nothing. `[choice counted]` also counts what
comes down to its last line, the one with nothing but `*`.

`[absent]`: texts that mean that there is no value, wherever they stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from collectord.ecs import allowed
from collectord.ecs.operations import OPERATIONS

_LISTS = frozenset({"event.category", "event.type"})


class BadTable(ValueError):
    """A table that does not follow its own rules; the message names the line. Ours, so a test finds it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value on its way: where from, through what, where to."""

    targets: tuple[str, ...]
    operation: str
    sources: tuple[str, ...]
    constant: Any = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One table of decisions."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Any, ...]], ...]
    """Patterns, and what they decide."""
    counted: bool


@dataclass(slots=True)
class Table:
    """The mapping of one dataset."""

    name: str
    rows: list[Row] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)


@cache
def read(name: str) -> Table:
    """The table of a dataset; raises BadTable."""
    return parse(name, (files(__package__) / f"{name}.tsv").read_text(encoding="utf-8"))


def parse(name: str, content: str) -> Table:
    """The table that a text describes; raises BadTable."""
    table = Table(name)
    for heading, lines in _sections(content):
        try:
            if heading == "fields":
                table.rows += [_row(line) for line in lines]
            elif heading in {"choice", "choice counted"}:
                table.decisions.append(_decision(lines, counted=heading == "choice counted"))
            elif heading == "absent":
                table.absent.update(lines)
            else:
                raise BadTable("no such section")
        except ValueError as error:
            raise BadTable(f"{name}.tsv, [{heading}]: {error}") from None
    return table


def _sections(content: str) -> list[tuple[str, list[str]]]:
    sections: list[tuple[str, list[str]]] = []
    for line in content.splitlines():
        if line.startswith("["):
            sections.append((line.strip("[]"), []))
        elif line and not line.startswith("#"):
            sections[-1][1].append(line)
    return sections


def _row(line: str) -> Row:
    try:
        targets, operation, sources = line.split("\t")
    except ValueError:
        raise BadTable(f"not three columns: {line}") from None
    if operation not in OPERATIONS:
        raise BadTable(f"no operation {operation!r}")
    if operation == "constant":
        return Row((*targets.split(),), operation, (), json.loads(sources))
    return Row((*targets.split(),), operation, (*sources.split(),))


def _decision(lines: list[str], *, counted: bool) -> Decision:
    heads = lines[0].split("\t")
    middle = heads.index(">")
    targets = (*heads[middle + 1 :],)
    rows = [_decided(line.split("\t"), middle, targets) for line in lines[1:]]
    if any(pattern != "*" for pattern in rows[-1][0]):
        raise BadTable("the last line must take everything")
    return Decision((*heads[:middle],), targets, (*rows,), counted)


def _decided(cells: list[str], middle: int, targets: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    if len(cells) != middle + len(targets):
        raise BadTable(f"not {middle + len(targets)} columns: {cells}")
    values = tuple(_value(target, cell) for target, cell in zip(targets, cells[middle:], strict=True))
    chosen = dict(zip(targets, values, strict=True))
    if found := allowed.faults(chosen.get("event.category") or (), chosen.get("event.type") or ()):
        raise BadTable(f"{cells}: {'; '.join(found)}")
    return (*(pattern.lower() for pattern in cells[:middle]),), values


def _value(target: str, cell: str) -> Any:
    if cell == "-":
        return None
    if target in _LISTS:
        return cell.split()
    return int(cell) if cell.isdecimal() else cell
