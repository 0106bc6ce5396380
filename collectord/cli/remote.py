"""The commands that ask the running daemon, by its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from collectord.cli import tables
from collectord.config import documents
from collectord.config.wording import Report

if TYPE_CHECKING:
    import argparse

    from collectord.settings import Environment

ANSWER_SECONDS = 15.0
WATCH_SECONDS = 2.0
UNIT_RUNTIME_DIRECTORY = "/run/collectord"
"""`RuntimeDirectory=` of the unit file."""


class Unanswered(Exception):
    """The daemon did not do what it was asked; the message says why and what to do."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str) -> Any:
    """Ask the daemon at this socket; raises Unanswered."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unanswered(f"no collectord answers at {path}; is it running? (systemctl status collectord)") from None
    except PermissionError:
        raise Unanswered(f"you may not use {path}; run this as root, or join the group of that file") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unanswered(f"collectord at {path} did not answer: {type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status >= 300:
        raise Unanswered(body.get("message", f"refused with {answer.status}"))
    return body


def status(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord status`."""
    while True:
        code = _show(options, environment, "/api/v1/status", tables.status)
        if not options.watch or code:
            return code
        time.sleep(WATCH_SECONDS)


def health(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord health`."""
    query = "?" + urlencode({"source": options.source}) if options.source else ""
    return _show(options, environment, f"/api/v1/health{query}", tables.health)


def act(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord restart|pause|resume|poll SOURCE`."""
    target = f"/api/v1/collectors/1/sources/{quote(options.source, safe='')}/action/{options.action}"
    try:
        answer = ask(_socket(options, environment), "POST", target)
    except Unanswered as error:
        print(f"collectord: {error}", file=sys.stderr)
        return 1
    print(f"{options.source}: {answer['source']['state']['state']}")
    return 0


def _show(options: argparse.Namespace, environment: Environment, target: str, table: Any) -> int:
    try:
        answer = ask(_socket(options, environment), "GET", target)
    except Unanswered as error:
        print(f"collectord: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(answer, indent=None if not sys.stdout.isatty() else 2))
    else:
        table(answer)
    return 0


def _socket(options: argparse.Namespace, environment: Environment) -> Path:
    """Where the daemon listens: as its file says, else where systemd's unit puts it, else in the state directory.

    The file is only looked at, not checked: who asks for the status need not be able to read its credentials.
    """
    tree = documents.read(options.config, Report(str(options.config))) if options.config.is_file() else {}
    socket_, directory = _text_at(tree, "management", "socket"), _text_at(tree, "state", "directory")
    if socket_:
        return Path(socket_)
    folders = [*(environment.runtime_directory or "").split(":")[:1], UNIT_RUNTIME_DIRECTORY]
    folders += [directory, *(environment.state_directory or "").split(":")[:1]]
    candidates = [Path(folder) / "collectord.sock" for folder in folders if folder]
    return next((path for path in candidates if path.exists()), candidates[0])


def _text_at(tree: object, *keys: str) -> str:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else ""
