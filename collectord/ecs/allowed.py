"""What ECS allows in `event.category` and `event.type`, and which type goes with which category (ECS 8.17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

KINDS = frozenset({"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"})
OUTCOMES = frozenset({"success", "failure", "unknown"})
_TYPES = {
    "api": "access admin allowed change creation deletion denied end info start user",
    "authentication": "start end info",
    "configuration": "access change creation deletion info",
    "database": "access change info error",
    "driver": "change end info start",
    "email": "info",
    "file": "access change creation deletion info",
    "host": "access change end info start",
    "iam": "admin change creation deletion group info user",
    "intrusion_detection": "allowed denied info",
    "library": "start",
    "malware": "info",
    "network": "access allowed connection denied end info protocol start",
    "package": "access change deletion info installation start",
    "process": "access change end info start",
    "registry": "access change creation deletion",
    "session": "start end info",
    "threat": "indicator",
    "vulnerability": "info",
    "web": "access error info",
}
TYPES = {category: frozenset(types.split()) for category, types in _TYPES.items()}
"""The types that ECS expects with each category."""


def faults(categories: Collection[str], types: Collection[str]) -> list[str]:
    """What ECS does not allow: each category needs one of its own types, each type one of its categories."""
    known = [category for category in categories if category in TYPES]
    found = [f"{category} is no event.category" for category in categories if category not in TYPES]
    every = frozenset[str]().union(*TYPES.values())
    for name in types:
        if name not in every:
            found.append(f"{name} is no event.type")
        elif categories and not any(name in TYPES[category] for category in known):
            found.append(f"event.type {name} goes with none of {', '.join(categories)}")
    found += [f"{category} stands with none of its types" for category in known if not TYPES[category] & {*types}]
    return found
