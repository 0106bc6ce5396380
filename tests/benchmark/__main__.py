"""`python -m tests.benchmark`: what collectord costs, against a floor, in turns. README.md says how to read it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio

from tests.benchmark import idle, page, throughput
from tests.benchmark.subjects import Ended, leave_a_core
from tests.benchmark.vendors import VENDORS


def read(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description="What collectord costs.")
    full = parser.add_argument_group("at full speed (the default)")
    full.add_argument("--vendor", choices=VENDORS, default="okta", help="default: okta")
    full.add_argument("--records", type=int, default=200_000, help="in the log of each source; default: 200,000")
    full.add_argument("--pairs", type=int, default=5, help="runs of each program; default: 5")
    full.add_argument("--sources", type=int, default=1, help="at a time, each with a log of its own; default: 1")
    full.add_argument("--latency", type=float, default=0, metavar="MS", help="before each answer, of vendor and sink")
    full.add_argument("--gzip", action="store_true", help="the vendor compresses its pages")
    full.add_argument("--page-bytes", type=int, default=0, metavar="N", help="pages so large, by larger records")
    full.add_argument("--rules", action="store_true", help="with four rules against without, instead of the floor")
    quiet = parser.add_argument_group("with nothing to collect")
    quiet.add_argument("--idle", type=int, default=0, metavar="N", help="measure N idle sources of Okta instead")
    quiet.add_argument("--interval", type=int, default=60, metavar="S", help="between a source's polls; default: 60")
    quiet.add_argument("--page", type=int, default=0, metavar="N", help="measure the Collection page with N sources")
    return parser.parse_args(words)


def chosen(options: argparse.Namespace) -> Callable[[argparse.Namespace, set[int], Path], Awaitable[object]]:
    if options.page:
        return page.measure
    return idle.measure if options.idle else throughput.measure


def main(words: Sequence[str] | None = None) -> int:
    options = read(words)
    core = leave_a_core()
    measure = chosen(options)
    with tempfile.TemporaryDirectory(prefix="collectord-benchmark-") as scratch:
        run = partial(measure, options, core, Path(scratch))
        try:
            print(anyio.run(run, backend_options={"use_uvloop": True}))
        except (throughput.Lost, Ended) as failure:
            print(f"failed: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
