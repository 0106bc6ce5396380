"""The commands that need no running daemon: run it, check its files, show what it does."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import anyio

from collectord import config, log
from collectord.cli.connecting import connect_all
from collectord.config.places import STATE_DIRECTORY
from collectord.errors import ConfigError, StoreFull, StoreUnusable

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from collectord.settings import Environment

UNIT_CREDENTIALS = "/run/credentials/collectord.service"
"""Where systemd keeps the running unit's credentials; root may look there, and check with them."""
EXIT_FAILED = 1
EXIT_CONFIG = 78
"""`EX_CONFIG` of sysexits.h; the unit file keeps systemd from starting again on it."""


def run(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord run`."""
    # Imported here: `check` need not wait for the whole daemon.
    from collectord import daemon

    os.umask(0o077)  # whatever the daemon makes is its own alone
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # a reload waits until somebody is there to do it
    log.configure("info", "auto", frozenset())
    code = 0
    try:
        configuration = config.load(options.config, environment)
        log.configure(configuration.daemon.log.level, configuration.daemon.log.format, configuration.secrets)
        anyio.run(daemon.run, options.config, environment, configuration, backend_options={"use_uvloop": True})
    except ConfigError as error:
        for fault in error.faults:
            log.get().error("configuration fault", file=fault.file, place=fault.place, reason=fault.reason)
        code = EXIT_CONFIG
    except StoreUnusable as error:
        log.get().error("cannot start", reason=error.message)
        code = EXIT_CONFIG
    except (daemon.StateLost, StoreFull) as error:
        log.get().error("stopped", reason=str(error))
        code = EXIT_FAILED
    return code


def load(path: Path, environment: Environment) -> config.Configuration | None:
    """Read the files as the daemon would, and print what is wrong with them; None: they are wrong."""
    if environment.credentials_directory is None and os.access(UNIT_CREDENTIALS, os.R_OK | os.X_OK):
        environment = environment.model_copy(update={"credentials_directory": UNIT_CREDENTIALS})
    if environment.state_directory is None:  # looking needs no state
        environment = environment.model_copy(update={"state_directory": STATE_DIRECTORY})
    try:
        return config.load(path, environment)
    except ConfigError as error:
        for fault in error.faults:
            print(fault)
        return None


def check(options: argparse.Namespace, environment: Environment) -> int:
    """`collectord check [--connect]`."""
    configuration = load(options.config, environment)
    if configuration is None:
        return EXIT_CONFIG
    for warning in configuration.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"valid: {len(configuration.sources)} sources, {len(configuration.daemon.sinks)} sinks")
    if options.connect:
        return 0 if anyio.run(connect_all, configuration) else EXIT_FAILED
    return 0


def demo(options: argparse.Namespace, _environment: Environment) -> int:
    """`collectord demo`."""
    from collectord.demo.run import run_demo

    return run_demo(options.directory, options.duration)
