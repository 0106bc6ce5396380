"""The commands that change what is saved: checkpoints, and records that a sink refused."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from collectord.cli import tables
from collectord.cli.remote import Unanswered, ask
from collectord.config import find_socket

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from collectord.settings import Environment

EXIT_FAILED = 1
EXIT_USAGE = 2
_LETTERS = "/api/v1/deadLetters"


class WrongUsage(Exception):
    """The command needs other words; the message says which."""


def source_path(source: str) -> str:
    """Where the API has a source."""
    return f"/api/v1/collectors/1/sources/{quote(source, safe='')}"


def fail(error: Exception) -> int:
    """Say what is wrong; returns the exit code."""
    print(f"collectord: {error}", file=sys.stderr)
    return EXIT_USAGE if isinstance(error, WrongUsage) else EXIT_FAILED


def show_checkpoints(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord checkpoint show SOURCE [STREAM]`."""
    try:
        places = _places(find_socket(options.config, environment), options.source)
        if options.stream is not None:
            places = [_place(places, options.source, options.stream)]
    except (Unanswered, WrongUsage) as error:
        return fail(error)
    # One stream alone is printed so that `set` takes it again.
    shown = places[0]["checkpoint"] if options.stream else {each["stream"]: each["checkpoint"] for each in places}
    print(json.dumps(shown, indent=2 if sys.stdout.isatty() else None))
    for each in places:
        if each["lost"]:
            print(f"{each['stream']}: the saved place was lost: set or reset it", file=sys.stderr)
    return 0


def set_checkpoint(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord checkpoint set|reset SOURCE [STREAM]`."""
    try:
        path = find_socket(options.config, environment)
        place = _place(_places(path, options.source), options.source, options.stream)
        new = None if options.resets else _value(options)
        stream = place["stream"]
        print(f"{options.source} {stream} stands at: {json.dumps(place['checkpoint'])}", file=sys.stderr)
        print("and would begin anew" if new is None else f"and would go on at: {json.dumps(new)}", file=sys.stderr)
        _be_sure("Change it? The source starts anew; records may be delivered again or left out.", options)
        target = f"{source_path(options.source)}/streams/{quote(stream, safe='')}/checkpoint"
        ask(path, "PUT", target, {"checkpoint": new})
    except (Unanswered, WrongUsage) as error:
        return fail(error)
    print(f"{options.source} {stream}: {'begins anew' if new is None else 'goes on there'}")
    return 0


def _places(path: Path, source: str) -> list[dict[str, Any]]:
    places: list[dict[str, Any]] = ask(path, "GET", f"{source_path(source)}/checkpoints")["checkpoints"]
    return places


def _place(places: list[dict[str, Any]], source: str, stream: str | None) -> dict[str, Any]:
    wanted = [each for each in places if stream in {None, each["stream"]}]
    if len(wanted) != 1:
        names = ", ".join(each["stream"] for each in places) or "none, since it does not run"
        raise WrongUsage(f"say which stream of {source}; it has: {names}")
    return wanted[0]


def _value(options: argparse.Namespace) -> dict[str, Any]:
    text = options.value
    if text is None:
        if not options.yes and not sys.stdin.isatty():
            raise WrongUsage("the checkpoint comes from stdin, so nobody can be asked: add --yes, or use --value")
        text = sys.stdin.read()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"that is no JSON: {error}; `collectord checkpoint show` prints what is") from None
    if not isinstance(value, dict) or not value:
        raise WrongUsage("a checkpoint is a JSON object, as `collectord checkpoint show` prints it; see also `reset`")
    return value


def _be_sure(question: str, options: argparse.Namespace) -> None:
    """Raises WrongUsage unless somebody says yes."""
    if options.yes:
        return
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        print(file=sys.stderr)
        raise WrongUsage("nothing was changed: there is nobody to answer; add --yes")
    if answer.strip().lower() not in {"y", "yes"}:
        raise Unanswered("nothing was changed")


def list_letters(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord dead-letters list`."""
    try:
        answer = ask(find_socket(options.config, environment), "GET", _LETTERS)
    except Unanswered as error:
        return fail(error)
    if options.json:
        print(json.dumps(answer))
    else:
        tables.dead_letters(answer["dead_letters"])
    return 0


def show_letter(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord dead-letters show ID`."""
    try:
        answer = ask(find_socket(options.config, environment), "GET", f"{_LETTERS}/{quote(options.id, safe='')}")
    except Unanswered as error:
        return fail(error)
    for line in answer["lines"]:
        print(line)
    print(f"{answer['sink']} refused it at {answer['refused_at']}: {answer['reason']}", file=sys.stderr)
    return 0


def act_on_letters(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord dead-letters retry|drop`."""
    try:
        path = find_socket(options.config, environment)
        ids = _ids(path, options)
        if options.action == "drop" and ids:
            _be_sure(f"Forget {len(ids)} dead letters for good?", options)
        done = sum(_act(path, options.action, id_) for id_ in ids)
    except (Unanswered, WrongUsage) as error:
        return fail(error)
    print(f"{done} {'dropped' if options.action == 'drop' else 'wait to be delivered again'}")
    return 0 if done == len(ids) else EXIT_FAILED


def _act(path: Path, action: str, id_: str) -> bool:
    """Retry or drop one; one that cannot be does not hold up the others."""
    target = f"{_LETTERS}/{quote(id_, safe='')}"
    method, target = ("DELETE", target) if action == "drop" else ("POST", f"{target}/retry")
    try:
        ask(path, method, target)
    except Unanswered as error:
        fail(error)
        return False
    return True


def _ids(path: Path, options: argparse.Namespace) -> list[str]:
    if bool(options.id) == options.all:
        raise WrongUsage(f"say which: `dead-letters {options.action} ID …`, or --all")
    return options.id or [each["id"] for each in ask(path, "GET", _LETTERS)["dead_letters"]]
