"""How a mistake is said: where it stands and what is wrong with it, in an operator's words.

A value is never repeated: what stands in the wrong place may be a secret. Names of options are.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collectord.errors import Fault

Place: TypeAlias = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

_NAME = re.compile(r"[\w.\-]{1,64}")
_KIND = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
_REASONS = {
    "missing": "is missing",
    "union_tag_not_found": "is missing",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be a number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "holds a character that is not allowed here",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must hold at most {max_length} items",
}
_NO_MEMBER = {"union_tag_not_found", "union_tag_invalid"}
_WHOLE = {"missing", *_NO_MEMBER}
"""What is wrong with a mapping as a whole."""
_WRONG_KIND = {
    "dict_type": "must be a mapping of names to values",
    "list_type": "must be a list",
    "model_attributes_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "string_type": "must be text",
    "tuple_type": "must be a list",
}


def dotted(place: Place) -> str:
    """`sources[1].config.name`; a key that is no plain name may be anything, so it is not repeated."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _NAME.fullmatch(step) else "(…)")
    return text or "file"


@dataclass(slots=True)
class Report:
    """What was found in one file."""

    file: str
    """As the operator is told."""
    shared: bool = False
    """Other users may read it."""
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    unresolved: set[Place] = field(default_factory=set)
    """Where a reference led nowhere: that was said once, and what follows from it is not said."""
    referenced: set[Place] = field(default_factory=set)
    """Where a value came from elsewhere, as secrets should."""

    def fault(self, place: Place | str, reason: str) -> None:
        self.faults.append(Fault(self.file, place if isinstance(place, str) else dotted(place), reason))

    def warn(self, place: Place, reason: str) -> None:
        self.warnings.append(Fault(self.file, dotted(place), reason))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """A hint at the option that differs by a slip only; empty when there is none."""
    plain = {_plain(option): option for option in options}
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.75)
    return f" (did you mean {plain[close[0]]}?)" if close else ""


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word).lower()


def unknown(key: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> str:
    """What to say of a key that has no meaning where it stands; `elsewhere` says where some keys belong."""
    if key in elsewhere:
        return f"is unknown here; it belongs {elsewhere[key]}"
    return f"is unknown{did_you_mean(key, known)}"


@dataclass(frozen=True, slots=True)
class Part:
    """A mapping within a file, and how to speak of it."""

    raw: Mapping[str, Any]
    place: Place
    moved: frozenset[str] = frozenset()
    """Keys that stand one level higher in the file."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Keys that people put here, and where they belong."""

    def at(self, steps: Place) -> Place:
        """Where in the file something in this part stands."""
        return (self.place[:-1] if steps and steps[0] in self.moved else self.place) + steps


def validate(model: type[M], part: Part, report: Report, *, salvage: bool = False) -> M | None:
    """Build the model, or report every fault.

    With `salvage`, what is right besides the faults is returned, so that other checks can find theirs in the same pass.
    """
    try:
        return model.model_validate(part.raw)
    except ValidationError as error:
        details = error.errors(include_url=False)
    for detail in details:
        steps = _steps(detail, part.raw)
        if part.at(steps) not in report.unresolved and not (detail["type"] == "too_short" and detail["input"]):
            report.fault(part.at(steps), _reason(detail, model, steps, part))
    return _salvage(model, part.raw) if salvage else None


def _salvage(model: type[M], raw: Any) -> M | None:
    for _ in range(3):  # what is left out may leave a gap that is the next fault
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            details = error.errors(include_url=False)
        places = [_steps(detail, raw)[: -1 if detail["type"] in _WHOLE else None] for detail in details]
        raw = _without(raw, [place for place in places if place])
    return None


def _without(raw: Any, places: Collection[Place]) -> Any:
    """A copy of a tree with the named places left out, the lists whole that hold one."""
    if isinstance(raw, Mapping):
        gone = {steps[0] for steps in places if len(steps) == 1 or isinstance(raw.get(str(steps[0])), list)}
        inner = {key: [steps[1:] for steps in places if steps[:1] == (key,)] for key in raw if key not in gone}
        return {key: _without(raw[key], below) for key, below in inner.items()}
    return raw


def _steps(detail: ErrorDetails, raw: Any) -> Place:
    # pydantic's own path also names members of unions and "[key]"; what does not lead through the document is left out.
    # Where it cannot tell which member is meant, the fault is that of `type`, which tells.
    steps: Place = ()
    for position, step in enumerate(detail["loc"]):
        if step in raw if isinstance(raw, Mapping) else isinstance(raw, list) and isinstance(step, int):
            raw = raw[step]
        elif detail["type"] != "missing" or position != len(detail["loc"]) - 1:
            continue
        steps += (step,)
    return (*steps, "type") if detail["type"] in _NO_MEMBER else steps


def _reason(detail: ErrorDetails, model: type[BaseModel], steps: Place, part: Part) -> str:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    about = "as a name, it " if detail["loc"][-1:] == ("[key]",) else ""
    if kind == "extra_forbidden":
        known = _names(model, part.raw, steps[:-1])
        return unknown(str(steps[-1]), known, part.elsewhere if len(steps) == 1 else {})
    if kind in {"literal_error", "union_tag_invalid"}:
        options = re.findall(r"'([^']*)'", context.get("expected") or context["expected_tags"])
        given = context.get("tag", given)
        return f"must be {_either(options)}{did_you_mean(given, options) if isinstance(given, str) else ''}"
    if kind == "value_error":
        return about + str(context["error"])
    if kind in {"string_too_short", "too_short"}:
        return f"{about}must not be empty"
    if kind in _WRONG_KIND:
        return _WRONG_KIND[kind] + _not(given)
    return about + _REASONS.get(kind, "is not valid").format(**context)


def _not(given: object) -> str:
    if isinstance(given, int | float) and not isinstance(given, bool):
        return ", not a number: put it in quotes"
    return f", not {_KIND[type(given)]}" if type(given) in _KIND else ""


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def _names(annotation: Any, raw: Any, steps: Place) -> set[str]:
    """The names that a model knows at a place within it; `raw` is what is to become the model."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not steps:
            return set(annotation.model_fields)
        inner = annotation.model_fields.get(str(steps[0]))
        return _names(inner.annotation, raw[steps[0]], steps[1:]) if inner else set()
    if get_origin(annotation) in {dict, tuple}:
        return _names(get_args(annotation)[1 if get_origin(annotation) is dict else 0], raw[steps[0]], steps[1:])
    return set().union(*(_names(member, raw, steps) for member in members(annotation, raw)))


def members(annotation: Any, raw: Any) -> Iterator[Any]:
    """What the value may be of the types in a union; of models that say their `type`, that which has the value's."""
    for member in get_args(annotation):
        field = member.model_fields.get("type") if isinstance(member, type) and issubclass(member, BaseModel) else None
        if field is None or not isinstance(raw, Mapping) or raw.get("type") in get_args(field.annotation):
            yield member
