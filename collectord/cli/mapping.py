"""The command `map`: events from a file or stdin as ECS documents, with no daemon, no configuration and no network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from collectord.cli.local import EXIT_FAILED
from collectord.cli.offline import EXIT_USAGE
from collectord.ecs import Mapper, UnknownStream, Unreadable, mapper

if TYPE_CHECKING:
    import argparse

    from collectord.settings import Environment


def run(options: argparse.Namespace, _environment: Environment) -> int:
    """`collectord map --type TYPE --stream STREAM [FILE]`; 1 if a line could not be read."""
    try:
        to_document = mapper(options.type, options.stream, original=options.original)
        if options.file in {None, "-"}:
            unread = _map("stdin", sys.stdin.buffer, to_document)
        else:
            with Path(options.file).open("rb") as file:
                unread = _map(options.file, file, to_document)
    except UnknownStream as error:
        print(f"collectord: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"collectord: {options.file} cannot be read: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    for word, count in sorted(to_document.unknown.items()):
        print(f"collectord: event type {word} is not in the table, {count} of them mapped as others", file=sys.stderr)
    return EXIT_FAILED if unread else 0


def _map(name: str, lines: BinaryIO, to_document: Mapper) -> int:
    """Print a document for each line; returns how many lines held no JSON object."""
    unread = 0
    for number, line in enumerate(lines, 1):
        raw = line.strip()
        if not raw:
            continue
        try:
            document = to_document.document(raw)
        except Unreadable as error:
            unread += 1
            print(f"collectord: {name}: line {number} is {error}; left out, give one event a line", file=sys.stderr)
        else:
            sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()
    return unread
