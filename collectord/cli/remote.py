"""The commands that ask the running daemon, by its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from collectord.cli import tables
from collectord.config import find_socket

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from collectord.settings import Environment

ANSWER_SECONDS = 15.0
WATCH_SECONDS = 2.0
SETTLE_SECONDS = 10.0
LOOK_SECONDS = 0.2
EXIT_USAGE = 2
STATUS = "/api/v1/status"
_AS_IT_WAS = (
    "It runs with the files and credentials that the daemon has read: a changed file wants systemctl reload collectord,"
    " a new credential systemctl restart collectord"
)
_NOT_TRIED = "It is not tried again before collectord restart {name}, when that is mended"


class Unanswered(Exception):
    """The daemon did not do what it was asked; the message says why and what to do."""


class NotThere(Unanswered):
    """There is no source of this name; the message says which there are."""


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
    """`collectord status [SOURCE]`."""
    look = partial(_status, find_socket(options.config, environment), options.source)
    if not options.watch:
        return _show(options, look, tables.status)
    try:
        if options.json or not sys.stdout.isatty():
            while not (code := _show(options, look, tables.status)):
                sys.stdout.flush()
                time.sleep(WATCH_SECONDS)
            return code
        tables.watch(_screens(look))
    except NotThere as error:
        return _fail(error, EXIT_USAGE)
    except KeyboardInterrupt:  # how else should it end
        pass
    return 0


def _status(path: Path, source: str | None) -> Any:
    answer = ask(path, "GET", STATUS)
    if source is not None:
        answer["sources"] = [_source(answer, source)]
    return answer


def _source(answer: dict[str, Any], name: str) -> Any:
    found = next((each for each in answer["sources"] if each["name"] == name), None)
    if found is None:
        names = ", ".join(each["name"] for each in answer["sources"]) or "none"
        raise NotThere(f"there is no source {name}; there is: {names}")
    return found


def _screens(look: Callable[[], Any]) -> Iterator[dict[str, Any] | str]:
    while True:
        try:
            yield look()
        except NotThere:
            raise
        except Unanswered as error:  # a daemon that is started anew comes back
            yield str(error)
        time.sleep(WATCH_SECONDS)


def health(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord health [SOURCE]`."""
    path = find_socket(options.config, environment)
    query = "?" + urlencode({"source": options.source}) if options.source else ""

    def look() -> Any:
        answer = ask(path, "GET", f"/api/v1/health{query}")
        if options.source and not (answer["open"] or answer["recent"]):  # no news, or no such source
            _status(path, options.source)
        return answer

    return _show(options, look, tables.health)


def act(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord restart|pause|resume|poll SOURCE`."""
    target = f"/api/v1/collectors/1/sources/{quote(options.source, safe='')}/action/{options.action}"
    path = find_socket(options.config, environment)
    try:
        ask(path, "POST", target)
        source = _source(_status(path, None), options.source)
        if options.action in {"restart", "resume"}:
            source = _settled(path, source)
    except Unanswered as error:
        return _fail(error)
    state = source["state"]["state"]
    print(f"{options.source}: {state}", flush=True)
    if state == "Error" and options.action != "pause":
        return _fail(Unanswered(f"{tables.trouble_of(source)}{_why_still(source, options.action)}"))
    if state == "Paused" and options.action == "poll":
        return _fail(Unanswered(f"it is not polled: collectord resume {options.source}"))
    return 0


def _why_still(source: dict[str, Any], action: str) -> str:
    if source["state"].get("errorType") != "THIRD-PARTY-CONFIG":
        return ""
    return ". " + (_NOT_TRIED.format(name=source["name"]) if action == "poll" else _AS_IT_WAS)


def _settled(path: Path, source: dict[str, Any]) -> dict[str, Any]:
    """The source once it is known what came of its start, or after a while."""
    ends_at = time.monotonic() + SETTLE_SECONDS
    while source["state"]["state"] not in {"Collecting", "Error"} and time.monotonic() < ends_at:
        time.sleep(LOOK_SECONDS)
        source = _source(_status(path, None), source["name"])
    return source


def _show(options: argparse.Namespace, look: Callable[[], Any], table: Callable[[Any], None]) -> int:
    try:
        answer = look()
    except NotThere as error:
        return _fail(error, EXIT_USAGE)
    except Unanswered as error:
        return _fail(error)
    if options.json:
        print(json.dumps(answer, indent=None if not sys.stdout.isatty() else 2))
    else:
        table(answer)
    return 0


def _fail(error: Exception, code: int = 1) -> int:
    print(f"collectord: {error}", file=sys.stderr)
    return code
