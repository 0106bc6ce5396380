"""`python -m collectord` is the command `collectord`, which ends without a word when it is asked to while it loads."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Load the command and run it; returns its exit code."""
    is_daemon = sys.argv[1:2] == ["run"]
    if is_daemon:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload waits until somebody is there to do it
    for number in (signal.SIGINT, signal.SIGTERM):  # an exception could be lost inside what is being imported
        signal.signal(number, lambda told, _: os._exit(0 if is_daemon else 128 + told))
    from collectord import cli

    if not is_daemon:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
