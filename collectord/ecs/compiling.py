"""From a table to one Python function: straight-line code without a loop over rows, so that a field costs 0.1 µs.

An interpreter of rows would take three times as long, and mapping is most of what an ECS sink costs. The source that
is compiled comes from our own tables alone; no byte of a record or of a setting ever gets into it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from collectord.ecs import tables
from collectord.ecs.choices import Choice
from collectord.ecs.naming import FIELD_NAMES, apart, cleaned
from collectord.ecs.operations import MERGED, SCALARS, UNIONS
from collectord.ecs.values import misfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectord.ecs.tables import Decision, Row, Table
    from collectord.ecs.values import Problems

_USUAL = {
    "text": "x.__class__ is str and x",
    "number": "x.__class__ is int or x.__class__ is float",
    "flag": "x.__class__ is bool",
}
"""What a value mostly is; its operation would only give it back."""
_NOTHING: dict[str, Any] = {}
_NESTED: frozenset[type] = frozenset({dict, list})


@dataclass(frozen=True, slots=True)
class Compiled:
    """A table at work."""

    fill: Any
    """`fill(record, event, problems)`: the document's fields; `event` becomes its member of that name."""
    unknown: dict[str, int]
    absent: frozenset[str]
    """Texts that are to be taken out of a record beforehand."""


@cache
def compiled(name: str) -> Compiled:
    """The function of a dataset's table, compiled at the first call; raises BadTable."""
    table = tables.read(name)
    unknown: dict[str, int] = {}
    return Compiled(_compile(table, unknown), unknown, frozenset(table.absent))


def _compile(table: Table, unknown: dict[str, int]) -> Any:
    decided = [target for decision in table.decisions for target in decision.targets]
    code = _Code(unknown, _members(table.rows, decided))
    code.add_rows(table.rows)
    for decision in table.decisions:
        code.add_decision(decision)
    return code.function("record, event, problems")


class _Code:
    """The lines of one function, and what they refer to."""

    def __init__(self, unknown: dict[str, int], members: Counter[str], prefix: str = "") -> None:
        self._unknown = unknown
        self._members = members
        """Of each object of the document, how many values may stand in it, at any depth."""
        self._prefix = prefix
        """Of the names of values in complaints."""
        self._lines: list[str] = []
        self._objects = {"": "record"}
        self._containers = {"": "document", "event": "event"} if not prefix else {"": "event"}
        self._names: dict[str, Any] = {"misfit": misfit, "inside": _inside, "NOTHING": _NOTHING}
        self._names |= {"each": _each, "listed": _listed, "rest": _rest}

    def add_rows(self, rows: list[Row]) -> None:
        # First what pours whole objects in, so that a row for one field has the last word on it.
        for row in sorted(rows, key=lambda row: row.operation not in MERGED and row.operation != "rest"):
            if "[]" not in row.targets[0]:
                self._add_row(row, rows)
        self._add_lists([row for row in rows if "[]" in row.targets[0]])

    def add_decision(self, decision: Decision) -> None:
        words = []
        for number, source in enumerate(decision.sources):
            self._emit(f"w{number} = {self._value(source)}")
            self._emit(f"if w{number} is not None and w{number}.__class__ is not str: w{number} = str(w{number})")
            words.append(f"w{number}")
        self._emit(f"decided = {self._refer(Choice(decision, self._unknown))}({', '.join(words)})")
        for number, target in enumerate(decision.targets):
            self._emit(f"if decided[{number}] is not None: {self._store([target], f'decided[{number}]')}")

    def function(self, parameters: str) -> Any:
        """What was added, as a function."""
        head = [f"def fill({parameters}):"]
        head += [f" {local} = {{}}" for local in self._containers.values() if local != "event"]
        tail = [
            f" if {local}: {self._store([path], local)}"
            for path, local in sorted(self._containers.items(), key=lambda item: -item[0].count("."))
            if path
        ]
        tail.append(f" return {self._containers['']}")
        exec("\n".join([*head, *self._lines, *tail]), self._names)  # noqa: S102  of our own tables, see above
        return self._names["fill"]

    def _add_row(self, row: Row, rows: list[Row]) -> None:
        label = repr(self._prefix + (row.sources[0] if row.sources else ""))
        if row.operation == "constant":
            self._emit(self._store(row.targets, self._refer(row.constant)))
        elif row.operation == "rest":
            taken = self._refer(_taken(row.sources[0], rows) | _below(row.targets[0], rows))
            self._emit(f"{self._merging(row)}.update(rest({self._value(row.sources[0])}, {taken}))")
        elif row.operation in UNIONS:
            parts = ", ".join(self._values(one) for one in row.sources)
            label = repr(self._prefix + row.targets[0])
            self._emit(f"x = {self._refer(UNIONS[row.operation])}(({parts},), {label}, problems)")
            self._emit(f"if x: {self._store(row.targets, 'x')}")
        elif row.operation in MERGED:
            self._emit(f"x = {self._value(row.sources[0])}")
            self._emit(f"if x is not None: x = {self._refer(MERGED[row.operation])}(x, {label}, problems)")
            self._emit(f"if x: {self._merging(row)}.update(x)")
            for key in sorted(_below(row.targets[0], rows)):
                self._emit(f"{self._merging(row)}.pop({key!r}, None)")
        else:
            self._add_scalar(row)

    def _add_scalar(self, row: Row) -> None:
        # What is most often so stands first: a member that is not there costs one look, a usual one two.
        first, *others = row.sources
        function = self._refer(SCALARS[row.operation])
        parent, _, key = first.rpartition(".")
        for source in others:
            self._object(source.rpartition(".")[0])
        self._emit("x = None") if others else None
        self._emit(f"if {key!r} in {self._object(parent)}:")
        self._emit(f" x = {self._object(parent)}[{key!r}]")
        self._add_value(row, function, first, " ")
        for depth, source in enumerate(others):
            indent = " " * (depth + 1)
            self._emit(f"{indent[1:]}if x is None or x == '':")
            self._emit(f"{indent}x = {self._value(source)}")
            self._add_value(row, function, source, indent)

    def _add_value(self, row: Row, function: str, source: str, indent: str) -> None:
        """Lines that put `x` in its place if it fits."""
        if usual := _USUAL.get(row.operation):
            self._emit(f"{indent}if {usual}: {self._store(row.targets, 'x')}")
            self._emit(f"{indent}elif x is not None and x != '':")
        else:
            self._emit(f"{indent}if x is not None and x != '':")
        self._emit(f"{indent} x = {function}(x, {self._prefix + source!r}, problems)")
        self._emit(f"{indent} if x is not None: {self._store(row.targets, 'x')}")

    def _add_lists(self, rows: list[Row]) -> None:
        """Rows whose targets and sources are members of lists: one function for the objects of each list."""
        for target, source in dict.fromkeys((_list_of(row.targets[0]), _list_of(row.sources[0])) for row in rows):
            own = [row for row in rows if (_list_of(row.targets[0]), _list_of(row.sources[0])) == (target, source)]
            inner = [_within(row) for row in own]
            code = _Code(self._unknown, _members(inner, []), f"{self._prefix}{source}[].")
            code.add_rows(inner)
            function = self._refer(code.function("record, event, problems"))
            self._emit(f"x = {self._value(source)}")
            self._emit(f"if x: x = each({function}, x, {self._prefix + source!r}, problems)")
            self._emit(f"if x: {self._store([target], 'x')}")

    def _value(self, path: str) -> str:
        """An expression for a value."""
        if path == ".":
            return "record"
        parent, _, key = path.rpartition(".")
        return f"{self._object(parent)}.get({key!r})"

    def _values(self, path: str) -> str:
        """Arguments: the value, or those of all objects where there are lists on the way."""
        before, bracket, after = path.partition("[")
        if not bracket:
            return self._value(path)
        condition, *steps, key = re.split(r"\.(?![^\[]*\])", after)
        loops = f"for e in {self._objects_of(before)}{_condition(condition)}"
        for step in steps:
            name, _, condition = step.partition("[")
            loops += f" for e in listed(e.get({name!r})){_condition(condition)}"
        return f"*[e.get({key!r}) {loops}]"

    def _objects_of(self, path: str) -> str:
        """The local variable that holds the objects of a list of the record."""
        if f"{path}[*]" not in self._objects:
            self._assign(f"{path}[*]", f"listed({self._value(path)})")
        return self._objects[f"{path}[*]"]

    def _object(self, path: str) -> str:
        """The local variable that holds an object of the record (of a list the first), or an empty one."""
        if path not in self._objects:
            if path.endswith("]"):
                before, _, step = path.rpartition("[")
                self._assign(path, f"next((e for e in {self._objects_of(before)}{_condition(step)}), NOTHING)")
            else:
                local = self._assign(path, self._value(path))
                self._emit(f"if {local}.__class__ is not dict:")
                self._emit(
                    f" {local} = NOTHING if {local} is None else inside({local}, {self._prefix + path!r}, problems)"
                )
        return self._objects[path]

    def _assign(self, path: str, value: str) -> str:
        local = f"s{len(self._objects)}"
        self._emit(f"{local} = {value}")
        self._objects[path] = local
        return local

    def _store(self, targets: Sequence[str], value: str) -> str:
        """A statement that puts a value in its places."""
        places, statements = [], []
        for target in targets:
            container, first, *others = self._located(target)
            if others:
                nested = "".join(f"{{{key!r}: " for key in others) + value + "}" * len(others)
                statements.append(f"{container}[{first!r}] = {nested}")
            else:
                places.append(f"{container}[{first!r}]")
        if places:
            statements.append(" = ".join([*places, value]))
        return "; ".join(statements)

    def _located(self, target: str) -> list[str]:
        """The variable of the innermost object that may hold several values, and the keys from there on."""
        keys = target.split(".")
        for depth in range(len(keys) - 1, 0, -1):
            path = ".".join(keys[:depth])
            if path in self._containers or self._members[path] > 1:
                return [self._container(path), *keys[depth:]]
        return [self._container(""), *keys]

    def _merging(self, row: Row) -> str:
        return self._container(row.targets[0])

    def _container(self, path: str) -> str:
        """The local variable that holds an object of the document."""
        if path not in self._containers:
            self._container(path.rpartition(".")[0])
            self._containers[path] = f"t{len(self._containers)}"
        return self._containers[path]

    def _refer(self, value: Any) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def _emit(self, line: str) -> None:
        self._lines.append(f" {line}")


def _members(rows: Sequence[Row], decided: Sequence[str]) -> Counter[str]:
    members: Counter[str] = Counter()
    for row in rows:
        several = 2 if row.operation in MERGED or row.operation == "rest" else 0
        for target in row.targets:
            path = _list_of(target)
            members.update(path[:end] for end, sign in enumerate(path) if sign == ".")
            members[path] += several
    for target in decided:
        members.update(target[:end] for end, sign in enumerate(target) if sign == ".")
    return members


def _list_of(path: str) -> str:
    return path.partition("[]")[0]


def _below(target: str, rows: list[Row]) -> frozenset[str]:
    """The members of an object in the document that rows make, and whose values nothing else may be."""
    own = (one for row in rows for one in row.targets if one.startswith(f"{target}."))
    return frozenset(re.split(r"[.\[]", one[len(target) + 1 :])[0] for one in own)


def _condition(brackets: str) -> str:
    """`type=User]` as the end of a comprehension."""
    member, equals, wanted = brackets.strip("[]").partition("=")
    return f" if e.get({member!r}) == {wanted!r}" if equals else ""


def _within(row: Row) -> Row:
    def inner(path: str) -> str:
        return path.partition("[].")[2] or "."

    return replace(row, targets=(*map(inner, row.targets),), sources=(*map(inner, row.sources),))


def _taken(source: str, rows: list[Row]) -> frozenset[str]:
    """The members of an object that have rows of their own, and that `rest` therefore leaves out."""
    start = "" if source == "." else f"{source}."
    paths = [row.sources[0] for row in rows if row.sources and row.operation not in UNIONS]
    return frozenset(re.split(r"[.\[]", path[len(start) :])[0] for path in paths if path.startswith(start))


# What the compiled functions call.


def _inside(value: Any, name: str, problems: Problems) -> dict[str, Any]:
    if value:
        misfit(value, name, "an object", problems)
    return _NOTHING


def _each(fill: Any, value: Any, name: str, problems: Problems) -> list[dict[str, Any]]:
    made = []
    for one in value if value.__class__ is list else [value]:
        if one.__class__ is dict:
            if filled := fill(one, {}, problems):
                made.append(filled)
        elif one:
            misfit(one, name, "an object", problems)
    return made


def _listed(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; of one object alone, that one."""
    if value.__class__ is list:
        return [one for one in value if one.__class__ is dict]
    return [value] if value.__class__ is dict else []


def _rest(value: Any, taken: frozenset[str]) -> dict[str, Any]:
    if value.__class__ is not dict:
        return _NOTHING
    found = {key: part for key, part in value.items() if key not in taken and (part or part == 0)}
    if not found.keys() <= FIELD_NAMES.sound:
        return apart(found, FIELD_NAMES)
    nested = [key for key, part in found.items() if part.__class__ in _NESTED]
    for key in nested:
        if (kept := cleaned(found[key])) is None:
            del found[key]
        else:
            found[key] = kept
    return found
