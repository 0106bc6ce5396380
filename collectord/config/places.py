"""Where the daemon's folders and its socket lie, for the daemon and for the commands that talk to it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from collectord.config.documents import read
from collectord.config.wording import Report
from collectord.settings import DaemonSettings, Environment, StateSettings

SOURCES = "sources.d"
SOCKET = "collectord.sock"
RUNTIME_DIRECTORY = "/run/collectord"
STATE_DIRECTORY = "/var/lib/collectord"
MAX_SOCKET_BYTES = 107
"""Of a Unix socket's path on Linux."""


def resolve(settings: DaemonSettings, base: Path, environment: Environment, report: Report) -> DaemonSettings:
    """Make every path of the daemon absolute; reports a state directory that nobody named."""
    named = settings.state.directory or _first(environment.state_directory)
    if named is None:
        if not any(fault.place.startswith("state") for fault in report.faults):
            report.fault(("state", "directory"), "is missing, and $STATE_DIRECTORY is not set")
        return settings
    state = base / named
    if settings.management.socket:
        socket = base / settings.management.socket
    else:
        socket = Path(_first(environment.runtime_directory) or state) / SOCKET
    if len(os.fsencode(socket)) > MAX_SOCKET_BYTES:
        said = f"the path of the socket is longer than {MAX_SOCKET_BYTES} bytes: set management.socket to a shorter one"
        report.fault(("management", "socket"), said)
    return settings.model_copy(
        update={
            "sources": str(base / settings.sources),
            "state": StateSettings(directory=str(state)),
            "management": settings.management.model_copy(update={"socket": str(socket)}),
        }
    )


def find_socket(path: Path, environment: Environment) -> Path:
    """Where the daemon that reads this file listens, as far as a shell can tell: it has none of the credentials.

    The file says it, else the first that exists of the places where systemd and the daemon put it.
    """
    base = path.absolute().parent
    tree = read(path, Report(str(path)))
    named = _text(tree, "management", "socket")
    if named:
        return base / named
    state = base / (_text(tree, "state", "directory") or _first(environment.state_directory) or STATE_DIRECTORY)
    candidates = [Path(_first(environment.runtime_directory) or RUNTIME_DIRECTORY) / SOCKET, state / SOCKET]
    usual = candidates[-1] if _text(tree, "state", "directory") else candidates[0]
    return next((candidate for candidate in candidates if candidate.exists()), usual)


def _first(directories: str | None) -> str | None:
    # systemd parts several by colons.
    return (directories or "").split(":")[0] or None


def _text(tree: Any, part: str, key: str) -> str | None:
    inner = tree.get(part) if isinstance(tree, dict) else None
    value = inner.get(key) if isinstance(inner, dict) else None
    return value if isinstance(value, str) and "${" not in value else None
