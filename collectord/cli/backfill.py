"""`collectord backfill`: has the daemon collect a past window, and shows how far it is."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from collectord.cli.mending import fail, source_path
from collectord.cli.remote import Unanswered, ask
from collectord.config import find_socket

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from collectord.settings import Environment

LOOK_SECONDS = 0.5
INTERRUPTED = 130


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord backfill SOURCE`; Ctrl-C halts it, and the same command goes on."""
    path = find_socket(options.config, environment)
    target = f"{source_path(options.source)}/streams/{quote(options.stream, safe='')}/backfill"
    wanted = {"since": options.since, "until": options.until, "again": options.again}
    try:
        now = ask(path, "POST", target, wanted)
        try:
            now = _follow(path, target, now)
        except KeyboardInterrupt:
            now = ask(path, "DELETE", target)
            print(
                f"collectord: halted at {now['reached']} after {now['records']} records; the same command goes on",
                file=sys.stderr,
            )
            return INTERRUPTED
    except Unanswered as error:
        return fail(error)
    if now["state"] != "Done":
        why = now.get("error") or "the source was stopped; it goes on when the source does"
        return fail(Unanswered(f"the backfill is {now['state'].lower()} at {now['reached']}: {why}"))
    print(f"{options.source} {options.stream}: {now['records']} records from {now['since']} to {now['until']}")
    return 0


def _follow(path: Path, target: str, now: dict[str, Any]) -> dict[str, Any]:
    """Show it until it is over; returns how it stands then."""
    with _progress() as show:
        while now["state"] == "Collecting":
            show(now)
            time.sleep(LOOK_SECONDS)
            now = ask(path, "GET", target)
        show(now)
    return now


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    if not sys.stderr.isatty():
        yield lambda now: print(json.dumps(now), file=sys.stderr, flush=True)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]} records, {task.fields[rate]}, {task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("backfill", total=1.0, records=0, rate="", left="")

        def show(now: dict[str, Any]) -> None:
            trouble = f" {now['error']}" if now.get("error") else ""
            rate = f"{now.get('records_per_second') or 0:g}/s{trouble}"
            left = "" if now.get("seconds_left") is None else f"{now['seconds_left']:.0f} s left"
            fields = {"records": now["records"], "rate": rate, "left": left}
            bar.update(task, completed=now["fraction"], description=f"at {now['reached']}", **fields)

        yield show
