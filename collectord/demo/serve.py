"""Runs one simulator or the sink as a process of its own: `python -m collectord.demo.serve okta --port 9001`.

    --option NAME=JSON   of the constructor: --option token='"00abc"' --option seed=3
    --knob NAME=JSON     --knob org_limits=null --knob gzip=false; of the sink: --knob discard=true
    --do NAME=JSON       a command before it listens: --do issue='{"count": 5000}' --do prerender='{"total": 200000}'
    --rate N             issue so many records a second from the start

When it listens it writes one line to standard output, `{"base_url": "http://127.0.0.1:9001"}`; `control.py` says how it
is driven from then on. SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import anyio
import orjson

from collectord.demo.control import Control, Subject
from collectord.demo.knobs import turn
from collectord.demo.simulator import Simulator

SUBJECTS = {
    "netskope": ("collectord.demo.netskope", "NetskopeSimulator"),
    "okta": ("collectord.demo.okta", "OktaSimulator"),
    "sailpoint": ("collectord.demo.sailpoint", "SailPointSimulator"),
    "sentinelone": ("collectord.demo.sentinelone", "SentinelOneSimulator"),
    "sink": ("collectord.demo.sink", "NdjsonSink"),
}
"""What can be served; a new vendor is one more row."""


def build(arguments: argparse.Namespace) -> Subject:
    """The subject as the command line wants it; its commands have been carried out."""
    module, name = SUBJECTS[arguments.subject]
    subject: Subject = getattr(import_module(module), name)(**dict(arguments.option))
    for knob, value in arguments.knob:
        turn(subject.knobs, knob, value)
    for command, options in arguments.do:
        if command not in subject.commands:
            raise SystemExit(f"there is no command {command}")
        getattr(subject, command)(**options)
    return subject


async def serve(arguments: argparse.Namespace) -> None:
    """Listen until a signal comes."""
    subject = build(arguments)
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as task_group:
            subject.put_before(Control(subject, task_group).wrap)
            async with subject.serve(arguments.port) as base_url:
                sys.stdout.write(orjson.dumps({"base_url": base_url}).decode() + "\n")
                sys.stdout.flush()
                if arguments.rate and isinstance(subject, Simulator):
                    task_group.start_soon(partial(subject.issue_steadily, arguments.rate))
                async for _ in signals:
                    break
            task_group.cancel_scope.cancel()


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m collectord.demo.serve", description=__doc__.partition("\n")[0])
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    for name in ("--option", "--knob", "--do"):
        parser.add_argument(name, type=_assignment, action="append", default=[], metavar="NAME=JSON")
    anyio.run(serve, parser.parse_args(words))


def _assignment(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text}: what stands behind = is not JSON") from error


if __name__ == "__main__":
    main()
