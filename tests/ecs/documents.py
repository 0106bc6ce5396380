"""What the tests of the ECS mapping share: records of our own making, every field filled, and looks at documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from collectord.ecs import DATASETS, mapper

HERE = Path(__file__).parent
STREAMS = {name: key for key, name in reversed(DATASETS.items())}
"""One stream for each dataset."""


def record_of(dataset: str) -> dict[str, Any]:
    """A record in which every field that Elastic's mapping of the dataset reads has a value."""
    record: dict[str, Any] = json.loads((HERE / "records" / f"{dataset}.json").read_text(encoding="utf-8"))
    return record


def mapped(dataset: str, record: Any, **options: Any) -> dict[str, Any]:
    """The document of a record, which may also be given as the bytes that the vendor sent."""
    raw = record if isinstance(record, bytes) else json.dumps(record, ensure_ascii=False).encode()
    document: dict[str, Any] = json.loads(mapper(*STREAMS[dataset], **options)(raw))
    return document


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field with its value, by its dotted name, as Elasticsearch sees them."""
    if isinstance(value, dict) and value:
        for key, member in value.items():
            yield from leaves(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for member in value:
            yield from leaves(member, path)
    else:
        yield path, value


def field(document: dict[str, Any], name: str) -> list[Any]:
    """All values of a field."""
    return [value for path, value in leaves(document) if path == name]
