"""Custom fields: what stands beside each record because an operator said so, and the schema that may limit it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from collectord.settings import notation
from collectord.settings.model import Model

SIEM_FORWARD = "_siemForward"
MAX_FIELDS = 10
MAX_KNOWN_FIELDS = 400
_RESERVED = frozenset(
    {f"x-sumo-{name}" for name in ("category", "dimensions", "fields", "host", "metadata", "name")}
    | {"webhook-authid", "webhook-validationcode", "x-amz-sns-topic-arn"}
)
"""Headers that Sumo Logic has other uses for, in lower case."""


def _check_name(name: str) -> str:
    if name.lower() in _RESERVED:
        raise ValueError("must not be one of the headers that Sumo Logic reserves")
    return notation.parse_name(name)


def _check_fields(fields: dict[str, str | bool]) -> dict[str, str | bool]:
    # Sumo's own exports hold a boolean; added by hand in its form, the switch becomes text.
    if SIEM_FORWARD in fields:
        forward = {"true": True, "false": False}.get(str(fields[SIEM_FORWARD]).lower())
        if forward is None:
            raise ValueError(f"{SIEM_FORWARD} must be true or false")
        fields[SIEM_FORWARD] = forward
    if len(fields.keys() - {SIEM_FORWARD}) > MAX_FIELDS:
        raise ValueError(f"must hold at most {MAX_FIELDS} fields")
    return fields


FieldName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_check_name)]
FieldValue = Annotated[str | bool, BeforeValidator(notation.parse_field)]
Fields = Annotated[dict[FieldName, FieldValue], AfterValidator(_check_fields)]


def as_texts(fields: Mapping[str, str | bool]) -> dict[str, str]:
    """The fields without the switch, as they are delivered."""
    return {
        name: value if isinstance(value, str) else str(value).lower()
        for name, value in fields.items()
        if name != SIEM_FORWARD
    }


class FieldsSchema(Model):
    """Which custom fields are delivered, as the Fields schema of a Sumo Logic account has it."""

    known: tuple[FieldName, ...] | None = Field(None, max_length=MAX_KNOWN_FIELDS)
    """None: every field is."""
    auto_add: bool = False
    """Unknown fields are delivered as well."""

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Those that are not known; names that begin with `_` are the platform's own and need not be."""
        known = self.known
        return [] if known is None else [name for name in names if name not in known and not name.startswith("_")]

    def kept(self, fields: Mapping[str, str]) -> dict[str, str]:
        """What is delivered of these fields."""
        dropped = () if self.auto_add else self.unknown(fields)
        return {name: value for name, value in fields.items() if name not in dropped}
