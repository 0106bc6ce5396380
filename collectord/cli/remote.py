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
from collectord.config import find_socket

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import RenderableType

    from collectord.settings import Environment

ANSWER_SECONDS = 15.0
WATCH_SECONDS = 2.0
STATUS = "/api/v1/status"


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


def ask(path: Path, method: str, target: str, body: object = None) -> Any:
    """Ask the daemon at this socket; `body` is sent as JSON. Raises Unanswered."""
    connection = _UnixConnection(path)
    sent = None if body is None else json.dumps(body)
    try:
        connection.request(method, target, sent, {} if sent is None else {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read() or b"{}")
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unanswered(f"no collectord answers at {path}; is it running? (systemctl status collectord)") from None
    except PermissionError:
        raise Unanswered(f"you may not use {path}; run this as root, or join the group of that file") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unanswered(f"collectord at {path} did not answer: {type(error).__name__}") from None
    finally:
        connection.close()
    if answer.status >= 300:
        raise Unanswered(said.get("message", f"refused with {answer.status}"))
    return said


def status(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord status`."""
    if not options.watch:
        return _show(options, environment, STATUS, tables.status)
    if options.json or not sys.stdout.isatty():
        while True:
            if code := _show(options, environment, STATUS, tables.status):
                return code
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)
    path = find_socket(options.config, environment)

    def screens() -> Iterator[RenderableType]:
        while True:
            try:
                yield tables.of_status(ask(path, "GET", STATUS))
            except Unanswered as error:  # a daemon that is started anew comes back
                yield tables.trouble(str(error))
            time.sleep(WATCH_SECONDS)

    tables.watch(screens())
    return 0


def health(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord health`."""
    query = "?" + urlencode({"source": options.source}) if options.source else ""
    return _show(options, environment, f"/api/v1/health{query}", tables.health)


def act(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord restart|pause|resume|poll SOURCE`."""
    target = f"/api/v1/collectors/1/sources/{quote(options.source, safe='')}/action/{options.action}"
    try:
        answer = ask(find_socket(options.config, environment), "POST", target)
    except Unanswered as error:
        print(f"collectord: {error}", file=sys.stderr)
        return 1
    print(f"{options.source}: {answer['source']['state']['state']}")
    return 0


def _show(options: argparse.Namespace, environment: Environment, target: str, table: Any) -> int:
    try:
        answer = ask(find_socket(options.config, environment), "GET", target)
    except Unanswered as error:
        print(f"collectord: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(answer, indent=None if not sys.stdout.isatty() else 2))
    else:
        table(answer)
    return 0
