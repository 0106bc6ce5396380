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
from rich.text import Text

from collectord.cli import tables
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
            same = "the same command without --again" if options.again else "the same command"
            print(
                f"collectord: halted at {now['reached']} after {now['records']} records; {same} goes on",
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
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]:,} records, {task.fields[pace]}"),
    )
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task("backfill", total=1.0, records=0, pace="")
        said = ""

        def show(now: dict[str, Any]) -> None:
            nonlocal said
            rate = f"{now.get('records_per_second') or 0:.0f}/s"
            left = "" if now.get("seconds_left") is None else f", {tables.span(now['seconds_left'])} left"
            if now["resting_seconds"] >= 1:  # a bar that stands still wants a reason
                left = f", rate limit: {tables.span(now['resting_seconds'])}"
            # The place to the minute: on a terminal of 80 columns there must be room for a bar.
            place = now["reached"][:16].replace("T", " ")
            bar.update(task, completed=now["fraction"], description=place, records=now["records"], pace=rate + left)
            trouble = now.get("error") or ""
            if trouble and trouble != said:
                bar.console.print(Text(f"{trouble}; tried again", style="red"))
            said = trouble

        yield show
