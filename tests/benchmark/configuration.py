"""A collectord with default settings, as files; JSON is YAML too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def write(folder: Path, sink_url: str, sources: Iterable[tuple[str, str]], interval: float = 300) -> Path:
    """Write the files of Okta sources, each a token and a base URL; returns the daemon's file."""
    shaped = [
        {
            "schemaRef": {"type": "Okta"},
            "config": {
                "name": f"okta-{number}",
                "domain": "benchmark.okta.com",
                "apiKey": token,
                "pollingInterval": interval,
            },
            "collectord": {"base_url": base_url},
        }
        for number, (token, base_url) in enumerate(sources)
    ]
    (folder / "sources.d").mkdir(parents=True)
    _write(folder / "sources.d" / "okta.json", {"sources": shaped})
    file = folder / "collectord.yaml"
    _write(file, {"state": {"directory": "state"}, "sinks": {"default": {"type": "http", "url": sink_url}}})
    return file


def _write(file: Path, tree: object) -> None:
    file.write_text(json.dumps(tree), encoding="utf-8")
    file.chmod(0o600)
