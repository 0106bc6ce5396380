"""The command `collectord`: words in, exit code out.

0 done, 1 failed, 2 wrong usage, 78 wrong configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from collectord import __version__
from collectord.cli import backfill, local, mapping, mending, offline, remote
from collectord.settings import Environment
from collectord.settings.notation import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no other name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options, Environment())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe left; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="collectord", description="Collects SaaS security events and loses none.")
    parser.add_argument("--version", action="version", version=f"collectord {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    _command(commands, "run", "the daemon, in the foreground; systemd starts this", local.run)
    check = _command(commands, "check", "validate every file and list every fault", local.check)
    check.add_argument("--connect", action="store_true", help="also authenticate with each vendor and reach each sink")
    demo = _command(commands, "demo", "the main job with nothing set up, against simulated vendors", local.demo)
    demo.add_argument("--directory", type=Path, help="where the collected records go; default: a new temporary folder")
    demo.add_argument("--duration", type=_duration, default=60.0, help="how long, e.g. 60s or 5m; default: 60s")

    _offline(commands)
    _asking(commands)
    _mending(commands)
    return parser


def _offline(commands: Commands) -> None:
    preview = _command(commands, "preview", "fetch one page and print it as it would be delivered", offline.preview)
    preview.add_argument("source", help="its name")
    preview.add_argument("--stream", help="default: the source's first")
    preview.add_argument("--sink", help="in whose form; default: the source's first")
    preview.add_argument("--limit", type=_count, default=10, help="records at most; default: 10")
    preview.add_argument("--format", choices=["ecs"], help="as ECS documents, whatever the sink")
    to_ecs = _command(commands, "map", "map events to ECS documents, offline, one a line", mapping.run)
    to_ecs.add_argument("--type", required=True, help="of the source, such as Okta")
    to_ecs.add_argument("--stream", required=True, help="such as events")
    to_ecs.add_argument("--original", action="store_true", help="keep each event in event.original as well")
    to_ecs.add_argument("file", nargs="?", help="one event a line (NDJSON); default: stdin")
    rules = _group(commands, "rules", "try a source's processing rules")
    test = _command(rules, "test", "show what a source's rules drop, hash and mask", offline.try_rules)
    test.add_argument("source", help="its name")
    test.add_argument("file", nargs="?", help="one event a line (NDJSON); default: stdin")
    test.add_argument("--json", action="store_true", help="one JSON object a line")


def _asking(commands: Commands) -> None:
    status = _command(commands, "status", "sources, states, lag, last success, next poll, backlog", remote.status)
    status.add_argument("source", nargs="?", help="only this source")
    status.add_argument("--json", action="store_true", help="as the API answers it")
    status.add_argument("--watch", action="store_true", help="again every two seconds")
    health = _command(commands, "health", "open health events, then recent ones", remote.health)
    health.add_argument("source", nargs="?", help="only of this source")
    health.add_argument("--json", action="store_true", help="as the API answers it")
    for action, does in (
        ("restart", "start a source anew from its checkpoint, also out of an error; sinks are tried at once, too"),
        ("pause", "stop collecting of a source until it is resumed"),
        ("resume", "collect again"),
        ("poll", "poll now, not at the next interval"),
    ):
        command = _command(commands, action, does, remote.act)
        command.add_argument("source", help="its name")
        command.set_defaults(action=action)


def _mending(commands: Commands) -> None:
    past = _command(commands, "backfill", "collect a past window beside the live cursor", backfill.run)
    past.add_argument("source", help="its name")
    past.add_argument("--stream", required=True)
    past.add_argument("--since", required=True, metavar="T", help="2026-11-01T00:00:00Z, or how long ago, e.g. 7d")
    past.add_argument("--until", metavar="T", help="likewise; default: now")
    past.add_argument("--again", action="store_true", help="begin anew, even if another is not over")

    place = _group(commands, "checkpoint", "the saved place of a stream: where it goes on")
    show = _command(place, "show", "print the saved places, as JSON", mending.show_checkpoints)
    change = _command(place, "set", "let a stream go on elsewhere", mending.set_checkpoint)
    reset = _command(place, "reset", "let a stream begin anew, as its start says", mending.set_checkpoint)
    for command in (show, change, reset):
        command.add_argument("source", help="its name")
        command.add_argument("stream", nargs="?", help="may be left out where there is one only")
    change.add_argument("--value", help="JSON as `show` prints it; default: stdin")
    for command in (change, reset):
        command.add_argument("--yes", action="store_true", help="do not ask")
        command.set_defaults(resets=command is reset)

    letters = _group(commands, "dead-letters", "records that a sink refused")
    listed = _command(letters, "list", "all of them, oldest first", mending.list_letters)
    listed.add_argument("--json", action="store_true", help="as the API answers it")
    _command(letters, "show", "the records themselves, one a line", mending.show_letter).add_argument("id")
    for action, does in (("retry", "deliver once more, under the same key"), ("drop", "forget for good")):
        command = _command(letters, action, does, mending.act_on_letters)
        command.add_argument("id", nargs="*", help="as `list` names them")
        command.add_argument("--all", action="store_true", help="all that there are")
        if action == "drop":
            command.add_argument("--yes", action="store_true", help="do not ask")
        command.set_defaults(action=action)


def _group(commands: Commands, name: str, about: str) -> Commands:
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    return parser.add_subparsers(metavar="ACTION", required=True)


def _command(
    commands: Commands,
    name: str,
    does: str,
    run: Callable[[argparse.Namespace, Environment], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
    default = os.environ.get("COLLECTORD_CONFIG") or "/etc/collectord/collectord.yaml"
    parser.add_argument("--config", type=Path, default=Path(default), metavar="FILE", help=f"default: {default}")
    parser.set_defaults(run=run)
    return parser


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)
