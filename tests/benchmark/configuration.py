"""A collectord with default settings, as files; JSON is YAML too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.benchmark.vendors import Vendor


def write(
    folder: Path,
    sink_url: str,
    vendor: Vendor,
    sources: Iterable[tuple[str, str]],
    filters: Sequence[Mapping[str, str]] = (),
    **options: object,
) -> Path:
    """Write the files of sources, each a token and a base URL, with `options` for all; returns the daemon's file."""
    shaped = [
        {
            "schemaRef": {"type": vendor.type},
            "config": {"name": f"source-{number}", "filters": filters, **vendor.source(token)},
            "collectord": {"base_url": base_url, **options},
        }
        for number, (token, base_url) in enumerate(sources)
    ]
    (folder / "sources.d").mkdir(parents=True)
    _write(folder / "sources.d" / "sources.json", {"sources": shaped})
    file = folder / "collectord.yaml"
    _write(file, {"state": {"directory": "state"}, "sinks": {"default": {"type": "http", "url": sink_url}}})
    return file


def filters_of(vendor: Vendor) -> list[dict[str, str]]:
    """The vendor's four rules as in a source file."""
    return [
        {"filterType": kind, "name": kind, "regexp": regexp, **({"mask": "#"} if kind == "Mask" else {})}
        for kind, regexp in vendor.rules.items()
    ]


def _write(file: Path, tree: object) -> None:
    file.write_text(json.dumps(tree), encoding="utf-8")
    file.chmod(0o600)
